"""Normal equations of energies over pixels, frames and cameras at a time, without large Jacobians.

An energy over pixels gives a gradient and a curvature at each pixel. The gradient is pulled back
through the points once (the reverse of posing them). The curvature is factored at every point
(`views.point_rows`) and pushed through the points' Jacobian J: for the frames' blocks J'J, for the
border J'I, where I = P Q is the Jacobian by identity, Q the same in all frames. Identity's own
block is then sum_k Q_k' (sum_f P_fk' P_fk) Q_k, 15 x 15 sums over frames first: its cost does not
grow with the frames.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import terms
from .posed_points import Posed, PosedPoints, RowJacobian
from .solver import NormalEquations
from .state import CAMERA_SIZE, State
from .views import PointRows, Views, pixels_of, point_rows, views_of

# Frames whose Jacobians are held at once: they stay in the cache, and memory does not grow.
CHUNK = 16


def add_pixels(
    equations: NormalEquations, points: PosedPoints, state: State, centres: Tensor,
    target: terms.Target, weight: float, moving: Tensor, gain: Tensor | None, shared: bool,
) -> None:  # fmt: skip
    """Add the landmark term, and what of the temporal term concerns a single frame.

    The temporal term's residual is gain (x_next - x_this) over the points `moving`: its products
    of a frame with itself are a curvature like any other; `add_motion` adds those of two frames.
    """
    frames = len(state.expression)
    step = max(1, CHUNK // state.n_cameras) if state.n_cameras > 1 else CHUNK
    motion = None
    if gain is not None:
        motion = _Motion(_moving_pixels(points.subset(moving), state, centres, frames), gain)
    totals = _IdentityTotals.of(points) if shared else None
    for start in range(0, frames, step):
        rows = slice(start, min(start + step, frames))
        part = state.frames(rows)
        posed = points.pose(part)
        views = views_of(posed.points, part, centres)
        pull, curvature = terms.landmark_derivatives(views.pixels, target.frames(rows), weight)
        if motion is not None:
            pull[:, :, moving] += motion.pull[rows]
            curvature = _raise(curvature, moving, motion.curvature[rows])
        _add_gradient(equations, points, posed, views, pull, rows, shared)
        seen_rows = point_rows(views, curvature)
        jacobian = points.rows(posed, seen_rows.through, shared, seen_rows.by_zoom)
        _add_curvature(equations, jacobian, seen_rows, rows, totals, len(state.identity))
        if shared and len(state.offset) > 0:
            _add_offsets(equations, points, jacobian, seen_rows, rows, state)
    if totals is not None:
        k = len(state.identity)
        equations.shared[:k, :k] += totals.block(points)
        if len(state.offset) > 0:
            totals.add_offsets(equations, points, state)


def add_motion(
    equations: NormalEquations, points: PosedPoints, state: State, centres: Tensor, gain: Tensor,
    shared: bool,
) -> None:  # fmt: skip
    """Add the temporal term's products of a frame with the next, over its points.

    With t = gain^2 they are -t J_f' A_f' A_n J_n for frames f and n = f + 1, A being a pixel's
    derivative by its point, and so for the border.
    """
    frames, k = len(state.expression), len(state.identity)
    assert equations.coupling is not None
    mixed = _IdentityTotals.of(points) if shared else None
    for start in range(0, frames - 1, CHUNK):
        rows = slice(start, min(start + CHUNK, frames - 1))
        part = state.frames(slice(rows.start, rows.stop + 1))
        posed = points.pose(part)
        views = views_of(posed.points, part, centres)
        pair = _Pair.of(points, posed, views, -gain[rows].square(), shared)
        after = slice(rows.start + 1, rows.stop + 1)
        equations.coupling[rows] += pair.this.own.transpose(-1, -2) @ pair.to_next.own
        if mixed is None:
            continue
        for at, side, other in (
            (rows, pair.this, pair.to_next), (after, pair.next, pair.to_this),
        ):  # fmt: skip
            assert side.identity is not None and other.identity is not None
            turned = side.own.transpose(-1, -2)
            equations.border[at, :, :k] += turned @ other.identity
            equations.border[at, :, k:] += turned @ other.camera
            across = torch.einsum("fri,frj->ij", side.identity, other.camera)
            equations.shared[:k, k:] += across
            equations.shared[k:, :k] += across.T
        mixed.add(pair.this.factor, pair.to_next.factor)
        _add_camera_blocks(equations, pair.cameras + pair.cameras.transpose(-1, -2), k)
    if mixed is not None:
        block = mixed.block(points)
        equations.shared[:k, :k] += block + block.T


class _Motion:
    """The temporal term's gradient and curvature at the pixels (F,C,n,2) of its points."""

    def __init__(self, pixels: Tensor, gain: Tensor) -> None:
        square = gain.square()
        flow = square[:, None, None, None] * (pixels[1:] - pixels[:-1])
        self.pull = torch.zeros_like(pixels)
        self.pull[:-1] -= flow
        self.pull[1:] += flow
        self.curvature = square.new_zeros(len(pixels))
        self.curvature[:-1] += square
        self.curvature[1:] += square


