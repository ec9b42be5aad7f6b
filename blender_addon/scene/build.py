# SPDX-License-Identifier: GPL-3.0-or-later
"""From a shot to data-blocks: one collection, made by the first run and updated by the next."""

from __future__ import annotations

from dataclasses import dataclass

import bpy
import numpy as np
from numpy.typing import NDArray

from ..shot import Motion, Shot
from . import camera as camera_module
from .animation import Curves
from .datablocks import ensure_collection, ensure_object, find_object
from .footage import index_to_frame, set_up_scene
from .head import update_head
from .light import store_lighting
from .material import ensure_material, set_texture
from .modes import object_mode
from .rig import animate_rig, update_rig
from .visibility import set_visibility

COLLECTION = "Mien"


@dataclass(frozen=True)
class Changes:
    """What of a shot is new since the last update."""

    model: bool = True
    """The head's shape."""
    motion: bool = True
    """Frames."""
    texture: bool = True
    """The texture."""
    visibility: bool = True
    """Which vertices are seen in which frame."""


EVERYTHING = Changes()


def update_scene(
    scene: bpy.types.Scene,
    shot: Shot,
    clip: bpy.types.MovieClip | None = None,
    collection: bpy.types.Collection | None = None,
    changes: Changes = EVERYTHING,
    set_scene: bool = True,
) -> bpy.types.Collection:
    """Make or update everything in one collection, and return it.

    collection: the one of an earlier run, or None. set_scene: give the scene the footage's size,
    rate, range and colours too. Units are metres; an empty, "Mien", carries camera and head, so
    that the whole can be moved.
    """
    is_new = collection is None
    collection = ensure_collection(scene, collection, COLLECTION)
    frames = shot.motion.frame_index + index_to_frame(clip)
    head = find_object(collection, "head")
    rig = find_object(collection, "rig")
    camera = find_object(collection, "camera")
    if changes.model or head is None or rig is None or camera is None:
        origin = ensure_object(collection, "origin", "Mien", None)
        if is_new:
            origin.empty_display_size = 0.1
        with object_mode(scene):
            rig = update_rig(collection, shot.model, origin)
            head = update_head(collection, shot.model, rig)
        ensure_material(head)
        camera = camera_module.update_camera(scene, collection, origin, clip)
    if changes.model or changes.motion:
        if set_scene:
            set_up_scene(scene, shot, clip)
        animate_rig(rig, shot.motion, frames)
        _animate_expression(head, shot, frames)
        _animate_found(rig, shot.motion, frames)
        camera_module.animate_camera(camera, shot, clip, frames)
    if changes.visibility and shot.motion.visibility is not None:
        set_visibility(head, shot.motion.visibility, frames, shot.motion.soft_visibility)
    if changes.texture and shot.texture is not None:
        set_texture(head, shot.texture, shot.albedo)
        if shot.lighting is not None:
            store_lighting(head, shot.lighting)
    return collection


def _animate_expression(head: bpy.types.Object, shot: Shot, frames: NDArray[np.int64]) -> None:
    keys = head.data.shape_keys
    curves = Curves(keys, "Mien Expression")
    weights = shot.motion.expression
    low, high = weights.min(axis=0), weights.max(axis=0)
    for number, name in enumerate(shot.model.expression_names):
        block = keys.key_blocks[name]
        # Blender clamps a key to its slider's range, in curves too.
        block.slider_min = float(min(0.0, np.floor(low[number])))
        block.slider_max = float(max(1.0, np.ceil(high[number])))
        path = f'key_blocks["{name}"].value'
        curves.fill(path, 0, frames, weights[:, number], "Expression")


def _animate_found(rig: bpy.types.Object, motion: Motion, frames: NDArray[np.int64]) -> None:
    """Key the rig's custom property `face_found`: 1 where the face was seen, else 0."""
    if "face_found" not in rig:
        rig["face_found"] = 1.0
    Curves(rig, "Mien Motion").fill('["face_found"]', 0, frames, motion.found, "Tracking")
