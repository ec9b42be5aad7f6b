"""Exact test of points against the triangles in front of them, for vertices and landmarks."""

from __future__ import annotations

import torch
from torch import Tensor

CELLS = 128
"""Cells along each axis of the grid that pairs points with triangles."""


def hidden_by_mesh(
    points_px: Tensor,
    vertices_px: Tensor,
    faces: Tensor,
    tolerance: Tensor | float,
    near: float = 1e-3,
) -> Tensor:
    """How far points are hidden behind a mesh, 0 (in front of it or on it) to 1.

    points_px: (..., P, 3) and vertices_px: (..., N, 3), x, y in pixels and z in metres (see
    `rasterizer.to_pixels`), of any number of frames at once. faces: (T, 3). tolerance: metres along
    z, (...,) or one for all; a point that lies this far behind the nearest triangle gets 0.5, twice
    as far 1. near: triangles with a corner nearer than this are left out. Returns (..., P). It is
    what a depth buffer of unlimited resolution would say: the ray of a point meets a triangle where
    the point's pixel lies in its outline.
    """
    shape = points_px.shape[:-1]
    points = points_px.double().reshape(-1, *points_px.shape[-2:])
    corners = vertices_px.double().reshape(len(points), -1, 3)[:, faces]
    frames, n_points = points.shape[:2]
    result = points.new_zeros(frames * n_points)
    in_front = torch.isfinite(corners).all(-1).all(-1) & (corners[..., 2] >= near).all(-1)
    usable = torch.isfinite(points).all(-1)
    points = points.reshape(-1, 3)
    of_point, of_triangle = usable.nonzero()[:, 0], in_front.nonzero()[:, 0]
    point_index, corners = usable.reshape(-1).nonzero()[:, 0], corners[in_front]
    if len(point_index) == 0 or len(corners) == 0:
        return result.reshape(shape).to(points_px.dtype)
    triangle, point = _pairs(
        points[point_index, :2], corners[..., :2], of_point, of_triangle, frames
    )
    frame, point = of_point[point], point_index[point]

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
    slack = torch.as_tensor(tolerance, dtype=p.dtype, device=p.device).expand(shape[:-1])
    behind = ((p[:, 2] - surface) / (2 * slack.reshape(-1)[frame])).clamp(0, 1)
    behind = torch.where(inside, behind, torch.zeros_like(behind))
    result.scatter_reduce_(0, point, behind, "amax")
    return result.reshape(shape).to(points_px.dtype)


def _pairs(
    points: Tensor, corners: Tensor, of_point: Tensor, of_triangle: Tensor, frames: int
) -> tuple[Tensor, Tensor]:
    """Indices (M,), (M,) of triangles (T, 3, 2) and points (P, 2) that may meet.

    of_point: (P,) and of_triangle: (T,) frame of each; every frame has a grid of its own.
    """
    low = points.new_full((frames, 2), float("inf"))
    high = points.new_full((frames, 2), float("-inf"))
    both = of_point[:, None].expand(-1, 2)
    low, high = (
        low.scatter_reduce(0, both, points, "amin"),
        high.scatter_reduce(0, both, points, "amax"),
    )
    cell = (high - low).clamp(min=1e-9) / CELLS
    column, row = ((points - low[of_point]) / cell[of_point]).long().clamp(0, CELLS - 1).unbind(-1)
    bin_of_point = (of_point * CELLS + row) * CELLS + column
    order = bin_of_point.argsort()
    count = torch.bincount(bin_of_point, minlength=frames * CELLS * CELLS)
    start = count.cumsum(0) - count

    least, most = corners.amin(1), corners.amax(1)
    meets_frame = (most >= low[of_triangle]) & (least <= high[of_triangle])
    overlap = meets_frame.all(-1).nonzero()[:, 0]
    least, most, own = least[overlap], most[overlap], of_triangle[overlap]
    first = ((least - low[own]) / cell[own]).floor().clamp(0, CELLS - 1).long()
    last = ((most - low[own]) / cell[own]).floor().clamp(0, CELLS - 1).long()
    size = last - first + 1
    box, position = _expand(size.prod(-1))
    across = size[box, 0]
    at_row = own[box] * CELLS + first[box, 1] + position // across
    bin_ = at_row * CELLS + first[box, 0] + position % across
    owner, position = _expand(count[bin_])
    point = order[start[bin_[owner]] + position]
    box = box[owner]
    meets = ((points[point] >= least[box]) & (points[point] <= most[box])).all(-1)
    return overlap[box[meets]], point[meets]


def _expand(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Owner and position within the owner for `counts` items each."""
    device = counts.device
    owner = torch.repeat_interleave(torch.arange(len(counts), device=device), counts)
    start = counts.cumsum(0) - counts
    return owner, torch.arange(len(owner), device=device) - start[owner]
