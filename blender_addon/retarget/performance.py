# SPDX-License-Identifier: GPL-3.0-or-later
"""The performance as it is in Blender's curves at the moment, edits by hand included."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import bpy
import numpy as np
from numpy.typing import NDArray

from ..scene.animation import continuous_quaternions, curves_of
from ..scene.datablocks import find_object
from ..scene.footage import clip_rate
from ..scene.motion import keys_mesh
from ..scene.rig import BONES
from ..scene.rotations import matrix_to_quaternion, quaternion_to_matrix
from ..scene.solve import load_solve
from ..shared.arkit import EXPRESSION_NAMES
from ..shared.conventions import T_BLENDER_CAMERAOBJECT

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Performance:
    """What a character takes over. F frames; Blender's axes (x the subject's left, z up)."""

    frames: NDArray[np.int64]
    """(F,) frames of the scene, ascending."""
    weights: Array
    """(F, 52) in the order of EXPRESSION_NAMES; 0 for one that the head has no key of."""
    head: Array
    """(F, 4) quaternions of the head as the camera sees it; none is a face to the camera."""
    eyes: Array
    """(F, 2, 4) quaternions of the left and the right eye towards the head."""

    def joint(self, name: str) -> Array:
        """Return the quaternions (F, 4) of "head", "eye.L" or "eye.R"."""
        return self.head if name == "head" else self.eyes[:, ("eye.L", "eye.R").index(name)]


class NoPerformance(ValueError):
    """There is nothing to take over; the text says what to do."""


def read_performance(collection: bpy.types.Collection | None) -> Performance:
    """Read a result's curves. Raises `NoPerformance`."""
    head = None if collection is None else find_object(collection, "head")
    mesh = None if head is None else keys_mesh(collection, head)
    if mesh is None or mesh.shape_keys is None:
        raise NoPerformance("There is no tracked head: track a clip or import a track first.")
    curves = {c.data_path: c for c in curves_of(mesh.shape_keys) if not c.mute}
    solve = load_solve(collection)
    frames = _frames_of(list(curves.values())) if solve is None else solve.frames
    weights = np.zeros((len(frames), len(EXPRESSION_NAMES)))
    blocks = mesh.shape_keys.key_blocks
    for number, name in enumerate(EXPRESSION_NAMES):
        block = blocks.get(name)
        if block is None or block.mute:
            continue
        curve = curves.get(f'key_blocks["{name}"].value')
        values = [block.value] if curve is None else [curve.evaluate(float(f)) for f in frames]
        # As Blender does, in curves too.
        weights[:, number] = np.clip(values, block.slider_min, block.slider_max)
    rig, camera = find_object(collection, "rig"), find_object(collection, "camera")
    turns = np.tile((1.0, 0.0, 0.0, 0.0), (len(frames), 4, 1))
    if rig is not None and all(name in rig.pose.bones for name in BONES):
        turns = bone_turns(rig, frames)
    turn = quaternion_to_matrix(turns)
    whole = turn[:, 0] @ turn[:, 1]
    if rig is not None:
        moved = quaternion_to_matrix(_turns(rig, "rotation_quaternion", rig, frames))
        whole = moved @ whole
    if camera is not None:
        looks = quaternion_to_matrix(_turns(camera, "rotation_quaternion", camera, frames))
        start = T_BLENDER_CAMERAOBJECT[:3, :3]
        whole = start @ np.swapaxes(looks, -1, -2) @ whole
    return Performance(
        frames=np.asarray(frames, np.int64),
        weights=weights,
        head=continuous_quaternions(matrix_to_quaternion(whole)),
        eyes=continuous_quaternions(turns[:, 2:]),
    )


def bone_turns(rig: bpy.types.Object, frames: NDArray[np.int64]) -> Array:
    """Return quaternions (F, 4 bones, 4) of the rig's bones in the armature's axes."""
    turns = np.empty((len(frames), len(BONES), 4))
    for number, name in enumerate(BONES):
        path = f'pose.bones["{name}"].rotation_quaternion'
        local = _turns(rig, path, rig.pose.bones[name], frames)
        rest = np.array(rig.data.bones[name].matrix_local.to_3x3(), np.float64)
        turns[:, number, 0] = local[:, 0]
        turns[:, number, 1:] = local[:, 1:] @ rest.T
    return turns


def scene_rate(scene: bpy.types.Scene, clip: bpy.types.MovieClip | None) -> Fraction:
    """Return the true rate: the clip's where the scene has it, else the scene's, as a fraction."""
    base = Fraction(scene.render.fps_base).limit_denominator(100000)
    rate = Fraction(scene.render.fps) / base
    known = clip_rate(clip)
    if known is not None and abs(known - rate) < Fraction(1, 1000):
        return known
    return rate.limit_denominator(1001)


def _turns(owner: bpy.types.ID, path: str, value: Any, frames: NDArray[np.int64]) -> Array:
    """Sample a rotation (F, 4) of an object or bone; what has no curve stands as it is."""
    found = {c.array_index: c for c in curves_of(owner) if c.data_path == path and not c.mute}
    if not found:
        fixed = value.matrix_basis.to_quaternion()
        return np.tile(np.array(fixed, np.float64), (len(frames), 1))
    quaternion = value.rotation_quaternion
    table = np.empty((len(frames), 4))
    for axis in range(4):
        curve = found.get(axis)
        table[:, axis] = (
            quaternion[axis] if curve is None else [curve.evaluate(float(f)) for f in frames]
        )
    return table / np.linalg.norm(table, axis=-1, keepdims=True)


def _frames_of(curves: list[bpy.types.FCurve]) -> NDArray[np.int64]:
    ranges = [curve.range() for curve in curves if len(curve.keyframe_points)]
    if not ranges:
        raise NoPerformance("The head has no animation: track a clip or import a track first.")
    first, last = min(r[0] for r in ranges), max(r[1] for r in ranges)
    return np.arange(int(np.floor(first)), int(np.ceil(last)) + 1)
