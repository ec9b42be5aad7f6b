"""Exact test of points against the triangles in front of them, for vertices and landmarks."""

from __future__ import annotations

import torch
from torch import Tensor

CELLS = 128
"""Cells along each axis of the grid that pairs points with triangles."""


def hidden_by_mesh(
    points_px: Tensor, vertices_px: Tensor, faces: Tensor, tolerance: float, near: float = 1e-3
) -> Tensor:
    """How far points are hidden behind a mesh, 0 (in front of it or on it) to 1.

    points_px: (P, 3) and vertices_px: (N, 3), x, y in pixels and z in metres (see
    `rasterizer.to_pixels`). faces: (T, 3). tolerance: metres along z; a point that lies this far
    behind the nearest triangle gets 0.5, twice as far 1. near: triangles with a corner nearer than
    this are left out. Returns (P,). It is what a depth buffer of unlimited resolution would say:
    the ray of a point meets a triangle where the point's pixel lies in its outline.
    """
    points, corners = points_px.double(), vertices_px.double()[faces]
    result = torch.zeros(len(points), dtype=torch.float64)
    in_front = torch.isfinite(corners).all(-1).all(-1) & (corners[..., 2] >= near).all(-1)
    usable = torch.isfinite(points).all(-1).nonzero()[:, 0]
    if len(usable) == 0 or not bool(in_front.any()):
        return result.to(points_px.dtype)
    corners = corners[in_front]
    triangle, point = _pairs(points[usable, :2], corners[..., :2])
    point = usable[point]

    p, c = points[point], corners[triangle]
    weights = []
    for a, b in ((1, 2), (2, 0), (0, 1)):
        side = (c[:, b, 0] - c[:, a, 0]) * (p[:, 1] - c[:, a, 1])
        side -= (c[:, b, 1] - c[:, a, 1]) * (p[:, 0] - c[:, a, 0])
        weights.append(side)
    edges = torch.stack(weights, -1)
    area = edges.sum(-1)
    inside = (edges * torch.sign(area)[:, None] >= 0).all(-1) & (area != 0)
    surface = area / (edges / c[..., 2]).sum(-1)
    behind = ((p[:, 2] - surface) / (2 * tolerance)).clamp(0, 1)
    behind = torch.where(inside, behind, torch.zeros_like(behind))
    return result.scatter_reduce_(0, point, behind, "amax").to(points_px.dtype)


def _pairs(points: Tensor, corners: Tensor) -> tuple[Tensor, Tensor]:
    """Indices (M,), (M,) of triangles (T, 3, 2) and points (P, 2) that may meet."""
    low, high = points.amin(0), points.amax(0)
    cell = (high - low).clamp(min=1e-9) / CELLS
    column, row = ((points - low) / cell).long().clamp(0, CELLS - 1).unbind(-1)
    of_point = row * CELLS + column
    order = of_point.argsort()
    count = torch.bincount(of_point, minlength=CELLS * CELLS)
    start = count.cumsum(0) - count

    least, most = corners.amin(1), corners.amax(1)
    overlap = ((most >= low) & (least <= high)).all(-1).nonzero()[:, 0]
    least, most = least[overlap], most[overlap]
    first = ((least - low) / cell).floor().clamp(0, CELLS - 1).long()
    last = ((most - low) / cell).floor().clamp(0, CELLS - 1).long()
    size = last - first + 1
    box, position = _expand(size.prod(-1))
    across = size[box, 0]
    bin_ = (first[box, 1] + position // across) * CELLS + first[box, 0] + position % across
    owner, position = _expand(count[bin_])
    point = order[start[bin_[owner]] + position]
    box = box[owner]
    meets = ((points[point] >= least[box]) & (points[point] <= most[box])).all(-1)
    return overlap[box[meets]], point[meets]


def _expand(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Owner and position within the owner for `counts` items each."""
    owner = torch.repeat_interleave(torch.arange(len(counts)), counts)
    start = counts.cumsum(0) - counts
    return owner, torch.arange(len(owner)) - start[owner]
