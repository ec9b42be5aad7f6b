# SPDX-License-Identifier: GPL-3.0-or-later
"""Mien's texts in the language of Blender: a catalogue (.po) for each, beside this file.

Blender translates labels, names, descriptions and reports by itself, where they are the same each
time. A text with a name or a number in it goes through `iface`, `tip` or `rpt`, whose argument is
what the catalogue has. None of them needs Blender: without it, texts stay English.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from .catalogue import read_catalogue

CONTEXT = "Mien"
"""Context of those texts for which Blender has another word in another sense."""
CONTEXTS = ("*", "Operator", CONTEXT)
"""Contexts in which Blender looks a text up: of most, of operators, and Mien's own."""


def iface(text: str, **values: Any) -> str:
    """Return a text of the interface, translated, then with {values} put in."""
    return _translated("pgettext_iface", text, values)


def tip(text: str, **values: Any) -> str:
    """Return a tooltip, translated, then with {values} put in."""
    return _translated("pgettext_tip", text, values)


def rpt(text: str, **values: Any) -> str:
    """Return a report or an error, translated, then with {values} put in."""
    return _translated("pgettext_rpt", text, values)


def _translated(function: str, text: str, values: dict[str, Any]) -> str:
    # Only where Blender runs already: modules without it are used outside too.
    bpy = sys.modules.get("bpy")
    if bpy is not None:
        text = getattr(bpy.app.translations, function)(text, CONTEXT)
    return text.format(**values) if values else text


def catalogues() -> dict[str, dict[tuple[str, str], str]]:
    """Return every language's texts by context and English text, as Blender takes them."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.po")):
        texts = read_catalogue(path)
        found[path.stem] = {(c, text): other for text, other in texts.items() for c in CONTEXTS}
    return found


def register() -> None:
    """Give Blender the catalogues."""
    import bpy

    bpy.app.translations.register(__package__, catalogues())


def unregister() -> None:
    """Take them away."""
    import bpy

    bpy.app.translations.unregister(__package__)
