"""Texts, tooltips, undo, labels and units of all that the add-on registers."""

from __future__ import annotations

import string
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.blender

SCRIPT = Path(__file__).parents[2] / "scripts" / "addon_strings.py"

WITHOUT_UNDO = {
    # The backend, which is no part of the file.
    "mien.install_backend", "mien.cancel_install", "mien.remove_backend", "mien.check_backend",
    "mien.stop_backend",
    # A window, the clipboard, files of other programs.
    "mien.preferences", "mien.copy_report", "mien.export_csv", "mien.export_file",
    "mien.save_mapping",
    # These start or stop what goes on by itself, whose results are steps of undo of their own.
    "mien.cancel", "mien.refine_cancel", "mien.queue_start", "mien.queue_pause", "mien.live",
}  # fmt: skip
"""Operators that change nothing that undo could give back."""


@pytest.fixture(scope="module")
def texts(blender: Any) -> dict[str, Any]:
    return blender.run("manners_checks.py", "texts", script=SCRIPT)


@pytest.fixture(scope="module")
def manners(blender: Any) -> dict[str, Any]:
    return blender.run("manners_checks.py", "manners", script=SCRIPT)


def test_every_text_can_be_translated(texts: dict[str, Any]) -> None:
    assert not texts["wrong"], "texts with values in them: use iface, tip or rpt"
    assert len(texts["texts"]) > 400


def test_catalogues_have_every_text_and_no_other(texts: dict[str, Any]) -> None:
    assert "de_DE" in texts["catalogues"]
    for language, catalogue in texts["catalogues"].items():
        assert sorted(set(texts["texts"]) - set(catalogue)) == [], language
        assert sorted(set(catalogue) - set(texts["texts"])) == [], language
    assert texts["bytes"] < 150_000


def test_translations_take_the_same_values(texts: dict[str, Any]) -> None:
    def fields(text: str) -> list[tuple[str, ...]]:
        return sorted(
            (name, spec or "", conversion or "")
            for _, name, spec, conversion in string.Formatter().parse(text)
            if name is not None
        )

    for catalogue in texts["catalogues"].values():
        for text, other in catalogue.items():
            if "{" in text:
                assert set(fields(text)) == set(fields(other)), text


def test_everything_is_described(manners: dict[str, Any]) -> None:
    assert not manners["bare"]
    assert len(manners["operators"]) > 40 and manners["properties"] > 100


def test_everything_that_changes_the_file_can_be_undone(manners: dict[str, Any]) -> None:
    without = {name for name, options in manners["operators"].items() if "UNDO" not in options}
    assert without == WITHOUT_UNDO


def test_panels_have_labels_of_their_own(manners: dict[str, Any]) -> None:
    counts = Counter(tuple(panel) for panel in manners["panels"])
    assert [panel for panel, count in counts.items() if count > 1] == []
    assert {panel[1] for panel in manners["panels"]} == {"Mien"}


def test_numbers_have_their_units(blender: Any) -> None:
    units = blender.run("manners_checks.py", "units", script=SCRIPT)
    for name, unit in units.items():
        last = name.rpartition(".")[2]
        if last in {"x", "y", "sigma", "pin_sigma"}:
            assert unit == "PIXEL", name
        if last in {"frame", "start", "end", "frame_start", "frame_end"}:
            assert unit == "TIME", name
        if last in {"focal_mm", "sensor_mm"}:
            assert unit == "CAMERA", name
    assert units["MienLiveSettings.field_of_view"] == "ROTATION"
    assert units["MIEN_OT_seen_group.percent"] == "PERCENTAGE"


def test_a_range_past_the_end_is_refused_in_frames_of_the_scene(blender: Any, clip: Path) -> None:
    first, second = blender.run("manners_checks.py", "beyond_the_clip", clip=clip)
    assert "after the clip has ended, at frame 12" in first
    assert "after the clip has ended, at frame 112" in second
