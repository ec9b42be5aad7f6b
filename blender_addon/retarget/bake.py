# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a performance onto a character's shape keys or bones, as an action or an NLA strip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import bpy
import numpy as np
from numpy.typing import NDArray

from ..scene.animation import Curves, continuous_quaternions
from ..scene.rotations import matrix_to_quaternion, quaternion_to_matrix
from ..shared.arkit import EXPRESSION_NAMES
from ..shared.conventions import rotvec_to_quaternion
from ..translations import rpt
from .mapping import BoneMapping, JointRule
from .performance import Performance

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Drive:
    """One expression and what it drives, with the artist's correction."""

    source: str
    """ARKit name."""
    target: str
    """Name of a shape key; not used by bones."""
    gain: float = 1.0
    """Factor."""
    neutral: float = 0.0
    """Weight of the performer's resting face, which becomes 0."""


def driven(performance: Performance, drive: Drive) -> Array:
    """Return gain * (weight - neutral), (F,)."""
    weights = performance.weights[:, EXPRESSION_NAMES.index(drive.source)]
    return drive.gain * (weights - drive.neutral)


def bake_shape_keys(
    target: bpy.types.Object,
    performance: Performance,
    drives: Sequence[Drive],
    action_name: str,
    as_strip: bool = False,
) -> bpy.types.Action:
    """Key a mesh's shape keys; several expressions on one key add up. Returns the action."""
    keys = target.data.shape_keys
    values: dict[str, Array] = {}
    for drive in drives:
        if drive.target in keys.key_blocks:
            before = values.get(drive.target, 0.0)
            values[drive.target] = before + driven(performance, drive)
    curves = _fresh_curves(keys, action_name)
    for name, row in values.items():
        block = keys.key_blocks[name]
        # Blender clamps a key to its slider's range, in curves too.
        block.slider_min = min(block.slider_min, float(np.floor(row.min())))
        block.slider_max = max(block.slider_max, float(np.ceil(row.max())))
        path = f'key_blocks["{bpy.utils.escape_identifier(name)}"].value'
        curves.fill(path, 0, performance.frames, row, "Expression")
    return _finish(keys, as_strip)


def bake_bones(
    target: bpy.types.Object,
    performance: Performance,
    mapping: BoneMapping,
    drives: Sequence[Drive],
    action_name: str,
    as_strip: bool = False,
) -> tuple[bpy.types.Action, list[str]]:
    """Key an armature's bones; returns the action and the mapping's bones that it lacks.

    drives give gain and neutral of each expression; their targets do not matter. Raises ValueError
    where the bones are missing whose distance is the unit of length.
    """
    bones = target.data.bones
    unit = bone_unit(target, mapping)
    frames = performance.frames
    weights = {drive.source: driven(performance, drive) for drive in drives}
    moves: dict[str, Array] = {}
    turns: dict[str, Array] = {}
    missing = [name for name in mapping.bone_names() if name not in bones]
    for rule in mapping.bones:
        if rule.bone not in bones or rule.channel not in weights:
            continue
        row = weights[rule.channel][:, None]
        for table, vector in ((moves, unit * np.array(rule.move)), (turns, np.array(rule.turn))):
            if vector.any():
                table[rule.bone] = table.get(rule.bone, 0.0) + row * vector
    spins: dict[str, Array] = {}
    for joint in mapping.joints:
        if joint.bone not in bones or (joint.pivot and joint.pivot not in bones):
            continue
        turn = _part(performance.joint(joint.joint), joint.gain)
        if joint.pivot:
            arm = _away(target, joint)
            moved = quaternion_to_matrix(turn) @ arm - arm
            moves[joint.bone] = moves.get(joint.bone, 0.0) + moved
        else:
            spins[joint.bone] = turn
    curves = _fresh_curves(target, action_name)
    for name in dict.fromkeys((*moves, *turns, *spins)):
        rest = np.array(bones[name].matrix_local.to_3x3(), np.float64)
        path = f'pose.bones["{bpy.utils.escape_identifier(name)}"]'
        if name in moves:
            local = moves[name] @ rest
            for axis in range(3):
                curves.fill(f"{path}.location", axis, frames, local[:, axis], name)
        if name in turns or name in spins:
            spin = spins.get(name)
            if name in turns:
                added = rotvec_to_quaternion(turns[name])
                spin = added if spin is None else _product(spin, added)
            assert spin is not None
            local = np.concatenate((spin[:, :1], spin[:, 1:] @ rest), -1)
            _fill_rotation(curves, target.pose.bones[name], path, frames, local, name)
    return _finish(target, as_strip), missing


