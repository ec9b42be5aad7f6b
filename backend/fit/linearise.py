"""Normal equations of energies over pixels, frames and cameras at a time, without large Jacobians.

An energy over pixels gives a gradient and a curvature at each pixel. The curvature is factored at
every point (`views.point_rows`) and pushed through the points' Jacobian (`rows.py`); the gradient
is pulled back through the points as one row more. Identity's own block is sum_k Q_k' (sum_f ...)
Q_k, small sums over frames first: its cost does not grow with the frames.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import terms
from .posed_points import Posed, PosedPoints
from .rows import CENTRES, Rows, Shared, Totals, border_products, frame_products
from .solver import NormalEquations
from .state import CAMERA_SIZE, State
from .views import Views, pixels_of, point_rows, views_of

# Frames whose Jacobians are held at once: they stay in the cache, and memory does not grow.
CHUNK = 32


def add_pixels(
    equations: NormalEquations, points: PosedPoints, state: State, centres: Tensor,
    target: terms.Target, weight: float, moving: Tensor, temporal: terms.Temporal | None,
    shared: bool,
) -> None:  # fmt: skip
    """Add the landmark term, and what of the temporal term concerns a single frame.

    The temporal term is over the points `moving`: its products of a frame with itself are a
    curvature like any other; `add_motion` adds those of two frames.
    """
    frames, cameras, k = len(state.expression), state.n_cameras, len(state.identity)
    step = max(1, CHUNK // cameras) if cameras > 1 else CHUNK
    motion = None
    if temporal is not None:
        motion = _Motion(_moving_pixels(points.subset(moving), state, centres, frames), temporal)
    columns = _camera_columns(state)
    border = totals = None
    if shared:
        border = points.shared(columns)
        totals = Totals(border)
    seen = state.camera_columns.stop
    pulled = points.template.new_zeros(3, len(points.template))
    for start in range(0, frames, step):
        at = slice(start, min(start + step, frames))
        part = state.frames(at)
        posed = points.pose(part)
        views = views_of(posed.points, part, centres)
        pull, curvature = terms.landmark_derivatives(views.pixels, target.frames(at), weight)
        if motion is not None:
            pull[:, :, moving] += motion.pull[at]
            curvature = _raise(curvature, moving, motion.curvature[at])
        seen_rows = point_rows(views, curvature)
        # The gradient is one row more: (F,3,L) by the points.
        pull = pull.permute(0, 1, 3, 2)
        by_point = (views.by_point * pull[:, :, :, None]).sum((1, 2))
        through = torch.cat([seen_rows.through, by_point[:, None]], 1)
        by_camera = seen_rows.by_camera if shared else None
        rows, last = points.rows(posed, through, seen_rows.by_zoom, by_camera).split()
        _add_gradient(equations, last, border, at)
        pulled += last.bound[:, 0].sum(0)
        equations.block_gradient[at, -1] += (views.by_camera[:, :, :, 0] * pull).sum((1, 2, 3))
        frame_products(rows, rows, equations.block[at])
        if border is None or totals is None:
            continue
        by_camera = (views.by_camera * pull[:, :, :, None]).sum((2, 4))
        n = by_camera.shape[-1]
        gradient = equations.shared_gradient[k : k + cameras * CAMERA_SIZE]
        gradient.view(cameras, CAMERA_SIZE)[:, :n] += by_camera.sum(0)
        offsets = equations.border[at, :, seen:] if len(state.offset) > 0 else None
        border_products(rows, rows, border, equations.border[at, :, : k + columns], offsets)
        totals.add(rows, rows)
        _add_camera_blocks(equations, seen_rows.camera_block, k)
    if border is not None and totals is not None:
        _add_totals(equations, totals.block(True), k)
        if len(state.offset) > 0:
            _add_offsets(equations, points, totals, pulled, state)


def add_motion(
    equations: NormalEquations, points: PosedPoints, state: State, centres: Tensor,
    temporal: terms.Temporal, shared: bool,
) -> None:  # fmt: skip
    """Add the temporal term's products of a frame with the next, over its points.

    With its curvature t they are -t J_f' A_f' A_n J_n for frames f and n = f + 1, A being a pixel's
    derivative by its point, and so for the border.
    """
    frames, k = len(state.expression), len(state.identity)
    columns = _camera_columns(state)
    assert equations.coupling is not None
    border = points.shared(columns) if shared else None
    totals = None if border is None else Totals(border)
    # Several cameras' columns are no rows of points, and are in the second of each pair alone.
    back = Totals(border) if border is not None and state.n_cameras > 1 else None
    for start in range(0, frames - 1, CHUNK):
        at = slice(start, min(start + CHUNK, frames - 1))
        after = slice(at.start + 1, at.stop + 1)
        part = state.frames(slice(at.start, at.stop + 1))
        posed = points.pose(part)
        views = views_of(posed.points, part, centres)
        weight = temporal.frames(at).derivatives(views.pixels)[1]
        pair = _Pair.of(points, posed, views, -weight, shared)
        frame_products(pair.this, pair.to_next, equations.coupling[at])
        if border is None or totals is None:
            continue
        border_products(pair.this, pair.to_next, border, equations.border[at, :, : k + columns])
        border_products(pair.next, pair.to_this, border, equations.border[after, :, : k + columns])
        totals.add(pair.this, pair.to_next)
        if back is not None:
            back.add(pair.next, pair.to_this)
        blocks = pair.cameras
        _add_camera_blocks(equations, blocks + blocks.transpose(-1, -2), k)
    if totals is not None:
        block = totals.block(False)
        if back is not None:
            block[:k, k:] += back.block(False)[:k, k:]
        _add_totals(equations, block + block.T, k)


def _camera_columns(state: State) -> int:
    """Shared parameters of the cameras that anything depends on: see `Views.by_camera`."""
    return 1 if state.n_cameras == 1 else CAMERA_SIZE * state.n_cameras


def _add_gradient(equations: NormalEquations, row: Rows, shared: Shared | None, at: slice) -> None:
    """Add what a single row (F,1,3,L), the gradient by the points, gives all but the cameras."""
    bound, basis = row.bound[:, 0], row.groups.basis
    e = len(basis)
    equations.block_gradient[at, :e] += bound.flatten(1) @ basis.flatten(1).T
    equations.block_gradient[at, e:] += row.pose.sum((2, 3))
    if shared is None:
        return
    k = shared.identity.shape[-1]
    gradient = shared.identity.flatten(0, 1).T @ bound.sum(0).flatten()
    centres = row.common[:, :CENTRES].sum((0, 2, 3))
    equations.shared_gradient[:k] += gradient + centres @ shared.common[:CENTRES, :k]


def _add_totals(equations: NormalEquations, block: Tensor, k: int) -> None:
    """Add (K+n,K+n) by what is shared, but for what cameras share with each other."""
    block[k:, k:] = 0.0
    size = len(block)
    equations.shared[:size, :size] += block


def _add_camera_blocks(equations: NormalEquations, blocks: Tensor, k: int) -> None:
    """Add (C,n,n) to the cameras' places of the shared block."""
    n = blocks.shape[-1]
    for c, block in enumerate(blocks):
        at = slice(k + c * CAMERA_SIZE, k + c * CAMERA_SIZE + n)
        equations.shared[at, at] += block


