"""The environment lights a surface as the shot's shading says."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np


def test_environment_lights_as_the_shading_says(addon: Callable[[str], ModuleType]) -> None:
    light = addon("light")
    shading = np.zeros((9, 3), np.float32)
    shading[0], shading[1], shading[3], shading[2] = 3.5, -0.6, 0.9, 0.4
    picture = light.environment(shading, 64)
    assert picture.shape == (64, 128, 4) and (picture[..., 3] == 1).all()
    # Blender's look-up, turned round: direction (x, y, z) of every pixel, z up.
    u, v = np.meshgrid((np.arange(128) + 0.5) / 128, (np.arange(64) + 0.5) / 64)
    a, e = 2 * np.pi * (u - 0.5), np.pi * (v - 0.5)
    direction = np.stack((-np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)), -1)
    solid = np.cos(e) * (np.pi / 64) * (2 * np.pi / 128)
    for normal in np.concatenate((np.eye(3), -np.eye(3))):
        cosine = np.maximum(direction @ normal, 0)
        integral = (picture[..., :3] * (cosine * solid)[..., None]).sum((0, 1)) / np.pi
        # Blender's x, y, z are the camera's x, z, -y.
        basis = light.sh_basis(*(np.array(c) for c in (normal[0], -normal[2], normal[1])))
        np.testing.assert_allclose(integral, basis @ shading, rtol=0.03)
