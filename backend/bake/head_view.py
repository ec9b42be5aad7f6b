"""A small picture of the head in one frame: its pixels, and the surface behind each of them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from backend.bake.color import linear_on
from backend.geometry.rasterizer import interpolate, rasterize, to_pixels, vertex_normals

OFFSET = 0.005
"""Added to linear light before a logarithm: about the black noise of a video frame."""


@dataclass(frozen=True)
class HeadView:
    """A crop of a frame around the head, at most a few hundred pixels wide."""

    color: Tensor
    """(h, w, 3) float32 linear light."""
    K: Tensor
    """(3, 3) camera of the crop, in its pixels."""
    face_index: Tensor
    """(h, w) int64 nearest triangle, -1 in the background."""
    barycentric: Tensor
    """(h, w, 3) float32."""
    normal: Tensor
    """(h, w, 3) unit normals in the camera frame; zeros in the background."""
    cosine: Tensor
    """(h, w) between the normal and the direction to the camera."""
    face_px: float
    """Pixels of the crop on 0.14 m at the head's distance: about the width of a face."""

    @property
    def on_head(self) -> Tensor:
        """(h, w) bool."""
        return self.face_index >= 0


def see_head(
    image_rgb: np.ndarray,
    vertices: Tensor,
    faces: Tensor,
    K: Tensor,
    resolution: int,
) -> HeadView | None:
    """Cut the head out of a frame and rasterise its mesh over it.

    image_rgb: (H, W, 3) u8 sRGB. vertices: (N, 3) metres, camera frame. faces: (T, 3). K: (3, 3)
    pixels. resolution: longest side of the crop in pixels; it is never larger than in the frame.
    Returns None where no part of the mesh is in the image. All of it is on the mesh's device.
    """
    pixels = to_pixels(vertices, K)
    seen = torch.isfinite(pixels).all(-1)
    if not bool(seen.any()) or not bool(torch.isfinite(vertices).all()):
        return None
    height, width = image_rgb.shape[:2]
    low = pixels[seen, :2].amin(0).floor().int().tolist()
    high = pixels[seen, :2].amax(0).ceil().int().tolist()
    left, top = max(low[0] - 2, 0), max(low[1] - 2, 0)
    right, bottom = min(high[0] + 3, width), min(high[1] + 3, height)
    if right - left < 8 or bottom - top < 8:
        return None
    scale = min(1.0, resolution / max(right - left, bottom - top))
    size = (max(8, round((right - left) * scale)), max(8, round((bottom - top) * scale)))
    cut = np.ascontiguousarray(image_rgb[top:bottom, left:right])
    small = cv2.resize(cut, size, interpolation=cv2.INTER_AREA) if scale < 1 else cut
    sx, sy = size[0] / (right - left), size[1] / (bottom - top)
    crop = K.new_tensor(
        [[sx, 0, (0.5 - left) * sx - 0.5], [0, sy, (0.5 - top) * sy - 0.5], [0, 0, 1]]
    )
    K_view = crop @ K
    index, weights, _ = rasterize(to_pixels(vertices, K_view), faces, size)
    index = index.long()
    normal = interpolate(vertex_normals(vertices, faces), faces, index, weights)
    position = interpolate(vertices, faces, index, weights)
    normal = torch.nn.functional.normalize(normal, dim=-1)
    cosine = -(normal * torch.nn.functional.normalize(position, dim=-1)).sum(-1)
    return HeadView(
        color=linear_on(small, vertices.device),
        K=K_view,
        face_index=index,
        barycentric=weights,
        normal=normal,
        cosine=cosine,
        face_px=float(0.14 * K_view[0, 0] / vertices[:, 2].median()),
    )


def sh_basis(normals: Tensor) -> Tensor:
    """The nine real spherical harmonics of up to second order at unit vectors (..., 3): (..., 9).

    Ramamoorthi and Hanrahan, An Efficient Representation for Irradiance Environment Maps (2001).
    """
    x, y, z = normals.unbind(-1)
    one = torch.ones_like(x)
    return torch.stack(
        (
            0.282095 * one,
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


def fit_gain(
    observed: Tensor, expected: Tensor, normals: Tensor, weights: Tensor, rounds: int = 4
) -> Tensor:
    """The change of light that best turns expected colours into observed ones.

    observed, expected: (P, 3) linear light; normals (P, 3), unit; weights (P,). Returns (9, 3):
    log of the ratio of light as spherical harmonics of the normal. What departs from it (a hand, a
    highlight) loses its weight (Tukey's biweight), and higher orders are held near zero, so that
    they follow a turn under the lights and not a thing in front of the face.
    """
    basis = sh_basis(normals)
    ratio = torch.log((observed + OFFSET) / (expected + OFFSET))
    total = weights.sum().clamp(min=1e-6)
    # Relative to the weight of all pixels: the constant is free, linear terms cost little.
    ridge = torch.diag(basis.new_tensor((1e-6,) + (0.01,) * 3 + (0.05,) * 5)) * total
    kept = weights
    start = ratio[weights > 0].median(0).values if bool((weights > 0).any()) else ratio.new_zeros(3)
    coefficients = basis.new_zeros(9, 3)
    coefficients[0] = start / 0.282095
    for _ in range(rounds):
        residual = (ratio - basis @ coefficients).abs().mean(-1)
        used = weights > 0
        spread = 1.4826 * residual[used].median() + 0.02 if bool(used.any()) else 1.0
        kept = weights * (1 - (residual / (3 * spread)) ** 2).clamp(min=0) ** 2
        weighted = basis * kept[:, None]
        shifted = ratio - 0.282095 * (start / 0.282095)
        solved = torch.linalg.solve(basis.T @ weighted + ridge, weighted.T @ shifted)
        coefficients = solved
        coefficients[0] += start / 0.282095
    return coefficients


def gain_at(coefficients: Tensor, normals: Tensor) -> Tensor:
    """Ratio of light (..., 3) at normals (..., 3), by `fit_gain`, held between 1/4 and 4."""
    return torch.exp((sh_basis(normals) @ coefficients).clamp(-1.4, 1.4))