def bone_unit(target: bpy.types.Object, mapping: BoneMapping) -> float:
    """Return the mapping's unit of length on an armature. Raises ValueError."""
    bones = target.data.bones
    ends = [bones.get(name) for name in mapping.unit]
    if None in ends:
        raise ValueError(
            rpt(
                "{name} has no bones {names}: this mapping is for another kind of rig.",
                name=target.name,
                names=" and ".join(mapping.unit),
            )
        )
    length = (ends[0].head_local - ends[1].head_local).length
    if length <= 0.0:
        raise ValueError(
            rpt(
                "{one} and {other} are at the same place.",
                one=mapping.unit[0],
                other=mapping.unit[1],
            )
        )
    return length


def _fresh_curves(owner: bpy.types.ID, action_name: str) -> Curves:
    """Give an owner a new action; its old one stays in the file, by a fake user."""
    animation = owner.animation_data or owner.animation_data_create()
    if animation.action is not None:
        animation.action.use_fake_user = True
        animation.action = None
    return Curves(owner, action_name)


def _finish(owner: bpy.types.ID, as_strip: bool) -> bpy.types.Action:
    animation = owner.animation_data
    action = animation.action
    if not as_strip:
        return action
    slot = getattr(animation, "action_slot", None)
    track = animation.nla_tracks.new()
    track.name = action.name
    first = round(action.frame_range[0])
    strip = track.strips.new(action.name, first, action)
    if slot is not None and strip.action_slot is None:
        strip.action_slot = slot
    strip.extrapolation = "HOLD_FORWARD"
    animation.action = None
    return action


def _fill_rotation(
    curves: Curves, bone: bpy.types.PoseBone, path: str, frames: Array, turns: Array, group: str
) -> None:
    """Key a rotation (F, 4) in the way that the bone is set to rotate."""
    if bone.rotation_mode == "QUATERNION":
        values, name = continuous_quaternions(turns), "rotation_quaternion"
    elif bone.rotation_mode == "AXIS_ANGLE":
        half = np.arccos(np.clip(turns[:, :1], -1.0, 1.0))
        axis = turns[:, 1:] / np.maximum(np.sin(half), 1e-9)
        values, name = np.concatenate((2.0 * half, axis), -1), "rotation_axis_angle"
    else:
        from mathutils import Quaternion

        rows = []
        for turn in turns:
            before = (rows[-1],) if rows else ()
            rows.append(Quaternion(turn).to_euler(bone.rotation_mode, *before))
        values, name = np.array(rows, np.float64), "rotation_euler"
    for axis in range(values.shape[1]):
        curves.fill(f"{path}.{name}", axis, frames, values[:, axis], group)


def _away(target: bpy.types.Object, joint: JointRule) -> Array:
    bones = target.data.bones
    return np.array(bones[joint.bone].head_local - bones[joint.pivot].head_local, np.float64)


def _part(turns: Array, gain: float) -> Array:
    """Return a share of rotations (F, 4): the same axes, other angles."""
    signed = np.where(turns[:, :1] < 0.0, -turns, turns)
    length = np.linalg.norm(signed[:, 1:], axis=-1, keepdims=True)
    angle = 2.0 * np.arctan2(length, signed[:, :1])
    axis = signed[:, 1:] / np.maximum(length, 1e-12)
    return rotvec_to_quaternion(gain * angle * axis)


def _product(first: Array, second: Array) -> Array:
    return matrix_to_quaternion(quaternion_to_matrix(first) @ quaternion_to_matrix(second))
