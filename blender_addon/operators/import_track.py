# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the scene from a track file, in the interface or in a script."""

from __future__ import annotations

import os

import bpy
from bpy.props import BoolProperty, StringProperty
from bpy_extras.io_utils import ImportHelper

from ..refine.job import remember_source
from ..scene.build import update_scene
from ..scene.datablocks import check_editable
from ..scene.footage import is_shown_rotated, load_clip
from ..shot import read_track


class MIEN_OT_import_track(bpy.types.Operator, ImportHelper):
    """Build the head, its motion and the camera from a file that "mien track" has written"""

    bl_idname = "mien.import_track"
    bl_label = "Import Mien Track"
    bl_options = {"REGISTER", "UNDO"}

    filename_ext = ".npz"
    filter_glob: StringProperty(default="*.npz", options={"HIDDEN"})
    clip_path: StringProperty(
        name="Clip",
        description="The footage of the track; empty for the clip in the Mien panel",
        subtype="FILE_PATH",
    )
    set_scene: BoolProperty(
        name="Set Up Scene",
        description="Give the scene the clip's resolution, frame rate, frame range and colours",
        default=True,
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Read the file and build or update the scene."""
        settings = context.scene.mien
        try:
            check_editable(settings.collection)
            shot = read_track(bpy.path.abspath(self.filepath))
            if self.clip_path:
                settings.clip = load_clip(self.clip_path, again=False)
        except ValueError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        settings.collection = update_scene(
            context.scene, shot, settings.clip, settings.collection, set_scene=self.set_scene
        )
        path = os.path.abspath(bpy.path.abspath(self.filepath))
        remember_source(settings.collection, settings.clip, shot, track=path)
        if is_shown_rotated(settings.clip, shot.image_size):
            self.report(
                {"WARNING"},
                "This Blender ignores the clip's rotation, so the background lies on its side: "
                "use Blender 4.5 or newer, or convert the clip",
            )
        return {"FINISHED"}


def menu_import(self: bpy.types.Menu, context: bpy.types.Context) -> None:
    """Draw the entry in File > Import."""
    self.layout.operator(MIEN_OT_import_track.bl_idname, text="Mien Track (.npz)")


def register() -> None:
    """Add the operator and its menu entry."""
    bpy.utils.register_class(MIEN_OT_import_track)
    bpy.types.TOPBAR_MT_file_import.append(menu_import)


def unregister() -> None:
    """Take both away."""
    bpy.types.TOPBAR_MT_file_import.remove(menu_import)
    bpy.utils.unregister_class(MIEN_OT_import_track)