class _Motion:
    """The temporal term's gradient and curvature at the pixels (F,C,n,2) of its points."""

    def __init__(self, pixels: Tensor, temporal: terms.Temporal) -> None:
        flow, weight = temporal.derivatives(pixels)
        self.pull = torch.zeros_like(pixels)
        self.pull[:-1] -= flow
        self.pull[1:] += flow
        self.curvature = pixels.new_zeros(pixels.shape[:-1])
        self.curvature[:-1] += weight
        self.curvature[1:] += weight


def _moving_pixels(points: PosedPoints, state: State, centres: Tensor, frames: int) -> Tensor:
    parts = []
    for start in range(0, frames, 64):
        part = state.frames(slice(start, start + 64))
        parts.append(pixels_of(points.pose(part).points, part, centres))
    return torch.cat(parts)


def _raise(curvature: Tensor, moving: Tensor, by: Tensor) -> Tensor:
    """Curvature (F,C,L) or (F,C,L,2,2) with `by` (F,C,n) more at the n points moving."""
    if curvature.ndim == 3:
        curvature[:, :, moving] += by
    else:
        eye = torch.eye(2, dtype=by.dtype, device=by.device)
        curvature[:, :, moving] += by[..., None, None] * eye
    return curvature


def _add_offsets(
    equations: NormalEquations, points: PosedPoints, totals: Totals, pull: Tensor, state: State
) -> None:
    """Add the offsets' own blocks and gradient, and what they share with identity and cameras."""
    count, at, scale = len(state.offset), state.camera_columns.stop, points.offset_scale
    assert scale is not None
    # What frames share with them is by metres so far.
    equations.border[:, :, at:] *= scale
    place = points.groups.place[:count]
    rest, mixed = totals.by_offsets(place)
    blocks = equations.shared[at:, at:].view(count, 3, count, 3)
    blocks.diagonal(dim1=0, dim2=2).add_((scale * scale * rest).permute(1, 2, 0))
    across = (scale * mixed).flatten(0, 1)
    n = across.shape[-1]
    equations.shared[at:, :n] += across
    equations.shared[:n, at:] += across.T
    equations.shared_gradient[at:] += scale * pull[:, place].T.flatten()


