# SPDX-License-Identifier: GPL-3.0-or-later
"""The "Smooth and Output" panel: what can be chosen after the track without tracking again."""

from __future__ import annotations

import bpy

from ..scene.solve import SOLVE
from ..text import draw_text


class _SmoothAndOutput:
    """Smoothing, motion, shape, landmarks and confidence of the scene's result."""

    bl_region_type = "UI"
    bl_category = "Mien"
    bl_label = "Smooth and Output"
    bl_options = {"DEFAULT_CLOSED"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with a result."""
        return context.scene is not None and context.scene.mien.collection is not None

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the choices."""
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        collection = context.scene.mien.collection
        if SOLVE not in collection:
            text = "Import the track again, or track again: an older Mien made this result."
            draw_text(layout, text, context, icon="INFO")
            return
        result = collection.mien_result
        column = layout.column(align=True)
        column.label(text="Smoothing, in frames to either side")
        for name in ("position", "rotation", "expression", "focal"):
            column.prop(result, f"smooth_{name}")
        layout.prop(result, "motion")
        row = layout.row(align=True)
        row.label(text="Shape")
        for kind in ("KEYS", "ABSOLUTE", "CACHE"):
            label = result.bl_rna.properties["shape"].enum_items[kind].name
            row.operator("mien.shape", text=label, depress=result.shape == kind).to = kind
        layout.operator("mien.landmarks", icon="EMPTY_DATA")
        layout.prop(context.scene, "mien_show_strip")
        row = layout.row(align=True)
        row.operator("mien.next_unsure", text="Previous Unsure", icon="TRIA_LEFT").backwards = True
        row.operator("mien.next_unsure", text="Next Unsure", icon="TRIA_RIGHT").backwards = False


class MIEN_PT_refine_view3d(_SmoothAndOutput, bpy.types.Panel):
    """Smoothing and output, in the 3D view"""

    bl_space_type = "VIEW_3D"


class MIEN_PT_refine_clip(_SmoothAndOutput, bpy.types.Panel):
    """Smoothing and output, in the Movie Clip Editor"""

    bl_space_type = "CLIP_EDITOR"


CLASSES = (MIEN_PT_refine_view3d, MIEN_PT_refine_clip)
register, unregister = bpy.utils.register_classes_factory(CLASSES)
