"""What C cameras see of points, and what rows an energy over their pixels gives those points.

x = Pi_c (R_c p + t_c), Wood et al., section 3.2: one focal length a camera, times a frame's zoom.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from backend.geometry.cameras import project, project_jacobian

from .state import State

# Of a point's curvature, so that points that nobody sees have a factor, too.
LEAST = 1e-9


@dataclass(frozen=True)
class Views:
    """Projections of F frames in C cameras with their derivatives."""

    pixels: Tensor
    """(F,C,L,2)"""
    by_point: Tensor
    """(F,C,L,2,3) by the point in the world."""
    by_camera: Tensor
    """(F,C,L,2,7) by log focal, rotation and translation of the camera; the first also by zoom."""


def pixels_of(points: Tensor, state: State, centres: Tensor) -> Tensor:
    """Projections (F,C,L,2) of points (F,L,3); centres (C,2) are the principal points."""
    if state.n_cameras == 1:
        local = (points @ state.camera_rotmat[0].T + state.camera_translation[0])[:, None]
    else:
        turned = points[:, None] @ state.camera_rotmat.transpose(-1, -2)
        local = turned + state.camera_translation[:, None]
    return project(local, _focal(state), centres[:, None])


def views_of(points: Tensor, state: State, centres: Tensor) -> Views:
    """Projections of points (F,L,3) and their derivatives."""
    turned = points[:, None] @ state.camera_rotmat.transpose(-1, -2)
    local = turned + state.camera_translation[:, None]
    focal = _focal(state)
    by_local, by_focal = project_jacobian(local, focal)
    # a . (delta x p) = delta . (p x a)
    turn = torch.linalg.cross(turned[..., None, :].expand_as(by_local), by_local)
    return Views(
        project(local, focal, centres[:, None]),
        by_local @ state.camera_rotmat[:, None],
        torch.cat([by_focal[..., None], turn, by_local], -1),
    )


def _focal(state: State) -> Tensor:
    return (state.log_focal + state.zoom[:, None]).exp()[..., None, None]


@dataclass(frozen=True)
class PointRows:
    """A quadratic in the pixels as one in the points: rows r = 2 for one camera, 3 for several.

    The curvature is factored at every point, sum_c A_c' C_c A_c = through' through: the frames'
    blocks cost the same whether one camera looks on or seventeen.
    """

    through: Tensor
    """(F,L,r,3)"""
    by_camera: Tensor
    """(F,L,r,7C) such that through' by_camera is the mixed curvature."""
    by_zoom: Tensor
    """(F,L,r,1); 0 for several cameras, which have no zoom."""
    camera_block: Tensor
    """(C,7,7) curvature by each camera's own parameters."""


def point_rows(views: Views, curvature: Tensor) -> PointRows:
    """Rows of a curvature (F,C,L), the same in x and y, or (F,C,L,2,2)."""
    if curvature.ndim == 5:
        weighted = curvature @ views.by_camera
    else:
        weighted = curvature[..., None, None] * views.by_camera
    block = torch.einsum("fclai,fclaj->cij", views.by_camera, weighted)
    if views.pixels.shape[1] == 1:
        through, camera = views.by_point[:, 0], views.by_camera[:, 0]
        if curvature.ndim == 5:
            root = _upper_cholesky(curvature[:, 0])
            through, camera = root @ through, root @ camera
        else:
            gain = curvature[:, 0].sqrt()[..., None, None]
            through, camera = gain * through, gain * camera
        return PointRows(through, camera, camera[..., :1], block)
    turned = views.by_point.transpose(-1, -2)
    own = curvature @ views.by_point if curvature.ndim == 5 else (
        curvature[..., None, None] * views.by_point
    )  # fmt: skip
    through = _upper_cholesky((turned @ own).sum(1))
    mixed = (turned @ weighted).permute(0, 2, 3, 1, 4).flatten(-2)
    camera = torch.linalg.solve_triangular(through.transpose(-1, -2), mixed, upper=False)
    return PointRows(through, camera, torch.zeros_like(through[..., :1]), block)


def _upper_cholesky(matrix: Tensor) -> Tensor:
    """U (...,n,n), n 2 or 3, with U' U = matrix; a little is added where it has no rank."""
    n = matrix.shape[-1]
    trace = matrix.diagonal(dim1=-2, dim2=-1).sum(-1)
    floor = (LEAST * trace).clamp_min(1e-20)
    rows: list[list[Tensor]] = []
    for i in range(n):
        pivot = matrix[..., i, i] - sum((r[i].square() for r in rows), torch.zeros_like(trace))
        root = torch.maximum(pivot, floor).sqrt()
        row = [torch.zeros_like(trace)] * i + [root]
        for j in range(i + 1, n):
            dot = sum((r[i] * r[j] for r in rows), torch.zeros_like(trace))
            row.append((matrix[..., i, j] - dot) / root)
        rows.append(row)
    return torch.stack([torch.stack(row, -1) for row in rows], -2)
