# SPDX-License-Identifier: GPL-3.0-or-later
"""Quaternions (w, x, y, z) and matrices of many frames at once; knows no bpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def quaternion_to_matrix(quaternions: Array) -> Array:
    """Return rotation matrices (..., 3, 3) of quaternions (..., 4) of any length but zero."""
    unit = quaternions / np.linalg.norm(quaternions, axis=-1, keepdims=True)
    w, x, y, z = np.moveaxis(unit, -1, 0)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return np.stack([np.stack(row, -1) for row in rows], -2)


def matrix_to_quaternion(matrices: Array) -> Array:
    """Return unit quaternions (..., 4) of rotation matrices (..., 3, 3).

    From the largest of the four components, so that no angle loses digits (Shepperd, 1978).
    """
    m = np.asarray(matrices, np.float64)
    trace = np.trace(m, axis1=-2, axis2=-1)
    diagonal = np.diagonal(m, axis1=-2, axis2=-1)
    squares = np.concatenate(((1 + trace)[..., None], 1 + 2 * diagonal - trace[..., None]), -1)
    # Four times the products of each pair of components.
    table = np.zeros((*m.shape[:-2], 4, 4))
    table[..., range(4), range(4)] = squares
    pairs = (
        (0, 1, m[..., 2, 1] - m[..., 1, 2]),
        (0, 2, m[..., 0, 2] - m[..., 2, 0]),
        (0, 3, m[..., 1, 0] - m[..., 0, 1]),
        (1, 2, m[..., 0, 1] + m[..., 1, 0]),
        (1, 3, m[..., 0, 2] + m[..., 2, 0]),
        (2, 3, m[..., 1, 2] + m[..., 2, 1]),
    )
    for a, b, value in pairs:
        table[..., a, b] = table[..., b, a] = value
    largest = np.argmax(squares, -1)[..., None, None]
    rows = np.take_along_axis(table, np.broadcast_to(largest, (*m.shape[:-2], 1, 4)), -2)[..., 0, :]
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)