def _moving_pixels(points: PosedPoints, state: State, centres: Tensor, frames: int) -> Tensor:
    parts = []
    for start in range(0, frames, 64):
        part = state.frames(slice(start, start + 64))
        parts.append(pixels_of(points.pose(part).points, part, centres))
    return torch.cat(parts)


def _raise(curvature: Tensor, moving: Tensor, by: Tensor) -> Tensor:
    """Curvature (F,C,L) or (F,C,L,2,2) with `by` (F,) more at the points moving."""
    if curvature.ndim == 3:
        curvature[:, :, moving] += by[:, None, None]
    else:
        eye = torch.eye(2, dtype=by.dtype, device=by.device)
        curvature[:, :, moving] += by[:, None, None, None, None] * eye
    return curvature


def _add_gradient(
    equations: NormalEquations, points: PosedPoints, posed: Posed, views: Views, pull: Tensor,
    rows: slice, shared: bool,
) -> None:  # fmt: skip
    by_point = (views.by_point * pull[..., None]).sum((1, -2))
    own, identity, at_rest = points.pull_back(posed, by_point)
    by_camera = (views.by_camera * pull[..., None]).sum((2, -2))
    equations.block_gradient[rows, :-1] += own
    equations.block_gradient[rows, -1] += by_camera[..., 0].sum(1)
    if shared:
        k = len(identity)
        cameras = slice(k, k + by_camera.shape[1] * CAMERA_SIZE)
        equations.shared_gradient[:k] += identity
        equations.shared_gradient[cameras] += by_camera.sum(0).flatten()
        offsets = equations.shared_gradient[cameras.stop :]
        if points.offset_scale is not None:
            offsets += points.offset_scale * at_rest.flatten()[: len(offsets)]


def _add_curvature(
    equations: NormalEquations, jacobian: RowJacobian, seen: PointRows, rows: slice,
    totals: _IdentityTotals | None, k: int,
) -> None:  # fmt: skip
    own = jacobian.by_frame.flatten(1, 2)
    turned = own.transpose(-1, -2)
    equations.block[rows] += turned @ own
    if totals is None:
        return
    assert jacobian.by_identity is not None and jacobian.factor is not None
    identity, camera = jacobian.by_identity.flatten(1, 2), seen.by_camera.flatten(1, 2)
    cameras = slice(k, k + camera.shape[-1])
    equations.border[rows, :, :k] += turned @ identity
    equations.border[rows, :, cameras] += turned @ camera
    across = (identity.transpose(-1, -2) @ camera).sum(0)
    equations.shared[:k, cameras] += across
    equations.shared[cameras, :k] += across.T
    totals.add(jacobian.factor, jacobian.factor)
    _add_camera_blocks(equations, seen.camera_block, k)


def _add_offsets(
    equations: NormalEquations, points: PosedPoints, jacobian: RowJacobian, seen: PointRows,
    rows: slice, state: State,
) -> None:  # fmt: skip
    """Add what offsets share with frames and cameras: each sees its own landmark's rows alone."""
    assert jacobian.factor is not None and points.offset_scale is not None
    count, cameras = len(state.offset), state.camera_columns
    # (F,L,r,3)
    own = points.offset_scale * jacobian.factor[:count, :, :, :3].permute(2, 0, 1, 3)
    by_frame = jacobian.by_frame[:, :count]
    mixed = by_frame.transpose(-1, -2) @ own
    equations.border[rows, :, cameras.stop :] += mixed.permute(0, 2, 1, 3).flatten(2)
    across = (seen.by_camera[:, :count].transpose(-1, -2) @ own).sum(0)
    across = across.permute(1, 0, 2).flatten(1)
    equations.shared[cameras, cameras.stop :] += across
    equations.shared[cameras.stop :, cameras] += across.T


def _add_camera_blocks(equations: NormalEquations, blocks: Tensor, k: int) -> None:
    """Add (C,7,7) to the cameras' places of the shared block."""
    for c, block in enumerate(blocks):
        at = slice(k + c * CAMERA_SIZE, k + (c + 1) * CAMERA_SIZE)
        equations.shared[at, at] += block


