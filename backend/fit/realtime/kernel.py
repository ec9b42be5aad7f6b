"""Normal equations of one frame's landmarks, accumulated point by point.

Columns: expression (E), left increments of neck, head and eyes (12), translation (3). The pixels'
energy has a gradient and a curvature at each pixel (robust landmarks and the temporal term
together); a point adds its few columns' products to the matrix, and no Jacobian is ever stored.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .compiled import IS_COMPILED, compiled

Array = NDArray[np.float64]

PARENTS = (-1, 0, 1, 1)
NEAREST_M = 0.02
"""A point nearer to the camera than this makes a state impossible: infinite cost."""


@compiled
def carry(rotmat: Array, translation: Array, centres: Array) -> tuple[Array, Array, Array]:
    """Joints in the camera's frame: rotations (4,3,3), offsets (4,3), and where they are (4,3).

    rotmat (4,3,3): the root's in the camera's frame, the others' in their parent's.
    """
    rotation = np.zeros((4, 3, 3))
    offset = np.zeros((4, 3))
    pivot = np.zeros((4, 3))
    for j in range(4):
        parent = -1 if j == 0 else (0 if j == 1 else 1)
        for a in range(3):
            own = centres[j, a]
            for b in range(3):
                own -= rotmat[j, a, b] * centres[j, b]
            pivot[j, a] = own
        for a in range(3):
            if parent < 0:
                offset[j, a] = pivot[j, a] + translation[a]
                for b in range(3):
                    rotation[j, a, b] = rotmat[j, a, b]
            else:
                offset[j, a] = offset[parent, a]
                for b in range(3):
                    offset[j, a] += rotation[parent, a, b] * pivot[j, b]
                    total = 0.0
                    for c in range(3):
                        total += rotation[parent, a, c] * rotmat[j, c, b]
                    rotation[j, a, b] = total
    for j in range(4):
        for a in range(3):
            pivot[j, a] = offset[j, a]
            for b in range(3):
                pivot[j, a] += rotation[j, a, b] * centres[j, b]
    return rotation, offset, pivot


def _project_loop(
    neutral: Array, basis: Array, skin: Array, columns: NDArray[np.int64], rotation: Array,
    offset: Array, expression: Array, focal: float, centre: Array,
) -> Array:  # fmt: skip
    """Pixels (L,2) of the points; NaN for what is too near."""
    n = len(expression)
    pixels = np.empty((len(neutral), 2))
    b = np.empty(3)
    p = np.empty(3)
    for i in range(len(neutral)):
        for a in range(3):
            b[a] = neutral[i, a]
            p[a] = 0.0
        for k in range(columns.shape[1]):
            e = columns[i, k]
            if e < 0 or e >= n:
                break
            for a in range(3):
                b[a] += basis[i, e, a] * expression[e]
        for j in range(4):
            w = skin[i, j]
            if w == 0.0:
                continue
            for a in range(3):
                p[a] += w * (
                    rotation[j, a, 0] * b[0] + rotation[j, a, 1] * b[1]
                    + rotation[j, a, 2] * b[2] + offset[j, a]
                )  # fmt: skip
        if p[2] < NEAREST_M:
            pixels[i, 0] = np.nan
            pixels[i, 1] = np.nan
        else:
            pixels[i, 0] = focal * p[0] / p[2] + centre[0]
            pixels[i, 1] = focal * p[1] / p[2] + centre[1]
    return pixels


def _accumulate_loop(
    neutral: Array, basis: Array, skin: Array, share: Array, columns: NDArray[np.int64],
    rotation: Array, offset: Array, pivot: Array, expression: Array, focal: float,
    gradient: Array, curvature: Array,
) -> tuple[Array, Array]:  # fmt: skip
    """Matrix (E+15,E+15) and half gradient (E+15,).

    gradient (L,2) and curvature (L,): half the derivatives of the energy by each pixel.
    """
    n = len(expression)
    size = n + 15
    matrix = np.zeros((size, size))
    vector = np.zeros(size)
    b = np.empty(3)
    p = np.empty(3)
    carried = np.zeros((4, 3))
    blend = np.empty((3, 3))
    through = np.empty((2, 3))
    jx = np.empty(size)
    jy = np.empty(size)
    arm = np.empty(3)
    for i in range(len(neutral)):
        c = curvature[i]
        gx = gradient[i, 0]
        gy = gradient[i, 1]
        if c == 0.0 and gx == 0.0 and gy == 0.0:
            continue
        for a in range(3):
            b[a] = neutral[i, a]
            p[a] = 0.0
            for d in range(3):
                blend[a, d] = 0.0
        for k in range(size):
            e = columns[i, k]
            if e < 0 or e >= n:
                break
            for a in range(3):
                b[a] += basis[i, e, a] * expression[e]
        for j in range(4):
            w = skin[i, j]
            for a in range(3):
                carried[j, a] = 0.0
            if w == 0.0:
                continue
            for a in range(3):
                moved = offset[j, a]
                for d in range(3):
                    moved += rotation[j, a, d] * b[d]
                    blend[a, d] += w * rotation[j, a, d]
                carried[j, a] = w * moved
                p[a] += w * moved
        inverse = focal / p[2]
        for a in range(2):
            # (1, 0, -x/z) and (0, 1, -y/z), times f / z.
            for d in range(3):
                through[a, d] = inverse * (blend[a, d] - p[a] / p[2] * blend[2, d])
        sx = -p[0] / p[2]
        sy = -p[1] / p[2]
        count = 0
        for k in range(size):
            e = columns[i, k]
            if e < 0:
                break
            count += 1
            if e < n:
                x0 = basis[i, e, 0]
                x1 = basis[i, e, 1]
                x2 = basis[i, e, 2]
                jx[k] = through[0, 0] * x0 + through[0, 1] * x1 + through[0, 2] * x2
                jy[k] = through[1, 0] * x0 + through[1, 1] * x1 + through[1, 2] * x2
                continue
            column = e - n
            if column >= 12:
                axis = column - 12
                jx[k] = inverse * (1.0 if axis == 0 else (sx if axis == 2 else 0.0))
                jy[k] = inverse * (1.0 if axis == 1 else (sy if axis == 2 else 0.0))
                continue
            j = column // 3
            axis = column % 3
            if axis == 0:
                for a in range(3):
                    arm[a] = carried[j, a] - share[i, j] * pivot[j, a]
                    if j == 0:
                        arm[a] += carried[1, a]
                    if j <= 1:
                        arm[a] += carried[2, a] + carried[3, a]
            # The joint turns about axes of its parent.
            if j == 0:
                ax = 1.0 if axis == 0 else 0.0
                ay = 1.0 if axis == 1 else 0.0
                az = 1.0 if axis == 2 else 0.0
            else:
                parent = 0 if j == 1 else 1
                ax = rotation[parent, 0, axis]
                ay = rotation[parent, 1, axis]
                az = rotation[parent, 2, axis]
            vx = ay * arm[2] - az * arm[1]
            vy = az * arm[0] - ax * arm[2]
            vz = ax * arm[1] - ay * arm[0]
            jx[k] = inverse * (vx + sx * vz)
            jy[k] = inverse * (vy + sy * vz)
        for k in range(count):
            row = columns[i, k]
            vector[row] += jx[k] * gx + jy[k] * gy
            kx = c * jx[k]
            ky = c * jy[k]
            for m in range(k + 1):
                matrix[row, columns[i, m]] += kx * jx[m] + ky * jy[m]
    for row in range(size):
        for column in range(row):
            matrix[column, row] = matrix[row, column]
    return matrix, vector


def project_arrays(
    neutral: Array, basis: Array, skin: Array, columns: NDArray[np.int64], rotation: Array,
    offset: Array, expression: Array, focal: float, centre: Array,
) -> Array:  # fmt: skip
    """The same as `_project_loop` in a few operations on whole arrays."""
    p = _posed(neutral, basis, skin, rotation, offset, expression)[0]
    with np.errstate(invalid="ignore", divide="ignore"):
        pixels = focal * p[:, :2] / p[:, 2:] + centre
    pixels[p[:, 2] < NEAREST_M] = np.nan
    return pixels


def jacobian(
    neutral: Array, basis: Array, skin: Array, share: Array, rotation: Array, offset: Array,
    pivot: Array, expression: Array, focal: float,
) -> Array:  # fmt: skip
    """(L,2,E+15) derivative of the pixels."""
    p, carried, blend = _posed(neutral, basis, skin, rotation, offset, expression)
    return _camera_rows(p, focal) @ _point_columns(basis, share, rotation, pivot, carried, blend)


def accumulate_arrays(
    neutral: Array, basis: Array, skin: Array, share: Array, columns: NDArray[np.int64],
    rotation: Array, offset: Array, pivot: Array, expression: Array, focal: float,
    gradient: Array, curvature: Array,
) -> tuple[Array, Array]:  # fmt: skip
    """The same as `_accumulate_loop` in a few operations on whole arrays."""
    rows = jacobian(neutral, basis, skin, share, rotation, offset, pivot, expression, focal)
    size = rows.shape[-1]
    vector = gradient.ravel() @ rows.reshape(-1, size)
    whole = (np.sqrt(curvature)[:, None, None] * rows).reshape(-1, size)
    return whole.T @ whole, vector


def _posed(
    neutral: Array, basis: Array, skin: Array, rotation: Array, offset: Array, expression: Array
) -> tuple[Array, Array, Array]:
    """Points (L,3), each joint's part of them (4,L,3), and their blended rotations (L,3,3)."""
    b = neutral + expression @ basis
    alone = b @ rotation.transpose(0, 2, 1) + offset[:, None]
    carried = skin.T[:, :, None] * alone
    blend = (skin @ rotation.reshape(4, 9)).reshape(-1, 3, 3)
    return carried.sum(0), carried, blend


