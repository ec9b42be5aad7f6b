"""Whether a light look will do: what is compared, compiled, as it is done for every frame.

A light look corrects first estimates that were made for another picture, a few frames ago. It is a
local search: once the head has turned on, it lags behind, which looks like a head that hardly
moves, certain of itself. So what it is given is compared with what those estimates were made for.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from backend.fit.realtime.compiled import compiled

Array = NDArray[np.float64]

_BLOCK = 4
"""Pixels of a side that are averaged: what is smaller is noise, or a motion that a look follows."""
_MARGIN = 24
"""Pixels of the window's edge, of 128, that are left out: hair and background."""
_FIRST_RIGID, _LAST_RIGID = 27, 48
"""Of iBUG's 68, nose and eyes."""
_LEAST_CONTRAST = 4.0
"""Levels; a face in the dark does not change by its noise."""


@compiled
def signature_of(pixels: NDArray[np.uint8]) -> Array:
    """(n,) averages of blocks of a window's inner part, green of (S,S,3) RGB, their mean 0."""
    margin = _MARGIN * len(pixels) // 128
    side = (len(pixels) - 2 * margin) // _BLOCK
    result = np.empty(side * side)
    mean = 0.0
    for row in range(side):
        for column in range(side):
            total = 0
            for y in range(_BLOCK):
                for x in range(_BLOCK):
                    total += int(pixels[margin + row * _BLOCK + y, margin + column * _BLOCK + x, 1])
            result[row * side + column] = total / _BLOCK**2
            mean += result[row * side + column]
    return result - mean / len(result)


@compiled
def changed_by(signature: Array, before: Array) -> float:
    """Mean difference of two signatures over the contrast (standard deviation) of the first."""
    difference = 0.0
    square = 0.0
    for i in range(len(signature)):
        difference += abs(signature[i] - before[i])
        square += signature[i] * signature[i]
    contrast = max(math.sqrt(square / len(signature)), _LEAST_CONTRAST)
    return difference / len(signature) / contrast


@compiled
def carry_on(points: Array, foreseen: Array, share: float) -> tuple[Array, float]:
    """Points (L,2) moved by a share of what nose and eyes have moved from foreseen (L,2).

    And the median distance of the points, before that, from where they were foreseen.
    """
    distance = np.empty(len(points))
    x = 0.0
    y = 0.0
    for i in range(len(points)):
        u = points[i, 0] - foreseen[i, 0]
        v = points[i, 1] - foreseen[i, 1]
        distance[i] = math.hypot(u, v)
        if _FIRST_RIGID <= i < _LAST_RIGID:
            x += u
            y += v
    result = points.copy()
    for i in range(len(points)):
        result[i, 0] += share * x / (_LAST_RIGID - _FIRST_RIGID)
        result[i, 1] += share * y / (_LAST_RIGID - _FIRST_RIGID)
    return result, float(np.median(distance))
