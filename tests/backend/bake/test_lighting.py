"""Light that is known is found again from the pictures of a turning surface."""

from __future__ import annotations

import numpy as np
import torch

from backend.bake.head_view import fit_gain, gain_at, sh_basis
from backend.bake.lighting import Lighting, albedo_of, estimate_lighting, radiance_of

SIZE = 64


def _turning(n_frames: int) -> torch.Tensor:
    """Normals (P, F, 3) of the front of a sphere that turns by 100 degrees."""
    v, u = torch.meshgrid(torch.linspace(-0.8, 0.8, SIZE), torch.linspace(-0.8, 0.8, SIZE),
                          indexing="ij")  # fmt: skip
    depth = (1 - 0.5 * (u * u + v * v)).clamp(min=0.1)
    normals = torch.nn.functional.normalize(torch.stack((u, v, -depth), -1).reshape(-1, 3), dim=-1)
    angles = torch.linspace(-0.9, 0.9, n_frames)
    rows = []
    for angle in angles:
        c, s = torch.cos(angle), torch.sin(angle)
        turn = torch.tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        rows.append(normals @ turn.T)
    return torch.stack(rows, 1)


def _light() -> torch.Tensor:
    light = torch.zeros(9, 3)
    light[0] = 1 / 0.282095
    light[3] = torch.tensor((-0.5, -0.6, -0.7))
    light[1] = -0.4
    return light


def test_light_and_colour_are_told_apart() -> None:
    generator = torch.Generator().manual_seed(0)
    normals = _turning(12)
    shading = (sh_basis(normals) @ _light()).clamp(min=0.05)
    albedo = torch.tensor((0.5, 0.35, 0.28)) * (
        1 + 0.15 * torch.randn(SIZE * SIZE, 1, generator=generator)
    ).clamp(min=0.4)
    colors = albedo[:, None] * shading
    weights = (normals[..., 2] < -0.2).float()
    found = estimate_lighting(
        colors,
        normals,
        weights,
        torch.ones_like(colors),
        torch.ones(SIZE * SIZE, dtype=torch.bool),
        torch.arange(SIZE * SIZE),
        SIZE,
    )
    assert isinstance(found, Lighting)
    seen = weights > 0
    again = (sh_basis(normals) @ found.shading)[seen]
    true = shading[seen]
    ratio = again / true
    # Known up to one factor a channel.
    assert float((ratio / ratio.median(0).values - 1).abs().mean()) < 0.04
    mean = (colors * weights[..., None]).sum(1) / weights.sum(1, keepdim=True).clamp(min=1)
    flat = albedo_of(
        mean.reshape(SIZE, SIZE, 3), found, torch.ones(SIZE, SIZE, dtype=torch.bool)
    ).reshape(-1, 3)
    used = weights.sum(1) > 6
    before = torch.log(mean[used] / albedo[used]).std(0).mean()
    after = torch.log(flat[used] / albedo[used]).std(0).mean()
    assert float(after) < 0.5 * float(before)


def test_too_little_skin_gives_no_light() -> None:
    normals = _turning(2)[:100]
    ones = torch.ones(100, 2, 3)
    found = estimate_lighting(
        ones, normals, torch.ones(100, 2), ones, torch.ones(100, dtype=torch.bool),
        torch.arange(100), SIZE,
    )  # fmt: skip
    assert found is None


def test_the_environment_lights_as_the_shading_says() -> None:
    shading = _light()
    light = Lighting(shading, torch.ones(4, 4, 3))
    picture = light.environment(64)
    elevation = np.pi * (0.5 - (np.arange(64) + 0.5) / 64)
    azimuth = 2 * np.pi * ((np.arange(128) + 0.5) / 128 - 0.5)
    e, a = np.meshgrid(elevation, azimuth, indexing="ij")
    direction = np.stack((np.cos(e) * np.sin(a), -np.sin(e), np.cos(e) * np.cos(a)), -1)
    solid = np.cos(e) * (np.pi / 64) * (2 * np.pi / 128)
    assert picture.min() > 0, "a light without dark lobes is not cut"
    for normal in np.eye(3):
        cosine = np.maximum(direction @ normal, 0)
        integral = (picture * (cosine * solid)[..., None]).sum((0, 1)) / np.pi
        expected = (sh_basis(torch.tensor(normal).float()) @ shading).numpy()
        np.testing.assert_allclose(integral, expected, rtol=0.02)
    assert radiance_of(shading)[0, 0] == shading[0, 0]


def test_gain_follows_the_light_and_not_a_hand() -> None:
    generator = torch.Generator().manual_seed(1)
    normals = _turning(3)[:, 1]
    expected = 0.2 + 0.3 * torch.rand(len(normals), 3, generator=generator)
    wanted = torch.zeros(9, 3)
    wanted[0], wanted[3] = -0.5, 0.25
    observed = expected * gain_at(wanted, normals)
    covered = normals[:, 0] > 0.35
    observed[covered] = torch.tensor((0.02, 0.3, 0.6))
    found = fit_gain(observed, expected, normals, torch.ones(len(normals)))
    ratio = gain_at(found, normals)[~covered] / gain_at(wanted, normals)[~covered]
    assert float((ratio - 1).abs().mean()) < 0.06
