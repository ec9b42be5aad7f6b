# SPDX-License-Identifier: GPL-3.0-or-later
"""What the artist sets for a scene."""

from __future__ import annotations

import bpy
from bpy.props import (
    BoolProperty,
    CollectionProperty,
    EnumProperty,
    FloatProperty,
    IntProperty,
    PointerProperty,
    StringProperty,
)

from . import rig_list
from .translations import CONTEXT


class MienSettings(bpy.types.PropertyGroup):
    """Settings of the Mien panel, saved with the scene."""

    clip: PointerProperty(
        name="Clip", type=bpy.types.MovieClip, description="The clip with the face to track"
    )
    use_range: BoolProperty(
        name="Range",
        description="Track only some frames of the clip, not all of them",
        default=False,
    )
    frame_start: IntProperty(
        name="Start", description="First frame of the scene to track", default=1, subtype="TIME"
    )
    frame_end: IntProperty(
        name="End", description="Last frame of the scene to track", default=250, subtype="TIME"
    )
    quality: EnumProperty(
        name="Quality",
        description="How the clip is tracked",
        items=(
            (
                "final",
                "Final",
                "Solve the person's face, the focal length, the motion and the texture over the "
                "whole shot",
            ),
            ("preview", "Preview", "Frame by frame with an average face: quick, no texture"),
        ),
        default="final",
    )
    focal_mode: EnumProperty(
        name="Focal Length",
        description="Where the focal length comes from",
        translation_context=CONTEXT,
        items=(
            ("SOLVE", "Solve", "Find the focal length from the shot"),
            ("FIXED", "Fixed", "Use the focal length below"),
            (
                "CLIP",
                "From Clip",
                "Use the focal length, centre and distortion of the Movie Clip's camera",
            ),
            ("ZOOM", "Zoom", "Find the focal length of every frame: the lens zooms in the shot"),
        ),
        default="SOLVE",
    )
    focal_mm: FloatProperty(
        name="Focal Length",
        description="Focal length of the lens, for the sensor width below",
        default=35.0,
        min=1.0,
        max=5000.0,
        unit="CAMERA",
    )
    sensor_mm: FloatProperty(
        name="Sensor Width",
        description="Width of the part of the sensor that the clip shows",
        default=36.0,
        min=1.0,
        max=200.0,
        unit="CAMERA",
    )
    texture_size: EnumProperty(
        name="Texture",
        description="Size of the texture that is merged from the frames",
        items=(
            ("0", "None", "No texture"),
            ("1024", "1024", "1024 x 1024 pixels"),
            ("2048", "2048", "2048 x 2048 pixels"),
            ("4096", "4096", "4096 x 4096 pixels"),
        ),
        default="2048",
    )
    use_rig: BoolProperty(
        name="Rig",
        description="Further clips are of other cameras that recorded the same performance",
        default=False,
    )
    rig_clips: CollectionProperty(
        type=rig_list.MienRigClip,
        options={"HIDDEN"},
    )
    rig_file: StringProperty(
        name="Rig File",
        description="Where the cameras stand (.json: R, T and f of each); solved where empty",
        subtype="FILE_PATH",
    )
    person: StringProperty(
        name="Person",
        description='Keep the face of this person: a file that "mien identity" has built from '
        "photos and clips; solved from the shot where empty",
        subtype="FILE_PATH",
    )
    set_scene: BoolProperty(
        name="Set Up Scene",
        description="Give the scene the clip's resolution, frame rate, frame range and colours",
        default=True,
    )
    collection: PointerProperty(
        name="Result",
        type=bpy.types.Collection,
        description="What the next run updates; empty it to get a new head beside the old one",
    )


def register() -> None:
    """Add the settings to every scene."""
    rig_list.register()
    bpy.utils.register_class(MienSettings)
    bpy.types.Scene.mien = PointerProperty(type=MienSettings)


def unregister() -> None:
    """Take the settings away."""
    del bpy.types.Scene.mien
    bpy.utils.unregister_class(MienSettings)
    rig_list.unregister()
