# SPDX-License-Identifier: GPL-3.0-or-later
"""The "Live" panel of the Mien tab in the 3D view."""

from __future__ import annotations

import bpy

from ..text import draw_text
from .operators import live_run


class MIEN_PT_live(bpy.types.Panel):
    """Follow a camera live"""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Mien"
    bl_label = "Live"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the source and how it goes."""
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        settings, run = context.scene.mien_live, live_run()
        running = run is not None and not run.is_finished
        column = layout.column()
        column.enabled = not running
        column.prop(settings, "source")
        column.prop(settings, "detector")
        row = column.row(heading="Lens")
        row.prop(settings, "use_focal", text="")
        sub = row.row()
        sub.active = settings.use_focal
        sub.prop(settings, "field_of_view", text="")
        column.prop(settings, "collection")
        if run is not None and running:
            draw_text(layout, run.status, context)
            row = layout.row(align=True)
            recording = run.is_recording
            row.operator(
                "mien.live_record", text="End Recording" if recording else "Record",
                icon="SNAP_FACE" if recording else "REC", depress=recording,
            )  # fmt: skip
            row.operator("mien.live_stop", icon="PAUSE")
            return
        layout.operator("mien.live", icon="PLAY")
        if run is not None and run.error:
            draw_text(layout, run.error, context, icon="ERROR")


register, unregister = bpy.utils.register_classes_factory((MIEN_PT_live,))
