"""How many frames one motion comes after another, by cross-correlation of their velocities."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_EYE_PAIRS = ((37, 41), (38, 40), (43, 47), (44, 46))
_MOUTH_PAIRS = ((61, 67), (62, 66), (63, 65))
_OUTER_EYES = (36, 45)
_NOSE = 30
MOST_FRAMES = 5
"""Largest lag that is looked for."""
LEAST_CORRELATION = 0.5
"""Two motions that correlate less at every lag are no motion, but noise."""


def openings(follows: Array, moves: Array) -> Iterator[tuple[str, Array, Array]]:
    """Name and value (F,) of each motion that is compared, of two tracks (F,68,2): how far the eyes
    and the mouth are open, over the distance of the outer eye corners, and where the nose is."""
    for name, pairs in (("eyes", _EYE_PAIRS), ("mouth", _MOUTH_PAIRS)):
        yield name, _opening(follows, pairs), _opening(moves, pairs)
    yield "head", follows[:, _NOSE, 0], moves[:, _NOSE, 0]


def _opening(points: Array, pairs: tuple[tuple[int, int], ...]) -> Array:
    a, b = _OUTER_EYES
    if not np.isfinite(points).any():
        return np.full(len(points), np.nan)
    eyes = np.nanmedian(np.linalg.norm(points[:, b] - points[:, a], axis=-1))
    gaps = [np.linalg.norm(points[:, low] - points[:, high], axis=-1) for low, high in pairs]
    return np.mean(gaps, axis=0) / eyes


def lag_of(follows: Array, moves: Array) -> float:
    """Frames by which `follows` (F,) comes after `moves` (F,), fractions by a parabola.

    Velocities are compared, so that a constant difference does not count; frames that are NaN in
    either are left out. NaN where the two do not correlate.
    """
    a, b = np.diff(follows), np.diff(moves)
    known = np.isfinite(a) & np.isfinite(b)
    if known.sum() < 4 * MOST_FRAMES:
        return float("nan")
    a, b = np.where(known, a, 0.0), np.where(known, b, 0.0)
    scale = float(np.sqrt((a @ a) * (b @ b)))
    lags = np.arange(-MOST_FRAMES, MOST_FRAMES + 1)
    shared = [a[max(k, 0) : len(a) + min(k, 0)] @ b[max(-k, 0) : len(b) + min(-k, 0)] for k in lags]
    best = int(np.argmax(shared))
    if scale == 0 or shared[best] < LEAST_CORRELATION * scale or best in (0, len(lags) - 1):
        return float("nan")
    before, at, after = shared[best - 1], shared[best], shared[best + 1]
    return float(lags[best] + 0.5 * (before - after) / (before - 2 * at + after))
