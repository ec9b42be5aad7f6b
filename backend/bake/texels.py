"""Where the texels of the head's texture lie on its surface; made once for a head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from backend.geometry.rasterizer import rasterize


@dataclass(frozen=True)
class TexelMap:
    """The P texels that the head's UV charts cover."""

    size: int
    """Side of the square texture in texels."""
    position: Tensor
    """(P,) int64 row * size + column; row 0 is the top, v = 1."""
    triangle: Tensor
    """(P,) int64 triangle under the texel's centre."""
    weights: Tensor
    """(P, 2) float32 barycentric weights of the triangle's second and third corner."""
    area: Tensor
    """(T,) float32 area of every triangle in texels."""

    def to(self, device: torch.device | str) -> TexelMap:
        """The same map on a device."""
        places = (self.position, self.triangle, self.weights, self.area)
        return TexelMap(self.size, *(values.to(device) for values in places))

    def interpolate(self, corner_values: Tensor, chosen: Tensor) -> Tensor:
        """Values at some texels: corner_values (T, 3, C), chosen (M,) into P; returns (M, C)."""
        n_faces, _, channels = corner_values.shape
        base = corner_values[:, 0]
        steps = (corner_values[:, 1:] - base[:, None]).reshape(n_faces, -1)
        rows = torch.cat((base, steps), 1)[self.triangle[chosen]]
        weights = self.weights[chosen]
        result = rows[:, :channels]
        result = torch.addcmul(result, rows[:, channels : 2 * channels], weights[:, :1])
        return torch.addcmul(result, rows[:, 2 * channels :], weights[:, 1:])


def uv_to_pixels(uv: Tensor, size: int) -> Tensor:
    """Texture pixels (centres at integers, y down) of UV points (..., 2) with v up."""
    return torch.stack((uv[..., 0] * size - 0.5, (1 - uv[..., 1]) * size - 0.5), -1)


def build_texel_map(uv: Tensor, face_uv: Tensor, size: int) -> TexelMap:
    """Rasterise a UV layout: uv (M, 2) in 0 to 1, v up; face_uv (T, 3); size in texels."""
    pixels = uv_to_pixels(uv.double(), size)
    flat = torch.cat((pixels, torch.ones_like(pixels[:, :1])), 1)
    face_index, barycentric, _ = rasterize(flat, face_uv, (size, size))
    position = (face_index.reshape(-1) >= 0).nonzero()[:, 0]
    corners = pixels[face_uv]
    edge_1, edge_2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = 0.5 * (edge_1[:, 0] * edge_2[:, 1] - edge_1[:, 1] * edge_2[:, 0]).abs()
    return TexelMap(
        size=size,
        position=position,
        triangle=face_index.reshape(-1)[position].long(),
        weights=barycentric.reshape(-1, 3)[position, 1:].contiguous(),
        area=area.float(),
    )


def mirror_face_uv(faces: Tensor, uv: Tensor, face_uv: Tensor, mirror: Tensor) -> Tensor:
    """UV of the mirrored place of every triangle's corners: (T, 3, 2), nan where there is none.

    faces: (T, 3) vertices, uv: (M, 2), face_uv: (T, 3), mirror: (N,) the vertex on the other side.
    The two halves of a mesh may cut their quads along different diagonals, so a mirrored corner is
    looked up by a mirrored edge: of the three edges of a triangle at most the diagonal is missing
    on the other side, and the two others carry all three corners.
    """
    face_rows, uv_rows = faces.cpu().numpy(), face_uv.cpu().numpy()
    points, other = uv.double().cpu().numpy(), mirror.cpu().numpy()
    edge_uv: dict[tuple[int, int], tuple[int, int]] = {}
    for row, uv_row in zip(face_rows.tolist(), uv_rows.tolist(), strict=True):
        for start in range(3):
            end = (start + 1) % 3
            edge_uv[row[start], row[end]] = (uv_row[start], uv_row[end])
    result = np.full((len(face_rows), 3, 2), np.nan)
    for index, row in enumerate(other[face_rows].tolist()):
        found = [-1, -1, -1]
        consistent = True
        for start in range(3):
            end = (start + 1) % 3
            # Mirroring turns the triangle over, so its edges run the other way.
            pair = edge_uv.get((row[end], row[start]))
            if pair is None:
                continue
            for corner, value in ((end, pair[0]), (start, pair[1])):
                consistent &= found[corner] in (-1, value)
                found[corner] = value
        if consistent and min(found) >= 0:
            result[index] = points[found]
    return torch.from_numpy(result).float()
