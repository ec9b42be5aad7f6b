"""Catalogues of translations, and texts that take values."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from blender_addon.translations import CONTEXTS, catalogues, iface, rpt
from blender_addon.translations.catalogue import read_catalogue


def write(folder: Path, text: str) -> Path:
    path = folder / "xx_XX.po"
    path.write_text(text, "utf-8")
    return path


def test_what_tools_write_is_read(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        'msgid ""\nmsgstr "Language: xx\\n"\n\n#: panels.py\nmsgid "One"\nmsgstr "Eins"\n'
        'msgid "Two \\"2\\""\nmsgstr "Zwei "\n"und \\n"\n"mehr"\n\n'
        '#, fuzzy\nmsgid "Three"\nmsgstr "Drei"\n\n#~ msgid "Gone"\n#~ msgstr "Weg"\n\n'
        'msgid "Four"\nmsgstr ""\n\nmsgid ""\n"Long "\n"text"\nmsgstr "Lang"\n',
    )
    assert read_catalogue(path) == {
        "One": "Eins",
        'Two "2"': "Zwei und \nmehr",
        "Long text": "Lang",
    }


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, 'msgid "One"\nmsgstr "Eins\n')
    with pytest.raises(ValueError, match=r"xx_XX\.po, line 2"):
        read_catalogue(path)


def test_every_text_is_there_in_every_context() -> None:
    german = catalogues()["de_DE"]
    assert {german[context, "Lock Identity"] for context in CONTEXTS} == {"Identität festhalten"}
    assert all(other.strip() for other in german.values())


def test_values_are_put_in_with_blender_and_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "bpy", raising=False)
    assert rpt("Frame {frame} of {clip}", frame=7, clip="a{b}") == "Frame 7 of a{b}"
    assert iface("50 % {of it}") == "50 % {of it}"

    def translated(text: str, context: str) -> str:
        return {("Hidden: {names}", "Mien"): "Verborgen: {names}"}.get((text, context), text)

    fake = SimpleNamespace(pgettext_rpt=translated, pgettext_iface=translated)
    monkeypatch.setitem(sys.modules, "bpy", SimpleNamespace(app=SimpleNamespace(translations=fake)))
    assert rpt("Hidden: {names}", names="Cube") == "Verborgen: Cube"
    assert iface("Unknown") == "Unknown"
