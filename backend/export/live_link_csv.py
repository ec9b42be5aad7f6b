"""The table that Epic's Live Link Face app records: what Unreal and MetaHuman tools import."""

from __future__ import annotations

import csv
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backend.atomic import atomic_path
from backend.errors import BadInputError
from backend.export.axes import rate_of, to_y_up
from backend.track import Track
from shared.arkit import EXPRESSION_NAMES, to_pascal_case
from shared.conventions import T_CAMERAOBJECT_CV, rotvec_to_rotmat

ANGLES = tuple(
    part + angle for part in ("Head", "LeftEye", "RightEye") for angle in ("Yaw", "Pitch", "Roll")
)
HEADER = ("Timecode", "BlendShapeCount", *map(to_pascal_case, EXPRESSION_NAMES), *ANGLES)
BLEND_SHAPE_COUNT = len(EXPRESSION_NAMES) + len(ANGLES)
"""61: the app counts the angles too."""


def write(track: Track, path: Path) -> list[Path]:
    """Write one row for every frame; docs/export.md describes it. Raises `BadInputError`.

    A frame without a face has a row too, with the pose that the track carries over from other
    frames: receivers count rows, or hold the last one, and would slip in time over a gap.
    """
    missing = set(EXPRESSION_NAMES) - set(track.expression_names)
    if missing:
        raise BadInputError(f"{path}: the track lacks {', '.join(sorted(missing)[:4])}.")
    order = [track.expression_names.index(name) for name in EXPRESSION_NAMES]
    # ARKit's coefficients are shares; a fit may overshoot them a little.
    weights = np.clip(track.expression[:, order], 0.0, 1.0)
    head = track.head_pose[:, :3, :3].astype(np.float64)
    flip = T_CAMERAOBJECT_CV[:3, :3]
    parts = [yaw_pitch_roll(flip @ head @ flip)]
    for eye in range(2):
        parts.append(yaw_pitch_roll(rotvec_to_rotmat(to_y_up(track.eye_rotation[:, eye]))))
    numbers = np.concatenate([weights, *parts], axis=1)
    rate = rate_of(track)
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(HEADER)
        for index, row in zip(track.frame_index.tolist(), numbers, strict=True):
            values = (f"{value + 0.0:.8f}" for value in row)
            table.writerow([timecode(index, rate), BLEND_SHAPE_COUNT, *values])
    return [path]


def timecode(frame_index: int, rate: Fraction) -> str:
    """Return HH:MM:SS:FF.mmm of a frame: whole seconds, then frames and thousandths of one.

    Seconds are true ones, so at 29.97 frames a second the fraction of a frame runs:
    HH * 3600 + MM * 60 + SS + FF.mmm / rate is the frame's time at every rate.
    """
    seconds, rest = divmod(frame_index / rate, 1)
    thousandths = int(rest * rate * 1000)
    hours, minutes = int(seconds) // 3600, int(seconds) // 60 % 60
    frames, part = divmod(thousandths, 1000)
    return f"{hours:02d}:{minutes:02d}:{int(seconds) % 60:02d}:{frames:02d}.{part:03d}"


def yaw_pitch_roll(rotmat: ArrayLike) -> NDArray[np.float64]:
    """Angles (..., 3) in radians of rotations (..., 3, 3) in ARKit's axes of the face.

    x points to the subject's left, y up, z out of the face, and rotmat = Ry(yaw) Rx(pitch)
    Rz(roll): positive is a turn to the subject's left, a look down, and a tilt that brings the
    left ear up. At a pitch of a quarter turn only the sum of yaw and roll is known.
    """
    matrix = np.asarray(rotmat, np.float64)
    pitch = np.arcsin(np.clip(-matrix[..., 1, 2], -1.0, 1.0))
    yaw = np.arctan2(matrix[..., 0, 2], matrix[..., 2, 2])
    roll = np.arctan2(matrix[..., 1, 0], matrix[..., 1, 1])
    return np.stack([yaw, pitch, roll], axis=-1)
