# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a catalogue in gettext's form (.po); knows no bpy.

Of that form what Mien's catalogues use: comments, msgid and msgstr, each in one string or in
several lines of them. Entries marked as fuzzy and those without a translation count as missing.
"""

from __future__ import annotations

import ast
from pathlib import Path


def read_catalogue(path: Path) -> dict[str, str]:
    """Return the translation of each English text. Raises ValueError with the line."""
    texts: dict[str, str] = {}
    entry: dict[str, str] = {}
    field, is_fuzzy = "", False

    def close() -> None:
        if entry.get("msgid") and entry.get("msgstr") and not is_fuzzy:
            texts[entry["msgid"]] = entry["msgstr"]
        entry.clear()

    for number, raw in enumerate(path.read_text("utf-8").splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            if field:
                close()
                field, is_fuzzy = "", False
            is_fuzzy = is_fuzzy or (line.startswith("#,") and "fuzzy" in line)
            continue
        word, quote, rest = line.partition('"')
        if word.strip():
            field = word.strip()
            if field == "msgid" and "msgstr" in entry:
                close()
                is_fuzzy = False
            entry[field] = ""
        try:
            entry[field] += ast.literal_eval(quote + rest)
        except (SyntaxError, ValueError, KeyError):
            raise ValueError(f"{path.name}, line {number}: not a line of a catalogue") from None
    close()
    return texts
