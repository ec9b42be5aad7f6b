# SPDX-License-Identifier: GPL-3.0-or-later
"""A solve as the values of animation curves: on the bones, on the rig as an object, on the camera.

The head moves as a whole with its joint "head". In every kind of motion the vertices are where the
solve puts them as the camera sees them; what differs is which object moves, and that the neck,
which the head's motion leaves behind, turns the other way where the head stands still.
"""

from __future__ import annotations

from dataclasses import dataclass

import bpy
import numpy as np
from numpy.typing import NDArray

from ..shared.conventions import (
    T_BLENDER_CAMERAOBJECT,
    focal_px_to_mm,
    points_to_blender,
    rotvec_to_blender,
    rotvec_to_quaternion,
)
from ..smoothing import LOST_WEIGHT, Smoothing, smooth, smooth_quaternions
from .animation import Curves, continuous_quaternions
from .rig import BONES
from .rotations import matrix_to_quaternion, quaternion_to_matrix
from .solve import Solve

Array = NDArray[np.float64]

ACTIONS = {
    "rig": "Mien Motion",
    "camera": "Mien Camera Motion",
    "keys": "Mien Expression",
    "lens": "Mien Camera",
}
"""Name of the action that each owner of curves gets."""


@dataclass(frozen=True, eq=False)
class Channel:
    """One animation curve."""

    owner: str
    """A key of ACTIONS."""
    path: str
    """Data path."""
    index: int
    """Which component."""
    group: str
    """Name of the group of curves."""
    values: Array
    """(F,) one a frame."""


def expression_channels(solve: Solve, smoothing: Smoothing) -> list[Channel]:
    """Return the curves of the shape keys."""
    weights = smooth(solve.expression, solve.frames, smoothing.expression, _trust(solve))
    return [
        Channel("keys", f'key_blocks["{name}"].value', 0, "Expression", weights[:, number])
        for number, name in enumerate(solve.expression_names)
    ]


def motion_channels(
    solve: Solve, smoothing: Smoothing, motion: str, rig: bpy.types.Object
) -> list[Channel]:
    """Return the curves of the bones, and of the rig or the camera as objects."""
    turns = rotvec_to_quaternion(rotvec_to_blender(solve.joint_rotations.astype(np.float64)))
    turns = continuous_quaternions(turns)
    frames, trust = solve.frames, _trust(solve)
    turns[:, :2] = smooth_quaternions(turns[:, :2], frames, smoothing.rotation, trust)
    turns[:, 2:] = smooth_quaternions(turns[:, 2:], frames, smoothing.expression, trust)
    place = smooth(
        points_to_blender(solve.translation.astype(np.float64)), frames, smoothing.position, trust
    )
    channels: list[Channel] = []
    if motion != "HEAD":
        joints = points_to_blender(solve.joints.astype(np.float64))
        root, turn = quaternion_to_matrix(turns[:, 0]), quaternion_to_matrix(turns[:, 1])
        head = np.zeros((len(frames), 4, 4))
        head[:, :3, :3] = root @ turn
        # The neck turns about its own joint and carries the head's joint to `carried`.
        carried = joints[0] + place + root @ (joints[1] - joints[0])
        head[:, :3, 3] = carried - head[:, :3, :3] @ joints[1]
        head[:, 3, 3] = 1.0
        turns[:, 0] = turns[:, 1] * (1.0, -1.0, -1.0, -1.0)
        away = joints[1] - joints[0]
        place = away - (np.swapaxes(turn, -1, -2) @ away)
        if motion == "OBJECT":
            channels += _object_channels("rig", head)
        else:
            channels += _object_channels("camera", np.linalg.inv(head) @ T_BLENDER_CAMERAOBJECT)
    for joint, name in enumerate(BONES):
        if name not in rig.data.bones:
            # Renamed or deleted by hand; what is left still moves.
            continue
        rest = np.array(rig.data.bones[name].matrix_local.to_3x3(), np.float64)
        # A row vector times `rest` is its transpose times the vector: armature to bone frame.
        path = f'pose.bones["{name}"].rotation_quaternion'
        values = np.concatenate((turns[:, joint, :1], turns[:, joint, 1:] @ rest), -1)
        values = continuous_quaternions(values)
        channels += [Channel("rig", path, axis, name, values[:, axis]) for axis in range(4)]
        if joint == 0:
            path = f'pose.bones["{name}"].location'
            values = place @ rest
            channels += [Channel("rig", path, axis, name, values[:, axis]) for axis in range(3)]
    return channels


def lens_values(solve: Solve, smoothing: Smoothing, sensor_mm: float) -> Array:
    """Return Blender's focal length (F,) in millimetres."""
    focal_px = smooth(solve.focal_px, solve.frames, smoothing.focal, _trust(solve))
    width, height = (int(size) for size in solve.image_size)
    return focal_px * focal_px_to_mm(1.0, (width, height), sensor_mm)


def is_zoom(solve: Solve) -> bool:
    """Whether the focal length changes during the shot."""
    return bool(np.ptp(solve.focal_px) > 1e-6 * solve.focal_px[0])


def lens_channels(solve: Solve, smoothing: Smoothing, sensor_mm: float) -> list[Channel]:
    """Return the curve of the camera's lens; none where it is always the same."""
    if not is_zoom(solve):
        return []
    return [Channel("lens", "lens", 0, "Camera", lens_values(solve, smoothing, sensor_mm))]


def write_channels(
    owners: dict[str, bpy.types.ID],
    channels: list[Channel],
    frames: NDArray[np.int64],
    holds: bool = False,
) -> None:
    """Make the curves have exactly these keys. holds: values stay where frames are left out."""
    curves: dict[str, Curves] = {}
    for channel in channels:
        if channel.owner not in curves:
            curves[channel.owner] = Curves(owners[channel.owner], ACTIONS[channel.owner])
        curves[channel.owner].fill(
            channel.path, channel.index, frames, channel.values, channel.group, holds
        )


def _object_channels(owner: str, matrices: Array) -> list[Channel]:
    turns = continuous_quaternions(matrix_to_quaternion(matrices[:, :3, :3]))
    # The same sign whatever the smoothing, so that old and new values can be compared.
    turns *= -1.0 if turns[0, 0] < 0.0 else 1.0
    return [
        *(Channel(owner, "location", k, "Object", matrices[:, k, 3]) for k in range(3)),
        *(Channel(owner, "rotation_quaternion", k, "Object", turns[:, k]) for k in range(4)),
    ]


def _trust(solve: Solve) -> Array:
    return np.where(solve.found, 1.0, LOST_WEIGHT)
