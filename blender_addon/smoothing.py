# SPDX-License-Identifier: GPL-3.0-or-later
"""Smooth a solve without shifting it in time; knows no bpy.

Each frame gets the value of a parabola fitted to its neighbours with Gaussian weights (local
quadratic regression; Cleveland and Devlin, 1988): the same filter forwards and backwards in time,
so nothing is delayed, and ends and peaks are kept better than by a mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

REACH = 3.5
"""Neighbours farther than this many standard deviations count no more."""

LOST_WEIGHT = 0.05
"""Weight of a frame in which no face was found: its pose is carried over from others."""


@dataclass(frozen=True)
class Smoothing:
    """How much of each channel: standard deviation of the weights in frames; 0 for the solve."""

    position: float = 0.0
    """Position of the head."""
    rotation: float = 0.0
    """Rotation of neck and head."""
    expression: float = 0.0
    """The shape keys, and the eyes."""
    focal: float = 0.0
    """The focal length, where it changes."""


NO_SMOOTHING = Smoothing()


def smooth(
    values: ArrayLike, frames: ArrayLike, width: float, weights: ArrayLike | None = None
) -> Array:
    """Smooth values (F, ...) of frames (F,), ascending integers; gaps between them are allowed.

    width: standard deviation in frames; 0 or less returns the values as they are. weights (F,):
    how far each frame is to be trusted; all the same where None.
    """
    given = np.asarray(values, np.float64)
    if width <= 0.0 or len(given) < 3:
        return given.copy()
    numbers = np.asarray(frames, np.int64)
    trust = np.ones(len(given)) if weights is None else np.asarray(weights, np.float64)
    length = int(numbers[-1] - numbers[0]) + 1
    place = numbers - numbers[0]
    flat = given.reshape(len(given), -1)
    # On a grid without gaps, where what is missing weighs nothing.
    weight, weighted = np.zeros(length), np.zeros((length, flat.shape[1]))
    weight[place], weighted[place] = trust, trust[:, None] * flat
    reach = max(1, int(np.ceil(REACH * width)))
    offset = np.arange(-reach, reach + 1) / width
    gauss = np.exp(-0.5 * offset**2)

    def moment(series: Array, power: int) -> Array:
        """Return sum over neighbours of gauss * offset^power * series."""
        kernel = gauss * offset**power
        padded = np.concatenate((np.zeros(reach), series, np.zeros(reach)))
        return np.correlate(padded, kernel, "valid")

    s0, s1, s2, s3, s4 = (moment(weight, power)[place] for power in range(5))
    # A little ridge on slope and bend: a frame with too few neighbours gets their mean.
    s2r, s4r = s2 + 1e-9 * s0, s4 + 1e-9 * s0
    # First row of the inverse of [[s0, s1, s2], [s1, s2, s3], [s2, s3, s4]].
    a0, a1, a2 = s2r * s4r - s3 * s3, s2 * s3 - s1 * s4r, s1 * s3 - s2r * s2
    determinant = s0 * a0 + s1 * a1 + s2 * a2
    result = np.empty_like(flat)
    for column in range(flat.shape[1]):
        t0, t1, t2 = (moment(weighted[:, column], power)[place] for power in range(3))
        result[:, column] = (a0 * t0 + a1 * t1 + a2 * t2) / determinant
    return result.reshape(given.shape)


def smooth_quaternions(
    quaternions: ArrayLike, frames: ArrayLike, width: float, weights: ArrayLike | None = None
) -> Array:
    """Smooth rotations (F, ..., 4) whose neighbours have like signs; see `smooth`."""
    given = np.asarray(quaternions, np.float64)
    if width <= 0.0 or len(given) < 3:
        return given.copy()
    result = smooth(given, frames, width, weights)
    return result / np.linalg.norm(result, axis=-1, keepdims=True)
