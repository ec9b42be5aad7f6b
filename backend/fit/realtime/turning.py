"""Rotations of one frame's few joints, as loops: arrays this small are all overhead."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .compiled import compiled

Array = NDArray[np.float64]


@compiled
def exponential(rotvec: Array) -> Array:
    """Rotation matrix (3,3) of a rotation vector (3,)."""
    x, y, z = rotvec[0], rotvec[1], rotvec[2]
    square = x * x + y * y + z * z
    angle = math.sqrt(square)
    if angle < 1e-4:
        a, b = 1.0 - square / 6.0, 0.5 - square / 24.0
    else:
        a, b = math.sin(angle) / angle, (1.0 - math.cos(angle)) / square
    result = np.empty((3, 3))
    result[0, 0] = 1.0 - b * (y * y + z * z)
    result[1, 1] = 1.0 - b * (x * x + z * z)
    result[2, 2] = 1.0 - b * (x * x + y * y)
    result[0, 1] = b * x * y - a * z
    result[1, 0] = b * x * y + a * z
    result[0, 2] = b * x * z + a * y
    result[2, 0] = b * x * z - a * y
    result[1, 2] = b * y * z - a * x
    result[2, 1] = b * y * z + a * x
    return result


@compiled
def logarithm(rotmat: Array) -> Array:
    """Rotation vector (3,) of a rotation matrix (3,3).

    Near half a turn the axis comes from the symmetric part: the sine says nothing of it there.
    """
    x = 0.5 * (rotmat[2, 1] - rotmat[1, 2])
    y = 0.5 * (rotmat[0, 2] - rotmat[2, 0])
    z = 0.5 * (rotmat[1, 0] - rotmat[0, 1])
    sine = math.sqrt(x * x + y * y + z * z)
    cosine = 0.5 * (rotmat[0, 0] + rotmat[1, 1] + rotmat[2, 2] - 1.0)
    angle = math.atan2(sine, cosine)
    if cosine < -0.9:
        k = 0
        for a in range(1, 3):
            if rotmat[a, a] > rotmat[k, k]:
                k = a
        axis = np.empty(3)
        for a in range(3):
            axis[a] = 0.5 * (rotmat[a, k] + rotmat[k, a]) - (cosine if a == k else 0.0)
        length = math.sqrt(axis[0] * axis[0] + axis[1] * axis[1] + axis[2] * axis[2])
        if axis[0] * x + axis[1] * y + axis[2] * z < 0.0:
            length = -length
        return axis * (angle / length)
    scale = 1.0 + angle * angle / 6.0 if sine < 1e-4 else angle / sine
    return np.array([scale * x, scale * y, scale * z])


@compiled
def left_inverse(rotvec: Array) -> Array:
    """(3,3) derivative of `logarithm` by a left increment at a rotation vector (3,)."""
    x, y, z = rotvec[0], rotvec[1], rotvec[2]
    square = x * x + y * y + z * z
    angle = math.sqrt(square)
    if angle < 1e-3:
        c = 1.0 / 12.0 + square / 720.0
    else:
        half = 0.5 * angle
        c = (1.0 - half / math.tan(half)) / square
    result = np.empty((3, 3))
    result[0, 0] = 1.0 - c * (y * y + z * z)
    result[1, 1] = 1.0 - c * (x * x + z * z)
    result[2, 2] = 1.0 - c * (x * x + y * y)
    result[0, 1] = c * x * y + 0.5 * z
    result[1, 0] = c * x * y - 0.5 * z
    result[0, 2] = c * x * z - 0.5 * y
    result[2, 0] = c * x * z + 0.5 * y
    result[1, 2] = c * y * z + 0.5 * x
    result[2, 1] = c * y * z - 0.5 * x
    return result


@compiled
def turn(rotmat: Array, increments: Array) -> Array:
    """Rotations (4,3,3) after left increments (12,)."""
    result = np.empty((4, 3, 3))
    for j in range(4):
        step = exponential(increments[3 * j : 3 * j + 3])
        for a in range(3):
            for b in range(3):
                total = 0.0
                for c in range(3):
                    total += step[a, c] * rotmat[j, c, b]
                result[j, a, b] = total
    return result


@compiled
def joint_terms(rotmat: Array, weights: Array, matrix: Array, vector: Array, first: int) -> float:
    """Cost of the rotations of head and eyes against their parents, and its derivatives.

    rotmat (4,3,3); weights (3,3) by joint and axis. Half the derivatives are added to matrix and
    vector from column `first`, the head's, on; nothing is where they have no columns.
    """
    cost = 0.0
    for k in range(3):
        rotvec = logarithm(rotmat[k + 1])
        for a in range(3):
            cost += weights[k, a] * rotvec[a] * rotvec[a]
        if len(vector) == 0:
            continue
        inverse = left_inverse(rotvec)
        for a in range(3):
            for b in range(3):
                vector[first + 3 * k + b] += weights[k, a] * rotvec[a] * inverse[a, b]
                for c in range(3):
                    matrix[first + 3 * k + b, first + 3 * k + c] += (
                        weights[k, a] * inverse[a, b] * inverse[a, c]
                    )
    return cost