class _IdentityTotals:
    """Sums over frames of the factors' products, (L,15,15)."""

    def __init__(self, total: Tensor) -> None:
        self._total = total

    @classmethod
    def of(cls, points: PosedPoints) -> _IdentityTotals:
        return cls(points.template.new_zeros(len(points.template), 15, 15))

    def add(self, left: Tensor | None, right: Tensor | None) -> None:
        """Add sum over rows and frames of left' right, factors (L,r,F,15)."""
        assert left is not None and right is not None
        self._total += left.flatten(1, 2).transpose(-1, -2) @ right.flatten(1, 2)

    def add_offsets(self, equations: NormalEquations, points: PosedPoints, state: State) -> None:
        """Add the offsets' own blocks, and what they share with identity."""
        count, k, at = len(state.offset), len(state.identity), state.camera_columns.stop
        scale = points.offset_scale
        assert scale is not None
        own = scale * scale * self._total[:count, :3, :3]
        blocks = equations.shared[at:, at:].view(count, 3, count, 3)
        blocks.diagonal(dim1=0, dim2=2).add_(own.permute(1, 2, 0))
        fixed = points.identity_factor()[:count]
        mixed = scale * (self._total[:count, :3] @ fixed)
        equations.shared[at:, :k] += mixed.flatten(0, 1)
        equations.shared[:k, at:] += mixed.flatten(0, 1).T

    def block(self, points: PosedPoints) -> Tensor:
        """(K,K): through what of identity's Jacobian no frame changes."""
        fixed = points.identity_factor()
        return fixed.flatten(0, 1).T @ (self._total @ fixed).flatten(0, 1)


class _Side:
    """Jacobians of frames' rows, (F,R,...) each."""

    def __init__(self, jacobian: RowJacobian, camera: Tensor, frames: slice) -> None:
        self.own = jacobian.by_frame[frames].flatten(1, 2)
        identity = jacobian.by_identity
        self.identity = None if identity is None else identity[frames].flatten(1, 2)
        self.camera = camera.flatten(1, 2)
        factor = jacobian.factor
        self.factor = None if factor is None else factor[:, :, frames]


class _Pair:
    """Frames with those after them: left times right is the mixed curvature."""

    def __init__(self, this: _Side, to_next: _Side, next: _Side, to_this: _Side, cameras: Tensor):
        self.this, self.to_next, self.next, self.to_this = this, to_next, next, to_this
        self.cameras = cameras

    @classmethod
    def of(
        cls, points: PosedPoints, posed: Posed, views: Views, weight: Tensor, shared: bool
    ) -> _Pair:
        """weight (F-1,) of the products, 0 where frames do not belong together."""
        first, last = slice(None, -1), slice(1, None)
        t = weight[:, None, None, None]
        seen = views.by_camera
        cameras = torch.einsum("f,fclai,fclaj->cij", weight, seen[first], seen[last])
        if views.pixels.shape[1] == 1:
            # One camera: rows are pixels.
            through, camera = views.by_point[:, 0], seen[:, 0]
            jacobian = points.rows(posed, through, shared, camera[..., :1])
            sides = [_Side(jacobian, camera[s], s) for s in (first, last)]
            scaled = [_Side(_times(jacobian, s, weight), t * camera[s], slice(None))
                      for s in (last, first)]  # fmt: skip
            return cls(sides[0], scaled[0], sides[1], scaled[1], cameras)
        # Several: rows are points, and what lies between is a 3 x 3 matrix a point.
        eye = torch.eye(3).to(posed.points).expand(*posed.points.shape, 3)
        none = torch.zeros_like(posed.points)[..., None]
        jacobian = points.rows(posed, eye.contiguous(), shared, none)
        turned = views.by_point.transpose(-1, -2)
        between = t * (turned[first] @ views.by_point[last]).sum(1)
        to_next = t[..., None] * (turned[first] @ seen[last])
        to_this = t[..., None] * (turned[last] @ seen[first])
        cameras_next, cameras_this = (
            x.permute(0, 2, 3, 1, 4).flatten(-2) for x in (to_next, to_this)
        )
        return cls(
            _Side(jacobian, cameras_next * 0, first),
            _Side(_mapped(jacobian, last, between), cameras_next, slice(None)),
            _Side(jacobian, cameras_this * 0, last),
            _Side(_mapped(jacobian, first, between.transpose(-1, -2)), cameras_this, slice(None)),
            cameras,
        )  # fmt: skip


def _times(jacobian: RowJacobian, frames: slice, weight: Tensor) -> RowJacobian:
    """Some frames' rows, each times its frame's weight."""
    t = weight[:, None, None, None]
    identity, factor = jacobian.by_identity, jacobian.factor
    return RowJacobian(
        t * jacobian.by_frame[frames],
        None if identity is None else t * identity[frames],
        None if factor is None else weight[:, None] * factor[:, :, frames],
    )


def _mapped(jacobian: RowJacobian, frames: slice, matrix: Tensor) -> RowJacobian:
    """Some frames' point rows (F,L,3,.) multiplied from the left by matrices (F,L,3,3)."""
    identity, factor = jacobian.by_identity, jacobian.factor
    turned = None
    if factor is not None:
        turned = (matrix @ factor[:, :, frames].permute(2, 0, 1, 3)).permute(1, 2, 0, 3)
    return RowJacobian(
        matrix @ jacobian.by_frame[frames],
        None if identity is None else matrix @ identity[frames],
        turned,
    )
