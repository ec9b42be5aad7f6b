"""The whole minimisation of a frame in one function, compiled where numba is installed.

Without numba the same function runs on the kernels' array versions; a test holds the two to each
other. With it, the interpreter between the kernels would cost more than they do.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from .compiled import IS_COMPILED, compiled
from .kernel import accumulate, carry, project
from .turning import joint_terms, turn

Array = NDArray[np.float64]

FOCAL, CENTRE_X, CENTRE_Y, LANDMARK, ROBUST, EXPRESSION, RANGE, SMOOTHNESS = range(8)
"""Places of the scalars that the functions take as one array."""
FIRST_DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-3, 1e-6, 1e3
RIDGE = 1e-9


def _pixel_terms_loop(
    pixels: Array, landmarks: Array, precision: Array, gain: Array, expected: Array,
    numbers: Array, gradient: Array, curvature: Array,
) -> float:  # fmt: skip
    """Cost of the pixels (L,2); half its gradient (L,2) and curvature (L,) where there is room."""
    limit = numbers[ROBUST] * numbers[ROBUST]
    weight = numbers[LANDMARK]
    cost = 0.0
    for i in range(len(pixels)):
        w = precision[i]
        ex = (pixels[i, 0] - landmarks[i, 0]) * w
        ey = (pixels[i, 1] - landmarks[i, 1]) * w
        square = ex * ex + ey * ey
        share = limit / (limit + square)
        cost += 0.5 * weight * share * square
        mx = pixels[i, 0] - expected[i, 0]
        my = pixels[i, 1] - expected[i, 1]
        cost += gain[i] * (mx * mx + my * my)
        if len(curvature) > 0:
            pull = 0.5 * weight * share * share * w
            gradient[i, 0] = pull * ex + gain[i] * mx
            gradient[i, 1] = pull * ey + gain[i] * my
            curvature[i] = pull * w + gain[i]
    return cost


def _own_terms_loop(
    expression: Array, last: Array, rotmat: Array, joint_weights: Array, numbers: Array,
    matrix: Array, vector: Array,
) -> float:  # fmt: skip
    """Cost of what is no matter of pixels; derivatives are added where there is room."""
    n = len(expression)
    cost = joint_terms(rotmat, joint_weights, matrix, vector, n + 3)
    for e in range(n):
        x = expression[e]
        excess = x - 1.0 if x > 1.0 else (x if x < 0.0 else 0.0)
        change = x - last[e]
        cost += numbers[EXPRESSION] * x * x + numbers[RANGE] * excess * excess
        cost += numbers[SMOOTHNESS] * change * change
        if len(vector) > 0:
            vector[e] += numbers[EXPRESSION] * x + numbers[RANGE] * excess
            vector[e] += numbers[SMOOTHNESS] * change
            matrix[e, e] += numbers[EXPRESSION] + numbers[SMOOTHNESS]
            if excess != 0.0:
                matrix[e, e] += numbers[RANGE]
    return cost


def _damped_step_loop(matrix: Array, vector: Array, damping: float, first: int, last: int) -> Array:
    """-(H + damping diag H)^-1 g of the columns first to last; empty where H is not positive."""
    size = last - first
    factor = np.empty((size, size))
    step = np.zeros(len(vector))
    for i in range(size):
        for j in range(i + 1):
            total = matrix[first + i, first + j]
            if i == j:
                total += damping * total + RIDGE
            for k in range(j):
                total -= factor[i, k] * factor[j, k]
            if i == j:
                if total <= 0.0:
                    return np.zeros(0)
                factor[i, i] = np.sqrt(total)
            else:
                factor[i, j] = total / factor[j, j]
    for i in range(size):
        total = -vector[first + i]
        for k in range(i):
            total -= factor[i, k] * step[first + k]
        step[first + i] = total / factor[i, i]
    for i in range(size - 1, -1, -1):
        total = step[first + i]
        for k in range(i + 1, size):
            total -= factor[k, i] * step[first + k]
        step[first + i] = total / factor[i, i]
    return step


def pixel_terms_arrays(
    pixels: Array, landmarks: Array, precision: Array, gain: Array, expected: Array,
    numbers: Array, gradient: Array, curvature: Array,
) -> float:  # fmt: skip
    """The same as `_pixel_terms_loop` in a few operations on whole arrays."""
    error = (pixels - landmarks) * precision[:, None]
    square = np.einsum("ij,ij->i", error, error)
    limit = numbers[ROBUST] ** 2
    share = limit / (limit + square)
    moved = pixels - expected
    if len(curvature):
        pull = 0.5 * numbers[LANDMARK] * share * share * precision
        gradient[:] = pull[:, None] * error + gain[:, None] * moved
        curvature[:] = pull * precision + gain
    still = gain @ np.einsum("ij,ij->i", moved, moved)
    return float(0.5 * numbers[LANDMARK] * (share @ square) + still)


def own_terms_arrays(
    expression: Array, last: Array, rotmat: Array, joint_weights: Array, numbers: Array,
    matrix: Array, vector: Array,
) -> float:  # fmt: skip
    """The same as `_own_terms_loop` in a few operations on whole arrays."""
    n = len(expression)
    excess = expression - expression.clip(0.0, 1.0)
    change = expression - last
    cost = joint_terms(rotmat, joint_weights, matrix, vector, n + 3)
    cost += numbers[EXPRESSION] * float(expression @ expression)
    cost += numbers[RANGE] * float(excess @ excess) + numbers[SMOOTHNESS] * float(change @ change)
    if len(vector):
        vector[:n] += numbers[EXPRESSION] * expression + numbers[RANGE] * excess
        vector[:n] += numbers[SMOOTHNESS] * change
        diagonal = matrix.ravel()[: n * len(vector) : len(vector) + 1]
        diagonal += numbers[EXPRESSION] + numbers[SMOOTHNESS] + numbers[RANGE] * (excess != 0.0)
    return cost


def damped_step_arrays(
    matrix: Array, vector: Array, damping: float, first: int, last: int
) -> Array:
    """The same as `_damped_step_loop` by LAPACK."""
    held = matrix[first:last, first:last].copy()
    diagonal = held.ravel()[:: len(held) + 1]
    diagonal += damping * diagonal + RIDGE
    _, solution, info = lapack.dposv(held, vector[first:last], lower=True)
    if info != 0:
        return np.zeros(0)
    step = np.zeros(len(vector))
    step[first:last] = -solution
    return step


pixel_terms = compiled(_pixel_terms_loop) if IS_COMPILED else pixel_terms_arrays
own_terms = compiled(_own_terms_loop) if IS_COMPILED else own_terms_arrays
damped_step = compiled(_damped_step_loop) if IS_COMPILED else damped_step_arrays


@compiled
def minimise_loop(
    neutral: Array, basis: Array, skin: Array, share: Array, columns: NDArray[np.int64],
    centres: Array, landmarks: Array, precision: Array, gain: Array, expected: Array,
    last_expression: Array, joint_weights: Array, numbers: Array, expression: Array,
    rotmat: Array, translation: Array, iterations: int, tolerance: float, first: int, last: int,
) -> tuple[Array, Array, Array, float, int]:  # fmt: skip
    """Expression, rotations, translation, cost and iterations.

    Columns first to last may move. A step that raises the cost is rejected and the damping raised;
    it ends when an iteration lowers the cost by less than the share `tolerance` of it.
    """
    n = len(expression)
    count = len(neutral)
    focal = numbers[FOCAL]
    centre = numbers[CENTRE_X : CENTRE_Y + 1]
    gradient, curvature = np.empty((count, 2)), np.empty(count)
    no_gradient, no_curvature = np.empty((0, 2)), np.empty(0)
    no_matrix, no_vector = np.empty((0, 0)), np.empty(0)
    damping = FIRST_DAMPING
    cost = np.inf
    done = 0
    is_stale = True
    matrix, vector = no_matrix, no_vector
    while done < iterations:
        if is_stale:
            rotation, offset, pivot = carry(rotmat, translation, centres)
            pixels = project(
                neutral, basis, skin, columns, rotation, offset, expression, focal, centre
            )
            cost = pixel_terms(
                pixels, landmarks, precision, gain, expected, numbers, gradient, curvature
            )
            if not np.isfinite(cost):
                return expression, rotmat, translation, np.inf, done
            matrix, vector = accumulate(
                neutral, basis, skin, share, columns, rotation, offset, pivot, expression, focal,
                gradient, curvature,
            )  # fmt: skip
            cost += own_terms(
                expression, last_expression, rotmat, joint_weights, numbers, matrix, vector
            )
            is_stale = False
        done += 1
        step = damped_step(matrix, vector, damping, first, last)
        trial_cost = np.inf
        trial_expression, trial_rotmat, trial_translation = expression, rotmat, translation
        if len(step) > 0:
            trial_expression = expression + step[:n]
            trial_rotmat = turn(rotmat, step[n : n + 12])
            trial_translation = translation + step[n + 12 :]
            rotation, offset, pivot = carry(trial_rotmat, trial_translation, centres)
            pixels = project(
                neutral, basis, skin, columns, rotation, offset, trial_expression, focal, centre
            )
            trial_cost = pixel_terms(
                pixels, landmarks, precision, gain, expected, numbers, no_gradient, no_curvature
            )
            trial_cost += own_terms(
                trial_expression, last_expression, trial_rotmat, joint_weights, numbers,
                no_matrix, no_vector,
            )  # fmt: skip
        if not trial_cost < cost:
            damping *= 10.0
            if damping > MOST_DAMPING:
                break
            continue
        won = (cost - trial_cost) / max(cost, 1e-12)
        expression, rotmat, translation = trial_expression, trial_rotmat, trial_translation
        cost = trial_cost
        damping = max(damping / 10.0, LEAST_DAMPING)
        is_stale = True
        if won < tolerance:
            break
    return expression, rotmat, translation, cost, done
