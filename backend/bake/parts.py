"""The parts of a head whose textures are made apart: eyes, teeth, tongue, mouth and lashes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

PARTS: dict[str, tuple[tuple[str, ...], tuple[int, int, int]]] = {
    "eyes": (("eye.L", "eye.R"), (226, 220, 216)),
    "teeth": (("teeth_upper", "teeth_lower"), (222, 212, 194)),
    "tongue": (("tongue",), (176, 98, 96)),
    "mouth": (("mouth",), (92, 40, 40)),
    "lashes": (("lashes",), (38, 28, 24)),
}
"""Parts that are completed apart from the skin: the head's regions and the sRGB colour of a part
that no frame shows. The cards of the lashes take what the picture shows at their place: mostly the
lid and the eye between the hairs."""

INNER = ("eyes", "teeth", "tongue", "mouth")
"""Parts that lie within others: they are seen through narrow gaps, so they keep a smaller distance
from outlines, and few good frames serve them better than the mean of many."""

USUAL = {"eyes": (0.5, 0.9), "teeth": (0.5, 0.9), "mouth": (0.05, 0.3), "lashes": (0.1, 0.5)}
"""Quantiles of the brightness that was seen of a part, between which its usual colour is taken."""


def vertices_in(
    regions: Mapping[str, Any], names: tuple[str, ...], n_vertices: int, device: torch.device
) -> Tensor:
    """(N,) bool: vertices in one of the regions that there are."""
    chosen = torch.zeros(n_vertices, dtype=torch.bool, device=device)
    for name in names:
        if name in regions:
            chosen[torch.as_tensor(regions[name], device=device).long()] = True
    return chosen


def faces_in(
    faces: Tensor, regions: Mapping[str, Any], names: tuple[str, ...], n_vertices: int
) -> Tensor:
    """(T,) bool: faces whose first corner is in one of the regions."""
    return vertices_in(regions, names, n_vertices, faces.device)[faces[:, 0]]


def part_of_faces(faces: Tensor, regions: Mapping[str, Any], n_vertices: int) -> Tensor:
    """Part of every face (T,): 0 skin, then 1 + the place in `PARTS`."""
    of_vertex = torch.zeros(n_vertices, dtype=torch.int64, device=faces.device)
    for index, (names, _) in enumerate(PARTS.values()):
        for name in names:
            if name in regions:
                of_vertex[torch.as_tensor(regions[name], device=faces.device).long()] = index + 1
    return of_vertex[faces[:, 0]]
