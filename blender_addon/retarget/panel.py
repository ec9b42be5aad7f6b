# SPDX-License-Identifier: GPL-3.0-or-later
"""The "To Rigs" panel of the Mien tab in the 3D view."""

from __future__ import annotations

from textwrap import shorten

import bpy

from ..text import draw_text
from .exchange import FORMATS

LETTERS = 150
"""Letters of each line of the report that the panel has room for."""


class MIEN_UL_drives(bpy.types.UIList):
    """Expressions, what they drive, gain and neutral"""

    def draw_item(self, context, layout, data, item, icon, active_data, active_name) -> None:  # type: ignore[no-untyped-def]
        """Draw one row."""
        # The panel's split would leave these half of the width.
        layout.use_property_split = False
        row = layout.row(align=True)
        row.prop(item, "use", text="")
        row.label(text=item.name)
        if item.target:
            row.label(text=item.target, icon="SHAPEKEY_DATA")


def draw_drive(
    layout: bpy.types.UILayout, settings: bpy.types.PropertyGroup, target: bpy.types.Object
) -> None:
    """Draw what belongs to the chosen expression of the list."""
    if not 0 <= settings.active < len(settings.drives):
        return
    drive = settings.drives[settings.active]
    keys = target.data.shape_keys if target.type == "MESH" else None
    column = layout.column(align=True)
    if keys is not None:
        column.prop_search(drive, "target", keys, "key_blocks", icon="SHAPEKEY_DATA")
    column.prop(drive, "gain")
    column.prop(drive, "neutral")


class MIEN_PT_retarget(bpy.types.Panel):
    """Give the performance to a character, or to another program"""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Mien"
    bl_label = "To Rigs"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the character, the list, and the files."""
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        settings = context.scene.mien_retarget
        layout.prop(settings, "target")
        target = settings.target
        if target is not None:
            if target.type == "ARMATURE":
                layout.prop(settings, "mapping")
                row = layout.row(align=True)
                row.operator_menu_enum("mien.preset_mapping", "preset", text="Preset")
                row.operator("mien.load_mapping", text="Load", icon="FILE_FOLDER")
                row.operator("mien.save_mapping", text="Save", icon="FILE_TICK")
            label = "List Expressions" if target.type == "ARMATURE" else "Match Shape Keys"
            layout.operator("mien.match_keys", text=label, icon="VIEWZOOM")
            for line in settings.report.splitlines():
                draw_text(
                    layout, shorten(line, LETTERS, placeholder=" … (all: Info editor)"), context
                )
            if len(settings.drives):
                layout.template_list(
                    "MIEN_UL_drives", "", settings, "drives", settings, "active", rows=4
                )
                draw_drive(layout, settings, target)
                row = layout.row(align=True)
                row.operator("mien.retarget_neutral").clear = False
                row.operator("mien.retarget_neutral", text="Clear").clear = True
            layout.prop(settings, "as_strip")
            row = layout.row()
            row.scale_y = 1.3
            row.operator("mien.bake_to_character", icon="ACTION")
        layout.separator()
        column = layout.column(align=True)
        column.operator("mien.export_csv", icon="EXPORT")
        for name, kind in FORMATS.items():
            entry = column.operator(
                "mien.export_file", text=f"{kind.label} ({kind.suffix})", icon="EXPORT"
            )
            entry.file_format = name


CLASSES = (MIEN_UL_drives, MIEN_PT_retarget)
register, unregister = bpy.utils.register_classes_factory(CLASSES)