class _Pair:
    """Frames with those after them: left times right is the mixed curvature."""

    def __init__(
        self, this: Rows, to_next: Rows, next_: Rows, to_this: Rows, cameras: Tensor
    ) -> None:
        self.this, self.to_next, self.next, self.to_this = this, to_next, next_, to_this
        self.cameras = cameras

    @classmethod
    def of(
        cls, points: PosedPoints, posed: Posed, views: Views, weight: Tensor, shared: bool
    ) -> _Pair:
        """weight (F-1,C,n) of the products, 0 where frames do not belong together."""
        first, last = slice(None, -1), slice(1, None)
        seen = views.by_camera
        t = weight[:, :, None, None]
        cameras = torch.einsum("fcail,fcajl->cij", t * seen[first], seen[last])
        if views.pixels.shape[1] == 1:
            # One camera: rows are pixels.
            camera = seen[:, 0]
            rows = points.rows(
                posed, views.by_point[:, 0], camera[:, :, 0], camera if shared else None
            )
            this, next_ = rows.frames(first), rows.frames(last)
            to_next, to_this = next_.times(weight[:, 0]), this.times(weight[:, 0])
            return cls(this, to_next, next_, to_this, cameras)
        # Several: rows are points, and what lies between is a 3 x 3 matrix a point.
        frames, count = len(posed.points), posed.points.shape[-1]
        eye = torch.eye(3).to(posed.points)[:, :, None].expand(frames, 3, 3, count)
        none = posed.points.new_zeros(frames, 3, seen.shape[1] * seen.shape[3], count)
        rows = points.rows(posed, eye, None, none if shared else None)
        by_point = views.by_point
        between = torch.einsum("fcial,fcibl->fabl", t * by_point[first], by_point[last])
        by_next, by_this = (
            torch.einsum("fcial,fcijl->fcjal", t * by_point[a], seen[b]).flatten(1, 2)
            if shared
            else None
            for a, b in ((first, last), (last, first))
        )
        this, next_ = rows.frames(first), rows.frames(last)
        return cls(
            this, next_.mapped(between, by_next),
            next_, this.mapped(between.transpose(1, 2), by_this), cameras,
        )  # fmt: skip
