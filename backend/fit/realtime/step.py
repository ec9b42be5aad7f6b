"""A frame that starts from the last one, from landmarks to solved pixels, in one compiled function.

Everything here is a few operations on a few hundred numbers: between them, an interpreter whose own
code has left the processor's caches since the last frame would cost more than they do.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .compiled import compiled
from .kernel import carry, project
from .loop import ROBUST, SMOOTHNESS, minimise_loop

Array = NDArray[np.float64]

(
    TEMPORAL, SMOOTH, MOMENTUM, MOVING, NEAR, INTERVAL, FLOOR, LEAST_SEEN, LOOSE, FAR,
) = range(10)  # fmt: skip
"""Places of the settings that `observe` and `warm_step` take as one array."""


@compiled
def distances(a: Array, b: Array) -> Array:
    """(L,) between points (L,2)."""
    result = np.empty(len(a))
    for i in range(len(a)):
        x = a[i, 0] - b[i, 0]
        y = a[i, 1] - b[i, 1]
        result[i] = np.sqrt(x * x + y * y)
    return result


@compiled
def observe(landmarks: Array, given: Array, floor: float, least: float) -> tuple[
    Array, Array, float
]:  # fmt: skip
    """Landmarks (L,2) without NaN, precision (L,) 0 where there is none, the face's size.

    given (L,): sigma; floor: least sigma as a share of the size; least: share of landmarks below
    which it is no face, whose size is then -1.
    """
    count = len(landmarks)
    seen = landmarks.copy()
    precision = np.zeros(count)
    usable = 0
    x = 0.0
    y = 0.0
    for i in range(count):
        finite = np.isfinite(seen[i, 0]) and np.isfinite(seen[i, 1]) and np.isfinite(given[i])
        if finite and given[i] > 0.0:
            precision[i] = 1.0
            usable += 1
            x += seen[i, 0]
            y += seen[i, 1]
    if usable == 0 or usable < least * count:
        return seen, precision, -1.0
    x /= usable
    y /= usable
    spread = 0.0
    for i in range(count):
        if precision[i] > 0.0:
            spread += (seen[i, 0] - x) ** 2 + (seen[i, 1] - y) ** 2
        else:
            seen[i, 0] = x
            seen[i, 1] = y
    size = 3.0 * np.sqrt(spread / usable)
    for i in range(count):
        if precision[i] > 0.0:
            precision[i] = 1.0 / max(given[i], floor * size)
    return seen, precision, size


@compiled
def middle_of(values: Array, precision: Array) -> float:
    """Median of the values (L,) where there is a landmark."""
    kept = np.empty(len(values))
    count = 0
    for i in range(len(values)):
        if precision[i] > 0.0:
            kept[count] = values[i]
            count += 1
    return float(np.median(kept[:count])) if count > 0 else np.inf


@compiled
def warm_step(
    neutral: Array, basis: Array, skin: Array, share: Array, columns: NDArray[np.int64],
    centres: Array, seen: Array, precision: Array, size: float, last_pixels: Array,
    motion: Array, joint_weights: Array, numbers: Array, settings: Array, expression: Array,
    rotmat: Array, translation: Array, iterations: int, tolerance: float,
) -> tuple[bool, Array, Array, Array, float, int, Array, float, float]:  # fmt: skip
    """Whether the last frame was near enough; state, cost, iterations, pixels, error and speed.

    seen, precision, size: as `observe` gives them; last_pixels and motion (L,2): of the last
    frame's solved landmarks, the motion for one frame. error and speed are shares of the size.
    """
    count = len(seen)
    n = len(expression)
    interval = settings[INTERVAL]
    expected = last_pixels + settings[MOMENTUM] * interval * motion
    away = distances(seen, expected)
    nothing = np.zeros((0, 2))
    if middle_of(distances(seen, last_pixels), precision) > settings[NEAR] * size:
        return False, expression, rotmat, translation, np.inf, 0, nothing, 0.0, 0.0
    # What moves need not be held still, nor may it lag: the face as a whole, or one lid.
    unit = 0.01 * size
    whole = middle_of(away, precision) / unit
    weight = settings[TEMPORAL] / unit**2 / interval
    gain = np.empty(count)
    free = np.empty(count)
    for i in range(count):
        moved = max(away[i] / unit if precision[i] > 0.0 else 0.0, whole)
        free[i] = 1.0 / (1.0 + (moved / settings[MOVING]) ** 2)
        gain[i] = weight * free[i] * free[i]
    numbers = numbers.copy()
    robust = numbers[ROBUST]
    last_expression = expression
    if middle_of(away * precision, precision) > settings[FAR]:
        # So far off that robust landmarks would let go: the head as a whole first.
        numbers[ROBUST] = settings[LOOSE]
        numbers[SMOOTHNESS] = 0.0
        expression, rotmat, translation, _, _ = minimise_loop(
            neutral, basis, skin, share, columns, centres, seen, precision, np.zeros(count),
            expected, last_expression, 1e6 * joint_weights, numbers, expression, rotmat,
            translation, 3, 1e-2, n, n + 15,
        )  # fmt: skip
        numbers[ROBUST] = robust
    numbers[SMOOTHNESS] = settings[SMOOTH] / interval * np.median(free)
    expression, rotmat, translation, cost, done = minimise_loop(
        neutral, basis, skin, share, columns, centres, seen, precision, gain, expected,
        last_expression, joint_weights, numbers, expression, rotmat, translation, iterations,
        tolerance, 0, n + 15,
    )  # fmt: skip
    rotation, offset, _ = carry(rotmat, translation, centres)
    pixels = project(
        neutral, basis, skin, columns, rotation, offset, expression, numbers[0], numbers[1:3]
    )
    error = distances(pixels, seen)
    speed = distances(pixels, last_pixels)
    return (
        True, expression, rotmat, translation, cost, done, pixels,
        middle_of(error, precision) / size, middle_of(speed, precision) / size / interval,
    )  # fmt: skip
