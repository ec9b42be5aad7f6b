# SPDX-License-Identifier: GPL-3.0-or-later
"""A live pose on shape keys and bones, and a recording as an action."""

from __future__ import annotations

from collections.abc import Sequence

import bpy
import numpy as np

from ..scene.build import Changes, update_scene
from ..scene.datablocks import find_object
from ..scene.rig import BONES
from ..shared.conventions import points_to_blender, rotvec_to_blender, rotvec_to_quaternion
from ..shot import HeadModel
from .stream import LivePose, shot_of

_MODEL = Changes(model=True, motion=False, texture=False, visibility=False)
_MOTION = Changes(model=True, motion=True, texture=False, visibility=False)


def build_head(
    scene: bpy.types.Scene, collection: bpy.types.Collection | None, model: HeadModel,
    pose: LivePose, image_size: tuple[int, int],
) -> bpy.types.Collection:  # fmt: skip
    """Make the head, its bones and the camera, or give them a new shape; nothing is keyed."""
    shot = shot_of(model, [pose], image_size, 0.0, 1.0)
    collection = update_scene(scene, shot, None, collection, _MODEL, set_scene=False)
    # Curves would hold the values that are set live.
    for role in ("head", "rig"):
        found = find_object(collection, role)
        if found is not None:
            owner = found.data.shape_keys if role == "head" else found
            owner.animation_data_clear()
    return collection


def apply_pose(collection: bpy.types.Collection, names: Sequence[str], pose: LivePose) -> bool:
    """Set shape keys and bones; returns whether the head is still there."""
    head, rig = find_object(collection, "head"), find_object(collection, "rig")
    if head is None or rig is None or head.data.shape_keys is None:
        return False
    blocks = head.data.shape_keys.key_blocks
    for name, value in zip(names, pose.expression, strict=True):
        block = blocks.get(name)
        if block is not None:
            block.value = float(value)
    turns = rotvec_to_blender(pose.rotations.astype(np.float64))
    for joint, name in enumerate(BONES):
        bone = rig.pose.bones.get(name)
        if bone is None:
            return False
        # A row vector times `rest` is its transpose times the vector: armature to bone frame.
        rest = np.array(bone.bone.matrix_local.to_3x3(), np.float64)
        bone.rotation_quaternion = rotvec_to_quaternion(turns[joint] @ rest).tolist()
        if joint == 0:
            place = points_to_blender(pose.translation.astype(np.float64))
            bone.location = (place @ rest).tolist()
    return True


def write_recording(
    scene: bpy.types.Scene, collection: bpy.types.Collection | None, model: HeadModel,
    poses: Sequence[LivePose], image_size: tuple[int, int], frame_rate: float,
) -> bpy.types.Collection:  # fmt: skip
    """Put a recording on the head as actions, from the scene's frame 1 on, in true time."""
    scene_rate = scene.render.fps / scene.render.fps_base
    shot = shot_of(model, poses, image_size, frame_rate, scene_rate)
    return update_scene(scene, shot, None, collection, _MOTION, set_scene=False)
