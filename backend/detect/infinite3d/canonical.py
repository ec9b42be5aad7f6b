"""Queries: points on the canonical head, by their place in its UV layout."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from backend.bake.texels import build_texel_map
from backend.head import Head
from backend.head.landmarks import LandmarkLayout, layout

MAP_SIZE = 256
# Closed lips and lids would put points of different surfaces at one place of the canonical head.
_OPEN = {"jawOpen": 0.6, "eyeWideLeft": 0.7, "eyeWideRight": 0.7}
_UNIT = 0.1
"""Metres that make one unit of a query's coordinates."""


@dataclass(frozen=True)
class Queries:
    """K points on the canonical head."""

    uv: Tensor
    """(K,2) in [0,1], the head's texture layout, v up."""
    canonical: Tensor
    """(K,3) p_k on the canonical head (its mouth and eyes open), units of 0.1 m."""
    mean: Tensor
    """(K,3) m_k on the mean head, metres."""

    def __len__(self) -> int:
        return len(self.uv)

    def to(self, device: torch.device | str) -> Queries:
        """The same on a device."""
        return Queries(self.uv.to(device), self.canonical.to(device), self.mean.to(device))

    def __getitem__(self, index: Tensor | slice) -> Queries:
        """Some of them."""
        return Queries(self.uv[index], self.canonical[index], self.mean[index])


def join(*parts: Queries) -> Queries:
    """Several sets of queries, one after the other."""
    return Queries(
        torch.cat([p.uv for p in parts]),
        torch.cat([p.canonical for p in parts]),
        torch.cat([p.mean for p in parts]),
    )


class CanonicalHead:
    """The canonical shape C, its position map, and queries on it."""

    def __init__(self, head: Head) -> None:
        expression = torch.zeros(head.n_expression)
        for name, value in _OPEN.items():
            expression[head.expression_names.index(name)] = value
        self.mean = head.template.float()
        self.open = head.shape(torch.zeros(head.n_identity), expression).float() / _UNIT
        self.head = head
        texels = build_texel_map(head.uv, head.face_uv, MAP_SIZE)
        points = texels.interpolate(self.open[head.faces], torch.arange(len(texels.position)))
        owner = torch.zeros(MAP_SIZE * MAP_SIZE, dtype=torch.long)
        owner[texels.position] = torch.arange(len(texels.position))
        nearest = owner[_nearest(texels.position)]
        self.position_map = points[nearest].reshape(MAP_SIZE, MAP_SIZE, 3)

    def on_triangles(self, triangles: np.ndarray, barycentric: np.ndarray) -> Queries:
        """Queries at triangles (K,) with barycentric weights (K,3)."""
        triangle = torch.as_tensor(triangles, dtype=torch.long)
        weight = torch.as_tensor(barycentric, dtype=torch.float32)[..., None]
        faces, face_uv = self.head.faces[triangle], self.head.face_uv[triangle]
        return Queries(
            uv=(self.head.uv.float()[face_uv] * weight).sum(1),
            canonical=(self.open[faces] * weight).sum(1),
            mean=(self.mean[faces] * weight).sum(1),
        )

    def layout(self, name: str | LandmarkLayout) -> Queries:
        """The queries of a landmark layout; raises `BadInputError` for an unknown name."""
        chosen = layout(name) if isinstance(name, str) else name
        return self.on_triangles(chosen.triangles, chosen.barycentric)

    def uv_grid(self, size: int) -> tuple[Queries, Tensor]:
        """Queries at the texels of a size x size texture that lie on the head.

        Also returns their flat texel numbers (K,), the first row being at v = 1.
        """
        texels = build_texel_map(self.head.uv, self.head.face_uv, size)
        second, third = texels.weights.T.numpy()
        weights = np.stack([1 - second - third, second, third], 1)
        return self.on_triangles(texels.triangle.numpy(), weights), texels.position


@lru_cache(maxsize=1)
def canonical_head() -> CanonicalHead:
    """That of the shipped head."""
    return CanonicalHead(Head.load())


def _nearest(texels: Tensor) -> Tensor:
    """(S*S,) for every texel the nearest of those given (flat numbers)."""
    from scipy.ndimage import distance_transform_edt

    empty = np.ones(MAP_SIZE * MAP_SIZE, bool)
    empty[texels.numpy()] = False
    rows, columns = distance_transform_edt(
        empty.reshape(MAP_SIZE, MAP_SIZE), return_distances=False, return_indices=True
    )
    return torch.from_numpy((rows * MAP_SIZE + columns).reshape(-1))
