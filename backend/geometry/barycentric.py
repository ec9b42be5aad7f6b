"""Points on triangles: interpolation, closest points and sampling."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor


def interpolate_on_triangles(attributes: Tensor, triangles: Tensor, barycentric: Tensor) -> Tensor:
    """Values at points that are given as a triangle and three weights.

    attributes: (..., N, C) per vertex. triangles: (L, 3) vertex indices. barycentric: (L, 3)
    weights that sum to one. Returns (..., L, C), differentiable in attributes and weights.
    """
    assert triangles.shape == barycentric.shape and triangles.shape[-1] == 3
    corners = attributes[..., triangles, :]
    return (corners * barycentric.to(attributes)[..., None]).sum(-2)


def barycentric_of(points: Tensor, corners: Tensor) -> Tensor:
    """Barycentric weights of the projection of points on their triangle's plane.

    points: (..., 3). corners: (..., 3, 3), one corner a row. Returns (..., 3); weights outside
    0 to 1 mean that the projection lies outside the triangle. A triangle without area gives nan.
    """
    assert points.shape[-1] == 3 and corners.shape[-2:] == (3, 3)
    edge_1 = corners[..., 1, :] - corners[..., 0, :]
    edge_2 = corners[..., 2, :] - corners[..., 0, :]
    offset = points - corners[..., 0, :]
    d11, d12, d22 = _dot(edge_1, edge_1), _dot(edge_1, edge_2), _dot(edge_2, edge_2)
    o1, o2 = _dot(offset, edge_1), _dot(offset, edge_2)
    determinant = d11 * d22 - d12 * d12
    second = (d22 * o1 - d12 * o2) / determinant
    third = (d11 * o2 - d12 * o1) / determinant
    return torch.stack((1 - second - third, second, third), -1)


def closest_on_triangle(points: Tensor, corners: Tensor) -> tuple[Tensor, Tensor]:
    """Closest point of a triangle to a point.

    points: (..., 3). corners: (..., 3, 3), one corner a row; the leading dimensions broadcast.
    Returns the closest points (..., 3) and their barycentric weights (..., 3), all within 0 to 1.
    Triangles without area fall back to their edges. After Ericson, Real-Time Collision Detection,
    section 5.1.5: the plane's foot point where it is inside, else the nearest of the three edges.
    """
    shape = torch.broadcast_shapes(points.shape[:-1], corners.shape[:-2])
    points, corners = points.expand(*shape, 3), corners.expand(*shape, 3, 3)
    inner = barycentric_of(points, corners)
    inside = (inner >= 0).all(-1)  # false for nan as well

    candidates, distances = [], []
    for start in range(3):
        end = (start + 1) % 3
        edge = corners[..., end, :] - corners[..., start, :]
        length = _dot(edge, edge).clamp(min=torch.finfo(points.dtype).tiny)
        along = (_dot(points - corners[..., start, :], edge) / length).clamp(0, 1)
        weights = torch.zeros(*shape, 3, dtype=points.dtype, device=points.device)
        weights[..., start], weights[..., end] = 1 - along, along
        gap = points - corners[..., start, :] - along[..., None] * edge
        candidates.append(weights)
        distances.append(_dot(gap, gap))
    nearest = torch.stack(distances, -1).argmin(-1)[..., None, None]
    on_edge = torch.stack(candidates, -2).gather(-2, nearest.expand(*shape, 1, 3))[..., 0, :]
    weights = torch.where(inside[..., None], inner, on_edge)
    return (corners * weights[..., None]).sum(-2), weights


def closest_on_mesh(
    points: Tensor, vertices: Tensor, faces: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Closest point of a triangle mesh to every point, exact.

    points: (P, 3), vertices: (N, 3), same frame and unit; faces: (T, 3). Returns the closest
    points (P, 3), their triangle (P,) int64 and barycentric weights (P, 3). Triangles come from a
    k-d tree over their centres, searched as far as the largest triangle makes necessary.
    """
    assert points.ndim == 2 and vertices.ndim == 2 and faces.ndim == 2
    used = faces.unique()
    bound = cKDTree(vertices[used].detach().cpu().numpy()).query(points.detach().cpu().numpy())[0]
    corners = vertices[faces]
    centers = corners.mean(1)
    reach = float((corners - centers[:, None]).norm(dim=-1).max())
    lists = cKDTree(centers.detach().cpu().numpy()).query_ball_point(
        points.detach().cpu().numpy(), bound * (1 + 1e-6) + reach
    )
    counts = torch.from_numpy(np.fromiter((len(found) for found in lists), np.int64, len(lists)))
    candidate = torch.from_numpy(np.concatenate([np.asarray(found, np.int64) for found in lists]))
    owner = torch.repeat_interleave(torch.arange(len(points)), counts)

    best_distance = torch.full((len(points),), torch.inf, dtype=points.dtype)
    best_face = torch.zeros(len(points), dtype=torch.int64)
    for begin in range(0, len(candidate), 500_000):
        part = slice(begin, begin + 500_000)
        closest, _ = closest_on_triangle(points[owner[part]], corners[candidate[part]])
        distance = (closest - points[owner[part]]).norm(dim=-1)
        lowest = best_distance.scatter_reduce(0, owner[part], distance, "amin")
        improved = (distance == lowest[owner[part]]) & (distance < best_distance[owner[part]])
        best_face[owner[part][improved]] = candidate[part][improved]
        best_distance = lowest
    closest, weights = closest_on_triangle(points, corners[best_face])
    return closest, best_face, weights


def sample_surface(
    vertices: Tensor, faces: Tensor, count: int, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Points spread evenly over the area of a mesh.

    vertices: (N, 3), faces: (T, 3), count: number of points. Returns the triangles (count,) int64
    and barycentric weights (count, 3), for `interpolate_on_triangles(x, faces[triangles], w)`.
    """
    corners = vertices[faces]
    normal = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    triangles = torch.multinomial(normal.norm(dim=-1), count, replacement=True, generator=generator)
    root, split = torch.rand(2, count, generator=generator, dtype=vertices.dtype)
    root = root.sqrt()
    return triangles, torch.stack((1 - root, root * (1 - split), root * split), -1)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1)
