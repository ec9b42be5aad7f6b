# SPDX-License-Identifier: GPL-3.0-or-later
"""The queue in the "Mien" tab of both editors."""

from __future__ import annotations

import bpy

from ..people.faces import face_icon
from ..text import draw_text
from . import runner
from .properties import ENDED

ICONS = {
    "WAITING": "TIME",
    "RUNNING": "PLAY",
    "DONE": "CHECKMARK",
    "FAILED": "ERROR",
    "CANCELLED": "CANCEL",
}


class MIEN_UL_queue(bpy.types.UIList):
    """One line for each job: its state, name and how far it is"""

    def draw_item(self, context, layout, data, item, icon, active_data, active_propname, index):
        """Draw an entry."""
        running = runner.current()
        row = layout.row(align=True)
        row.label(text=item.name, icon=ICONS[item.state])
        face = face_icon(item.person_key)
        if face:
            row.label(text="", icon_value=face)
        if item.state == "RUNNING" and running is not None and running.key == item.key:
            assert running.run is not None
            row.progress(factor=running.run.fraction, text=running.run.status)
        else:
            row.label(text=item.details)


class _QueuePanel:
    bl_label = "Queue"
    bl_region_type = "UI"
    bl_category = "Mien"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the list, its buttons, and how the chosen entry ended."""
        layout, queue = self.layout, context.scene.mien_queue
        row = layout.row(align=True)
        row.operator("mien.queue_add", icon="ADD").who = "CLIP"
        if context.scene.mien_people.items:
            row.operator("mien.queue_add", text="Add All People", icon="COMMUNITY").who = "ALL"
        if not queue.items:
            draw_text(layout, "Clips and people that are added are tracked one after another, "
                      "while you go on working.", context)  # fmt: skip
            return
        row = layout.row()
        row.template_list("MIEN_UL_queue", "", queue, "items", queue, "index", rows=3)
        column = row.column(align=True)
        column.operator("mien.queue_remove", text="", icon="REMOVE")
        column.separator()
        column.operator("mien.queue_move", text="", icon="TRIA_UP").step = -1
        column.operator("mien.queue_move", text="", icon="TRIA_DOWN").step = 1
        running = runner.current()
        row = layout.row(align=True)
        if running is not None and running.run is not None and not running.is_paused:
            row.operator("mien.queue_pause", icon="PAUSE")
        else:
            row.operator("mien.queue_start", icon="PLAY")
        row.operator("mien.queue_clear", icon="TRASH")
        if not 0 <= queue.index < len(queue.items):
            return
        item = queue.items[queue.index]
        row = layout.row(align=True)
        if item.state in ENDED:
            row.operator("mien.queue_retry", icon="FILE_REFRESH")
        else:
            row.operator("mien.queue_cancel", icon="CANCEL")
        if item.message:
            draw_text(layout, item.message, context, icon=ICONS[item.state])


class MIEN_PT_queue_view3d(_QueuePanel, bpy.types.Panel):
    """Jobs one after another, in the 3D view"""

    bl_space_type = "VIEW_3D"


class MIEN_PT_queue_clip(_QueuePanel, bpy.types.Panel):
    """Jobs one after another, in the Movie Clip Editor"""

    bl_space_type = "CLIP_EDITOR"


CLASSES = (MIEN_UL_queue, MIEN_PT_queue_view3d, MIEN_PT_queue_clip)
register, unregister = bpy.utils.register_classes_factory(CLASSES)
