# SPDX-License-Identifier: GPL-3.0-or-later
"""Pixels of the footage, points before the camera, and places in an editor; knows no bpy.

Pixels are those of the upright full-size picture, from its left and its top, with pixel centres at
integers. Places in an editor's region are from its lower left corner.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

NEAR_PX = 14.0
"""How far the mouse may be from what it takes, at interface scale 1."""


@dataclass(frozen=True)
class PictureView:
    """Where a region shows the picture, upright."""

    left: float
    """Of the picture's lower left corner, not of its first pixel's centre."""
    bottom: float
    width: float
    """Of the shown picture, in pixels of the region."""
    height: float
    """The clip's pixel aspect, zoom and proxies are in it."""
    size: tuple[int, int]
    """Width and height of the picture in its own pixels."""

    def to_region(self, pixels: ArrayLike) -> Array:
        """Return places (..., 2) in the region of pixels (..., 2)."""
        share = (np.asarray(pixels, np.float64) + 0.5) / self.size
        x = self.left + share[..., 0] * self.width
        y = self.bottom + (1.0 - share[..., 1]) * self.height
        return np.stack((x, y), -1)

    def to_pixels(self, places: ArrayLike) -> Array:
        """Inverse of `to_region`."""
        place = np.asarray(places, np.float64)
        x = (place[..., 0] - self.left) / self.width
        y = 1.0 - (place[..., 1] - self.bottom) / self.height
        return np.stack((x, y), -1) * self.size - 0.5


@dataclass(frozen=True)
class Lens:
    """A pinhole with the radial distortion of Blender's polynomial model."""

    focal_px: float
    centre: tuple[float, float]
    """Principal point in pixels."""
    distortion: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """K1, K2, K3; 0 for none."""

    def project(self, points: ArrayLike) -> Array:
        """Return pixels (..., 2), without distortion, of points (..., 3) in OpenCV's camera frame.

        NaN for what is not before the camera.
        """
        point = np.asarray(points, np.float64)
        depth = np.where(point[..., 2:] > 1e-6, point[..., 2:], np.nan)
        return point[..., :2] / depth * self.focal_px + np.asarray(self.centre)

    def bend(self, pixels: ArrayLike) -> Array:
        """Return where the footage shows pixels (..., 2) of a picture without distortion."""
        pixel = np.asarray(pixels, np.float64)
        if not any(self.distortion):
            return pixel
        ray = (pixel - self.centre) / self.focal_px
        return ray * self._gain((ray**2).sum(-1, keepdims=True)) * self.focal_px + self.centre

    def straighten(self, pixels: ArrayLike) -> Array:
        """Inverse of `bend`, by Newton's method on the radius."""
        pixel = np.asarray(pixels, np.float64)
        if not any(self.distortion):
            return pixel
        seen = (pixel - self.centre) / self.focal_px
        target = np.linalg.norm(seen, axis=-1, keepdims=True)
        radius = target.copy()
        for _ in range(12):
            k1, k2, k3 = self.distortion
            slope = 1 + radius**2 * (3 * k1 + radius**2 * (5 * k2 + radius**2 * 7 * k3))
            error = radius * self._gain(radius**2) - target
            radius -= error / np.where(np.abs(slope) > 1e-3, slope, 1e-3)
        share = np.divide(radius, target, out=np.ones_like(radius), where=target > 0)
        return seen * share * self.focal_px + self.centre

    def _gain(self, square: Array) -> Array:
        k1, k2, k3 = self.distortion
        return 1 + square * (k1 + square * (k2 + square * k3))


def nearest(place: ArrayLike, places: Array, reach: float) -> int | None:
    """Return which of places (L, 2), NaN for none, is nearest within reach; None for none is."""
    if not len(places):
        return None
    distance = np.linalg.norm(places - np.asarray(place, np.float64), axis=-1)
    distance = np.where(np.isfinite(distance), distance, np.inf)
    best = int(distance.argmin())
    return best if distance[best] <= reach else None
