# SPDX-License-Identifier: GPL-3.0-or-later
"""Choose the clip."""

from __future__ import annotations

import bpy
from bpy.props import StringProperty
from bpy_extras.io_utils import ImportHelper

from ..scene.footage import load_clip


class MIEN_OT_open_clip(bpy.types.Operator, ImportHelper):
    """Open a clip or an image sequence to track"""

    bl_idname = "mien.open_clip"
    bl_label = "Open Clip"
    bl_options = {"REGISTER", "UNDO"}

    filter_glob: StringProperty(default="", options={"HIDDEN"})
    filter_movie: bpy.props.BoolProperty(default=True, options={"HIDDEN"})
    filter_image: bpy.props.BoolProperty(default=True, options={"HIDDEN"})
    filter_folder: bpy.props.BoolProperty(default=True, options={"HIDDEN"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Load the clip and choose it."""
        try:
            clip = load_clip(self.filepath)
        except ValueError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        context.scene.mien.clip = clip
        return {"FINISHED"}


class MIEN_OT_use_clip(bpy.types.Operator):
    """Track the clip that this editor shows"""

    bl_idname = "mien.use_clip"
    bl_label = "Use This Clip"
    bl_options = {"UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only in an editor that shows a clip."""
        return getattr(context.space_data, "clip", None) is not None

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Choose the editor's clip."""
        context.scene.mien.clip = context.space_data.clip
        return {"FINISHED"}


CLASSES = (MIEN_OT_open_clip, MIEN_OT_use_clip)
register, unregister = bpy.utils.register_classes_factory(CLASSES)
