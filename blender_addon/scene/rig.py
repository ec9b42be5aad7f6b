# SPDX-License-Identifier: GPL-3.0-or-later
"""The armature: neck, head and eyes; channels.py puts the motion on its bones.

The camera stays where it is and the head moves. A bone's deformation is, in the frame of its
rest pose, its own rotation after its parent's (linear blend skinning, as the backend poses the
head), so the bones may point anywhere; they point where an animator expects them.
"""

from __future__ import annotations

import bpy
import numpy as np

from ..shared.conventions import points_to_blender
from ..shot import HeadModel
from .datablocks import ensure_object, find_object
from .modes import edit_mode

BONES = ("neck", "head", "eye.L", "eye.R")
PARENTS = (None, "neck", "head", "head")

HEAD_BONE_M = 0.12
EYE_BONE_M = 0.03
"""Lengths of the bones in metres, for looks only."""


def update_rig(
    collection: bpy.types.Collection, model: HeadModel, parent: bpy.types.Object
) -> bpy.types.Object:
    """Make the armature of a head in a collection, or move its joints to the new head's."""
    rig = find_object(collection, "rig")
    if rig is None:
        data = bpy.data.armatures.new("Mien Rig")
        rig = ensure_object(collection, "rig", "Mien Rig", data)
        rig.parent = parent
        rig.show_in_front = True
        data.display_type = "STICK"
    joints = points_to_blender(model.joints.astype(np.float64))
    if not _has_joints(rig, joints):
        with edit_mode(rig):
            _set_bones(rig.data, joints)
    for bone in rig.pose.bones:
        bone.rotation_mode = "QUATERNION"
    return rig


def _has_joints(rig: bpy.types.Object, joints: np.ndarray) -> bool:
    bones = rig.data.bones
    if not all(name in bones for name in BONES):
        return False
    heads = np.array([bones[name].head_local for name in BONES])
    return bool(np.abs(heads - joints).max() < 1e-6)


def _set_bones(armature: bpy.types.Armature, joints: np.ndarray) -> None:
    bones = armature.edit_bones
    up, forward = np.array([0.0, 0.0, HEAD_BONE_M]), np.array([0.0, -EYE_BONE_M, 0.0])
    tails = (joints[1], joints[1] + up, joints[2] + forward, joints[3] + forward)
    for name, parent, joint, tail in zip(BONES, PARENTS, joints, tails, strict=True):
        bone = bones.get(name) or bones.new(name)
        # A bone of no length would be removed on leaving edit mode.
        bone.head, bone.tail = joint, tail if np.linalg.norm(tail - joint) > 1e-3 else joint + up
        bone.roll = 0.0
        bone.use_connect = False
        bone.parent = bones[parent] if parent else None