def camera_rows(
    neutral: Array, basis: Array, skin: Array, rotation: Array, offset: Array, expression: Array,
    focal: float,
) -> tuple[Array, Array]:  # fmt: skip
    """Derivative of pixels by points (L,2,3), and the points' blended rotations (L,3,3)."""
    p, _, blend = _posed(neutral, basis, skin, rotation, offset, expression)
    return _camera_rows(p, focal), blend


def _camera_rows(p: Array, focal: float) -> Array:
    rows = np.zeros((len(p), 2, 3))
    scale = focal / p[:, 2]
    rows[:, 0, 0] = rows[:, 1, 1] = scale
    rows[:, :, 2] = -scale[:, None] * p[:, :2] / p[:, 2:]
    return rows


def _point_columns(
    basis: Array, share: Array, rotation: Array, pivot: Array, carried: Array, blend: Array
) -> Array:
    """(L,3,E+15) derivative of the points."""
    count, n = basis.shape[:2]
    result = np.zeros((count, 3, n + 15))
    result[:, :, :n] = blend @ basis.transpose(0, 2, 1)
    below = np.stack([carried.sum(0), carried[1:].sum(0), carried[2], carried[3]])
    arm = below - share.T[:, :, None] * pivot[:, None]
    for j, parent in enumerate(PARENTS):
        axes = np.eye(3) if parent < 0 else rotation[parent].T
        turned = np.cross(axes[None], arm[j][:, None])
        result[:, :, n + 3 * j : n + 3 * j + 3] = turned.transpose(0, 2, 1)
    result[:, :, n + 12 :] = np.eye(3)
    return result


accumulate = compiled(_accumulate_loop) if IS_COMPILED else accumulate_arrays
project = compiled(_project_loop) if IS_COMPILED else project_arrays
