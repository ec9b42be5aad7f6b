"""What C cameras see of points, and what rows an energy over their pixels gives those points.

x = Pi_c (R_c p + t_c), Wood et al., section 3.2: one focal length a camera, times a frame's zoom.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from backend.geometry.cameras import NEAR

from .state import State

# Of a point's curvature, so that points that nobody sees have a factor, too.
LEAST = 1e-9


@dataclass(frozen=True)
class Views:
    """Projections of F frames in C cameras with their derivatives; points come last in memory."""

    pixels: Tensor
    """(F,C,L,2)"""
    by_point: Tensor
    """(F,C,2,3,L) by the point in the world."""
    by_camera: Tensor
    """(F,C,2,7,L) by log focal, rotation and translation of the camera; the first also by zoom.
    (F,1,2,1,L) for a single camera: the world is where it stands."""


def pixels_of(points: Tensor, state: State, centres: Tensor) -> Tensor:
    """Projections (F,C,L,2) of points (F,3,L); centres (C,2) are the principal points."""
    return _project(_local(points, state), state, centres)[0]


def views_of(points: Tensor, state: State, centres: Tensor) -> Views:
    """Projections of points (F,3,L) and their derivatives."""
    turned = state.camera_rotmat @ points[:, None]
    local = turned + state.camera_translation[:, :, None]
    pixels, x, y, by_depth = _project(local, state, centres)
    scale = _focal(state) * by_depth
    in_front = by_depth * (local[:, :, 2] > NEAR)
    by_local = local.new_zeros(*local.shape[:2], 2, 3, local.shape[-1])
    by_local[:, :, 0, 0] = by_local[:, :, 1, 1] = scale
    by_local[:, :, 0, 2] = -x * in_front
    by_local[:, :, 1, 2] = -y * in_front
    by_point = state.camera_rotmat.transpose(-1, -2)[:, None] @ by_local
    by_focal = torch.stack([x, y], 2)[:, :, :, None]
    if state.n_cameras == 1:
        return Views(pixels, by_point, by_focal)
    # a . (delta x p) = delta . (p x a)
    turn = torch.linalg.cross(turned[:, :, None].expand_as(by_local), by_local, dim=3)
    return Views(pixels, by_point, torch.cat([by_focal, turn, by_local], 3))


def _local(points: Tensor, state: State) -> Tensor:
    """(F,C,3,L) in the cameras' frames."""
    return state.camera_rotmat @ points[:, None] + state.camera_translation[:, :, None]


def _project(local: Tensor, state: State, centres: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pixels (F,C,L,2), and (F,C,L) each: offsets from the centre, and one over the depth.

    Nearer points than NEAR are projected as if they lay there.
    """
    by_depth = 1.0 / local[:, :, 2].clamp_min(NEAR)
    scale = _focal(state) * by_depth
    x, y = scale * local[:, :, 0], scale * local[:, :, 1]
    return torch.stack([x, y], -1) + centres[:, None], x, y, by_depth


def _focal(state: State) -> Tensor:
    """(F,C,1)"""
    return (state.log_focal + state.zoom[:, None]).exp()[..., None]


@dataclass(frozen=True)
class PointRows:
    """A quadratic in the pixels as one in the points: rows r = 2 for one camera, 3 for several.

    The curvature is factored at every point, sum_c A_c' C_c A_c = through' through: the frames'
    blocks cost the same whether one camera looks on or seventeen.
    """

    through: Tensor
    """(F,r,3,L)"""
    by_camera: Tensor
    """(F,r,n,L), n = 1 or 7C, such that through' by_camera is the mixed curvature."""
    by_zoom: Tensor | None
    """(F,r,L); None for several cameras, which have no zoom."""
    camera_block: Tensor
    """(C,n,n) curvature by each camera's own parameters."""


def point_rows(views: Views, curvature: Tensor) -> PointRows:
    """Rows of a curvature (F,C,L), the same in x and y, or (F,C,L,2,2)."""
    if views.pixels.shape[1] == 1:
        through, camera = views.by_point[:, 0], views.by_camera[:, 0]
        if curvature.ndim == 5:
            root = _upper_cholesky(curvature[:, 0]).permute(0, 2, 3, 1)
            through, camera = _mapped(root, through), _mapped(root, camera)
        else:
            gain = curvature[:, 0].sqrt()[:, None, None]
            through, camera = gain * through, gain * camera
        block = camera.transpose(1, 2).flatten(2)
        block = (block @ block.transpose(-1, -2)).sum(0)
        return PointRows(through, camera, camera[:, :, 0], block[None])
    by_point, by_camera = (x.movedim(-1, 2) for x in (views.by_point, views.by_camera))
    matrix = curvature if curvature.ndim == 5 else None
    weighted, own = (
        curvature[..., None, None] * x if matrix is None else matrix @ x
        for x in (by_camera, by_point)
    )
    block = torch.einsum("fclai,fclaj->cij", by_camera, weighted)
    turned = by_point.transpose(-1, -2)
    through = _upper_cholesky((turned @ own).sum(1))
    mixed = (turned @ weighted).permute(0, 2, 3, 1, 4).flatten(-2)
    camera = torch.linalg.solve_triangular(through.transpose(-1, -2), mixed, upper=False)
    return PointRows(through.movedim(1, -1), camera.movedim(1, -1), None, block)


def _mapped(matrix: Tensor, rows: Tensor) -> Tensor:
    """(F,2,2,L) times (F,2,n,L) at every point."""
    return matrix[:, :, 0, None] * rows[:, None, 0] + matrix[:, :, 1, None] * rows[:, None, 1]


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
