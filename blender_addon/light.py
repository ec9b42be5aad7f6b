# SPDX-License-Identifier: GPL-3.0-or-later
"""The shot's light as an environment picture; knows no bpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def environment(shading: NDArray[np.float32], height: int = 64) -> NDArray[np.float32]:
    """Return a picture (height, 2 height, 4) of the light, linear, first row at the bottom.

    shading: (9, 3) spherical harmonics of irradiance over pi by the normal in the camera frame (x
    right, y down, z forward), as a track file has them. The picture lies as Blender's Environment
    Texture looks it up, for a camera that looks along +y with z up. Negative light is cut.
    """
    elevation = np.pi * ((np.arange(height) + 0.5) / height - 0.5)
    azimuth = 2 * np.pi * ((np.arange(2 * height) + 0.5) / (2 * height) - 0.5)
    up, around = np.meshgrid(elevation, azimuth, indexing="ij")
    # Blender: u = atan2(y, -x) / 2 pi + 1/2, v = elevation / pi + 1/2.
    right, ahead = -np.cos(up) * np.cos(around), np.cos(up) * np.sin(around)
    radiance = sh_basis(right, -np.sin(up), ahead) @ radiance_of(shading)
    alpha = np.ones((*radiance.shape[:2], 1))
    return np.concatenate((np.maximum(radiance, 0.0), alpha), -1).astype(np.float32)


def radiance_of(shading: NDArray[np.float32]) -> NDArray[np.float64]:
    """Radiance (9, 3) of irradiance over pi: each band over its factor of the cosine."""
    bands = np.array((1.0,) + (2 / 3,) * 3 + (1 / 4,) * 5)
    return np.asarray(shading, np.float64) / bands[:, None]


def sh_basis(
    x: NDArray[np.float64], y: NDArray[np.float64], z: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Real spherical harmonics to second order at unit vectors: (..., 9)."""
    return np.stack(
        (
            np.full_like(x, 0.282095),
            0.488603 * y,
            0.488603 * z,
            0.488603 * x,
            1.092548 * x * y,
            1.092548 * y * z,
            0.315392 * (3 * z * z - 1),
            1.092548 * x * z,
            0.546274 * (x * x - y * y),
        ),
        -1,
    )
