# SPDX-License-Identifier: GPL-3.0-or-later
"""The panel's list of further clips of one performance, and the file of a person."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import bpy
from bpy.props import BoolProperty, FloatProperty, IntProperty, PointerProperty

from .scene.footage import clip_source
from .shared.messages import RigCamera
from .shared.rig import KnownCamera, RigFileError, read_rig


class MienRigClip(bpy.types.PropertyGroup):
    """A clip of a further camera."""

    clip: PointerProperty(
        name="Clip",
        type=bpy.types.MovieClip,
        description="What another camera recorded of the same performance",
    )
    use_offset: BoolProperty(
        name="Offset",
        description="Set the time offset of this clip; it is found from how the face moves where "
        "this is off",
        default=False,
    )
    offset: FloatProperty(
        name="Frames",
        description="Frame t of the first clip shows the same moment as frame t + offset of this",
        default=0.0,
        precision=2,
    )


def rig_cameras(settings: Any, focal_px: float | None) -> list[RigCamera]:
    """The further cameras of a scene's settings (scene.mien). Raises ValueError.

    focal_px: the first clip's, where it is given; a rig file must then tell the others'.
    """
    items = [item for item in settings.rig_clips if item.clip is not None]
    if not settings.use_rig or not items:
        return []
    sources = [clip_source(clip) for clip in (settings.clip, *(item.clip for item in items))]
    known = [KnownCamera() for _ in sources]
    if settings.rig_file:
        path = Path(bpy.path.abspath(settings.rig_file))
        try:
            known = read_rig(path, [os.path.basename(source) for source in sources])
        except RigFileError as error:
            raise ValueError(str(error)) from None
    cameras = []
    for item, source, camera in zip(items, sources[1:], known[1:], strict=True):
        message = camera.message(source)
        if focal_px is None and known[0].focal_px is None and message.focal_px is not None:
            raise ValueError("Give the focal lengths of all cameras, or of none.")
        offset = item.offset if item.use_offset else message.offset
        cameras.append(
            RigCamera(
                clip=source,
                offset=offset,
                rotation=message.rotation,
                translation=message.translation,
                focal_px=message.focal_px,
            )
        )
    return cameras


def first_focal_px(settings: Any) -> float | None:
    """The first clip's focal length by the rig file; None where it does not tell."""
    items = [item for item in settings.rig_clips if item.clip is not None]
    if not settings.use_rig or not items or not settings.rig_file:
        return None
    names = [os.path.basename(clip_source(c)) for c in (settings.clip, *(i.clip for i in items))]
    try:
        return read_rig(Path(bpy.path.abspath(settings.rig_file)), names)[0].focal_px
    except RigFileError as error:
        raise ValueError(str(error)) from None


def draw_rig(layout: bpy.types.UILayout, settings: Any) -> None:
    """Draw the list of further clips, and the person."""
    layout.prop(settings, "use_rig")
    if settings.use_rig:
        box = layout.box().column()
        for number, item in enumerate(settings.rig_clips):
            row = box.row(align=True)
            row.use_property_split = False
            row.prop(item, "clip", text="")
            row.prop(item, "use_offset", text="", icon="TIME")
            sub = row.row(align=True)
            sub.active = item.use_offset
            sub.prop(item, "offset", text="")
            row.operator("mien.remove_rig_clip", text="", icon="X").index = number
        box.operator("mien.add_rig_clip", icon="ADD")
        box.prop(settings, "rig_file")
    layout.prop(settings, "person")


class MIEN_OT_add_rig_clip(bpy.types.Operator):
    """Add a place for the clip of another camera"""

    bl_idname = "mien.add_rig_clip"
    bl_label = "Add Camera"
    bl_options = {"UNDO", "INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Add it, with a clip that is nobody's yet."""
        settings = context.scene.mien
        used = {settings.clip, *(item.clip for item in settings.rig_clips)}
        item = settings.rig_clips.add()
        item.clip = next((clip for clip in bpy.data.movieclips if clip not in used), None)
        return {"FINISHED"}


class MIEN_OT_remove_rig_clip(bpy.types.Operator):
    """Take this camera out of the list"""

    bl_idname = "mien.remove_rig_clip"
    bl_label = "Remove Camera"
    bl_options = {"UNDO", "INTERNAL"}

    index: IntProperty(options={"HIDDEN"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Remove it."""
        context.scene.mien.rig_clips.remove(self.index)
        return {"FINISHED"}


CLASSES = (MienRigClip, MIEN_OT_add_rig_clip, MIEN_OT_remove_rig_clip)
register, unregister = bpy.utils.register_classes_factory(CLASSES)
