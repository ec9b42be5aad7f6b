"""The light of a shot as spherical harmonics, and the shading that it puts on the texture.

Pictures of a turning head show each place of the skin under different light: colour is what stays,
light what follows the normal (Ramamoorthi and Hanrahan, 2001; nine coefficients a channel).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from backend.bake.fill import pull_push
from backend.bake.head_view import sh_basis

ROUNDS = 6
EVENNESS = 0.5
"""Share of the skin's one colour in the colours that the light is fitted to. Light and slow changes
of colour cannot be told apart where the head hardly turns: there the skin counts as even."""
DARKEST = 0.12
"""Least shading, as a share of the mean: more would blow up the noise of shadows."""


@dataclass(frozen=True)
class Lighting:
    """Low-frequency light of a shot."""

    shading: Tensor
    """(9, 3): shading(n) = sh_basis(n) @ shading, linear light, normals n in the camera frame (x
    right, y down, z forward). Irradiance over pi, scaled so that its mean on the skin is 1."""
    baked: Tensor
    """(S, S, 3) the shading that the shot's merged texture carries, in a coarse texture."""

    def environment(self, height: int = 32) -> np.ndarray:
        """The light as an equirectangular picture (height, 2 height, 3) float32, linear.

        Row 0 is up (-y of the camera frame), the middle column lies ahead of the camera (+z), and
        columns go on to the right. Negative light is cut.
        """
        elevation = np.pi * (0.5 - (np.arange(height) + 0.5) / height)
        azimuth = 2 * np.pi * ((np.arange(2 * height) + 0.5) / (2 * height) - 0.5)
        e, a = np.meshgrid(elevation, azimuth, indexing="ij")
        direction = np.stack((np.cos(e) * np.sin(a), -np.sin(e), np.cos(e) * np.cos(a)), -1)
        radiance = sh_basis(torch.from_numpy(direction).float()) @ radiance_of(self.shading)
        return radiance.clamp(min=0).numpy()


def radiance_of(shading: Tensor) -> Tensor:
    """Radiance (9, 3) of light whose shading is (9, 3): each band over its cosine's factor."""
    bands = shading.new_tensor((1.0,) + (2 / 3,) * 3 + (1 / 4,) * 5)
    return shading / bands[:, None]


def estimate_lighting(
    colors: Tensor,
    normals: Tensor,
    weights: Tensor,
    gains: Tensor,
    is_skin: Tensor,
    position: Tensor,
    size: int,
) -> Lighting | None:
    """Tell light from colour.

    colors: (P, F, 3) linear light of P coarse texels in F frames; normals: (P, F, 3), camera
    frame; weights: (P, F), 0 where a texel is not seen; gains: (P, F, 3) each frame's light over
    the shot's usual (`gain_at`); is_skin: (P,) bool; position: (P,) row * size + column. Returns
    None where too little skin is seen.
    """
    usable = (weights.sum(1) > 0.5) & is_skin
    if int(usable.sum()) < 200:
        return None
    seen, basis = colors[usable], sh_basis(normals[usable])
    weight = weights[usable]
    count = weight.sum(1, keepdim=True)
    mean = (seen * weight[..., None]).sum(1) / count
    even = mean.median(0).values.clamp(min=0.01)
    albedo = even.expand_as(mean)
    shading = torch.zeros(9, 3)
    for _ in range(ROUNDS):
        target = EVENNESS * even + (1 - EVENNESS) * albedo
        for channel in range(3):
            shading[:, channel] = _fit_light(
                seen[..., channel] / target[:, channel, None], basis, weight
            )
        lit = (basis @ shading).clamp(min=DARKEST)
        albedo = (seen * lit * weight[..., None]).sum(1) / (lit.square() * weight[..., None]).sum(
            1
        ).clamp(min=1e-6)
        # Colour and light are known up to a factor: the skin's mean shading is 1.
        scale = (lit * weight[..., None]).sum((0, 1)) / count.sum()
        shading, albedo = shading / scale, albedo * scale

    usual = (sh_basis(normals) @ shading).clamp(min=DARKEST) / gains.clamp(min=0.05)
    # Beyond what the skin shows of the light, the fit is a guess.
    usual = usual.clamp(0.4, 2.2)
    total = weights.sum(1, keepdim=True)
    baked = (usual * weights[..., None]).sum(1) / total.clamp(min=1e-6)
    known = torch.zeros(size * size)
    known[position] = (total[:, 0] > 0.2).float()
    picture = torch.zeros(size * size, 3)
    picture[position] = baked
    picture, known = picture.reshape(size, size, 3), known.reshape(size, size)
    return Lighting(shading, pull_push(picture * known[..., None], known).clamp(min=DARKEST))


def _fit_light(ratio: Tensor, basis: Tensor, weight: Tensor) -> Tensor:
    """Robust least squares of ratio (P, F) by a basis (P, F, 9): (9,)."""
    rows, flat, kept = basis.reshape(-1, 9), ratio.reshape(-1), weight.reshape(-1)
    used = kept > 0
    rows, flat, weights = rows[used], flat[used], kept[used]
    kept = weights
    result = torch.zeros(9)
    # Higher orders cost a little: what the normals do not span stays small.
    ridge = torch.diag(torch.tensor((1e-6,) + (0.004,) * 3 + (0.04,) * 5)) * weights.sum()
    for _ in range(4):
        weighted = rows * kept[:, None]
        result = torch.linalg.solve(rows.T @ weighted + ridge, weighted.T @ flat)
        residual = (rows @ result - flat).abs()
        spread = 1.4826 * residual.median() + 0.01
        kept = weights * (1 - (residual / (4 * spread)) ** 2).clamp(min=0) ** 2
    return result


def albedo_of(texture: Tensor, lighting: Lighting, outer: Tensor) -> Tensor:
    """A texture (S, S, 3) in linear light without the shot's low-frequency shading: (S, S, 3).

    outer: (S, S) bool; other parts (eyes, the inside of the mouth) stay as they are: their normals
    and their light are their own.
    """
    planes = lighting.baked.permute(2, 0, 1)[None]
    fine = torch.nn.functional.interpolate(
        planes, size=texture.shape[:2], mode="bilinear", align_corners=False
    )
    return torch.where(outer[..., None], texture / fine[0].permute(1, 2, 0), texture)
