# SPDX-License-Identifier: GPL-3.0-or-later
"""Text that wraps: Blender's labels are one line each."""

from __future__ import annotations

import textwrap

import bpy

from .translations import iface


def draw_text(
    layout: bpy.types.UILayout,
    text: str,
    context: bpy.types.Context,
    icon: str = "NONE",
    width: int = 0,
) -> None:
    """Draw a text of any length in Blender's language, in lines that fit the region.

    width: pixels at scale 1 to fit instead, as a dialog has.
    """
    text = iface(text)
    scale = max(context.preferences.system.ui_scale, 0.5)
    if width:
        width = int(width * scale)
    else:
        width = context.region.width if context.region is not None else 400
    # About 6.5 pixels a letter at scale 1, less margins and the icon.
    margin = 50 if icon == "NONE" else 70
    letters = max(20, int((width / scale - margin) / 6.5))
    column = layout.column(align=True)
    for number, line in enumerate(textwrap.wrap(text, letters) or [""]):
        first = number == 0
        shown = icon if first else ("BLANK1" if icon != "NONE" else "NONE")
        column.label(text=line, icon=shown, translate=False)
