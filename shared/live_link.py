"""The table that Epic's Live Link Face app records: what Unreal and MetaHuman tools import."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arkit import EXPRESSION_NAMES, to_pascal_case

ANGLES = tuple(
    part + angle for part in ("Head", "LeftEye", "RightEye") for angle in ("Yaw", "Pitch", "Roll")
)
HEADER = ("Timecode", "BlendShapeCount", *map(to_pascal_case, EXPRESSION_NAMES), *ANGLES)
BLEND_SHAPE_COUNT = len(EXPRESSION_NAMES) + len(ANGLES)
"""61: the app counts the angles too."""


def table(
    frame_index: Sequence[int],
    rate: Fraction,
    weights: ArrayLike,
    head: ArrayLike,
    eyes: ArrayLike,
) -> str:
    """Return the file's text, one row a frame; docs/export.md describes it.

    frame_index (F,) counts from the clip's first frame; weights (F, 52) in the order of
    EXPRESSION_NAMES; head (F, 3, 3) and eyes (F, 2, 3, 3), left and right, are rotations in ARKit's
    axes of the face (`yaw_pitch_roll`), the eyes' relative to the head.
    """
    # ARKit's coefficients are shares; a fit may overshoot them a little.
    shares = np.clip(np.asarray(weights, np.float64), 0.0, 1.0)
    turned = np.asarray(eyes, np.float64)
    parts = [yaw_pitch_roll(head), yaw_pitch_roll(turned[:, 0]), yaw_pitch_roll(turned[:, 1])]
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(HEADER)
    for index, row in zip(frame_index, np.concatenate([shares, *parts], axis=1), strict=True):
        values = (f"{value + 0.0:.8f}" for value in row)
        rows.writerow([timecode(int(index), rate), BLEND_SHAPE_COUNT, *values])
    return text.getvalue()


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
