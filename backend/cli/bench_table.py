"""Figures as a table for people."""

from __future__ import annotations

from collections.abc import Sequence


def as_table(figures: dict[str, float], prefixes: Sequence[str] = ()) -> str:
    """One row a figure; figures whose names differ by a prefix alone stand beside each other.

    prefixes: those that make a column, such as "mediapipe_"; a longer one wins over its beginning.
    """
    columns: dict[str, dict[str, float]] = {"": {}}
    ordered = sorted(prefixes, key=len, reverse=True)
    for name, value in figures.items():
        prefix = next((p for p in ordered if name.startswith(p)), "")
        columns.setdefault(prefix, {})[name.removeprefix(prefix)] = value
    rows = list(dict.fromkeys(name for column in columns.values() for name in column))
    width = max(map(len, rows), default=0)
    heads = [prefix.rstrip("_") for prefix in columns]
    widths = [max(10, len(head)) for head in heads]
    lines = []
    if len(columns) > 1:
        cells = [f"{head:>{w}}" for head, w in zip(heads, widths, strict=True)]
        lines.append("  ".join([" " * width, *cells]).rstrip())
    for row in rows:
        cells = [
            f"{f'{column[row]:.4g}' if row in column else '':>{w}}"
            for column, w in zip(columns.values(), widths, strict=True)
        ]
        lines.append("  ".join([f"{row:<{width}}", *cells]).rstrip())
    return "\n".join(lines)
