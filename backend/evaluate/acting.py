"""Random performances: a face that acts, looks about and turns, smoothly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from backend.head import Head

FRAME_RATE = 25.0

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Performance:
    """What moves in F frames."""

    expression: Array
    """(F,52), 0 to 1."""
    rotations: Array
    """(F,4,3) rotation vectors."""
    translation: Array
    """(F,3) metres."""


def perform(head: Head, frames: int, seed: int, turn_deg: float, distance: float) -> Performance:
    """A few of the expressions at once, rests between them, a gaze, turns and a sway.

    turn_deg: spread of the turns to the side; distance: metres from the camera.
    """
    rng = np.random.default_rng(seed)
    neutral = [i for i, name in enumerate(head.expression_names) if name.startswith("eyeLook")]

    def acted(key: int) -> Array:
        # Every third key is at rest; otherwise a few of the 52 at once.
        active = (rng.uniform(size=head.n_expression) < 0.15) & (key % 3 > 0)
        active[neutral] = False
        return rng.uniform(0, 1, head.n_expression) * active

    expression = np.clip(smooth(frames, 0.5, acted), 0, 1)
    rotations = np.zeros((frames, 4, 3))
    sway = np.radians([0.35 * turn_deg, turn_deg, 0.25 * turn_deg])
    rotations[:, 0] = smooth(frames, 0.9, lambda _: 0.6 * sway * rng.normal(size=3))
    rotations[:, 1] = smooth(frames, 0.9, lambda _: 0.15 * sway * rng.normal(size=3))
    gaze = smooth(frames, 0.5, lambda _: rng.normal(0, [0.1, 0.15, 0.0]))
    rotations[:, 2:] = gaze[:, None]
    translation = smooth(frames, 0.9, lambda _: rng.normal(0, [0.02, 0.015, 0.03]))
    translation[:, 2] += distance
    return Performance(expression, rotations, translation)


def smooth(frames: int, step: float, draw: Callable[[int], Array]) -> Array:
    """(F,n) spline through keys `step` seconds apart; draw(i) gives a key (n,)."""
    seconds = frames / FRAME_RATE
    times = np.arange(-step, seconds + 2 * step, step)
    keys = np.stack([draw(i) for i in range(len(times))])
    return CubicSpline(times, keys)(np.arange(frames) / FRAME_RATE)
