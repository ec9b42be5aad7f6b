"""Points of the posed head, what cameras see of them, and their derivatives."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from backend.fit.groups import Groups
from backend.fit.posed_points import PosedPoints
from backend.fit.rows import Totals, border_products, frame_products
from backend.fit.state import State, one_camera
from backend.fit.views import PointRows, Views, pixels_of, point_rows, views_of
from backend.geometry.rotations import rotvec_to_rotmat
from backend.head import Head
from backend.head.landmarks import layout

CENTRE = torch.tensor([[319.5, 239.5]], dtype=torch.float64)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.fixture(scope="module")
def head() -> Head:
    return Head.load(dtype=torch.float64)


def random_state(frames: int = 2) -> tuple[State, torch.Tensor]:
    rotvec = 0.3 * draw(frames, 4, 3)
    state = one_camera(
        draw(frames, 52, seed=1).abs() * 0.3, rotvec_to_rotmat(rotvec),
        0.03 * draw(frames, 3, seed=2) + torch.tensor([0, 0, 0.6], dtype=torch.float64),
        0.5 * draw(100, seed=3), torch.tensor(6.5, dtype=torch.float64),
    )  # fmt: skip
    return state, rotvec


def test_points_are_those_of_the_head(head: Head) -> None:
    state, rotvec = random_state()
    lay = layout("dense320")
    vertices = head(state.identity, state.expression, rotvec, state.translation)
    points = PosedPoints.of(head, lay).pose(state).points.transpose(1, 2)
    error = (points - head.landmarks(vertices, lay)).norm(dim=-1)
    assert error.median() < 1e-9
    assert error.max() < 3e-4, "blending at the point differs on the neck alone"


def test_products_against_autodiff(head: Head) -> None:
    """Of one camera's rows: by the frames' own parameters, by what is shared, and by offsets."""
    state, _ = random_state()
    points = PosedPoints.of(head, layout("dense320")).subset(torch.arange(0, 320, 9))
    count = len(points.template)
    views = views_of(points.pose(state).points, state, CENTRE)
    torch.testing.assert_close(views.pixels, pixels_of(points.pose(state).points, state, CENTRE))
    seen = views.by_camera[:, 0]
    rows = points.rows(points.pose(state), views.by_point[:, 0], seen[:, :, 0], seen)

    def moved(frame: torch.Tensor, shared: torch.Tensor, rest: torch.Tensor) -> torch.Tensor:
        stepped = state.step(frame, shared)
        at = replace(points, template=points.template + rest)
        return pixels_of(at.pose(stepped).points, stepped, CENTRE)[:, 0].flatten(1)

    zero = torch.zeros(2, 68).double(), torch.zeros(107).double(), torch.zeros(count, 3).double()
    by_frame, by_shared, by_rest = torch.autograd.functional.jacobian(moved, zero)
    own = torch.stack([by_frame[f, :, f] for f in range(2)])
    by_shared, by_rest = by_shared[..., :101], by_rest.flatten(2)
    assert by_frame[0, :, 1].abs().max() == 0

    shared = points.shared(1)
    blocks = torch.zeros(2, 68, 68).double()
    frame_products(rows, rows, blocks)
    close(blocks, own.transpose(1, 2) @ own)
    border, offsets = torch.zeros(2, 68, 101).double(), torch.zeros(2, 68, 3 * count).double()
    border_products(rows, rows, shared, border, offsets)
    close(border, own.transpose(1, 2) @ by_shared)
    close(offsets, own.transpose(1, 2) @ by_rest)
    totals = Totals(shared)
    totals.add(rows, rows)
    close(totals.block(True), (by_shared.transpose(1, 2) @ by_shared).sum(0))
    rest, mixed = totals.by_offsets(points.groups.place)
    close(mixed.flatten(0, 1), (by_rest.transpose(1, 2) @ by_shared).sum(0))
    close(torch.block_diag(*rest), (by_rest.transpose(1, 2) @ by_rest).sum(0))

    # Two frames' rows against each other, as the temporal term has them.
    first, second = (
        rows.frames(slice(0, 1)),
        rows.frames(slice(1, 2)).times(torch.full((1, count), 0.5)),
    )
    mixed_block = torch.zeros(1, 68, 68).double()
    frame_products(first, second, mixed_block)
    close(mixed_block[0], 0.5 * own[0].T @ own[1])
    totals = Totals(shared)
    totals.add(first, second)
    close(totals.block(False), 0.5 * by_shared[0].T @ by_shared[1])


def test_points_behind_the_camera_have_finite_derivatives() -> None:
    state, _ = random_state(1)
    points = torch.tensor([[[0.1], [0.0], [-0.5]]], dtype=torch.float64)
    by_point = views_of(points, state, CENTRE).by_point
    assert torch.isfinite(by_point).all() and float(by_point[..., 2, :].abs().max()) == 0.0


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9 * float(b.abs().max()))


def test_groups_hold_every_landmark_once_and_every_motion(head: Head) -> None:
    basis = PosedPoints.of(head, layout("dense703")).expression_basis
    groups = Groups.of(basis)
    assert sorted(groups.order.tolist()) == list(range(703))
    torch.testing.assert_close(groups.order[groups.place], torch.arange(703))
    whole = torch.zeros_like(groups.basis)
    for group in groups.groups:
        whole[group.expressions[:, None, None], torch.arange(3)[:, None],
              torch.arange(group.span.start, group.span.stop)] = group.basis  # fmt: skip
    torch.testing.assert_close(whole, basis[groups.order].permute(2, 1, 0), rtol=0, atol=1e-7)
    work = sum((g.span.stop - g.span.start) * len(g.expressions) for g in groups.groups)
    assert work < 0.5 * 703 * 52, "most expressions move few landmarks"


@pytest.mark.parametrize("cameras", [1, 2, 5])
@pytest.mark.parametrize("directed", [False, True])
def test_rows_hold_the_curvature(cameras: int, directed: bool) -> None:
    frames, count = 2, 6
    views = Views(
        draw(frames, cameras, count, 2), draw(frames, cameras, 2, 3, count, seed=1),
        draw(frames, cameras, 2, 7, count, seed=2),
    )  # fmt: skip
    curvature = draw(frames, cameras, count, seed=3).square()
    matrices = curvature[..., None, None] * torch.eye(2).double()
    if directed:
        root = draw(frames, cameras, count, 2, 2, seed=3)
        curvature = matrices = root.transpose(-1, -2) @ root
    rows: PointRows = point_rows(views, curvature)
    a, d = views.by_point, views.by_camera
    of_points = torch.einsum("fcail,fclab,fcbjl->fijl", a, matrices, a)
    own = torch.einsum("fril,frjl->fijl", rows.through, rows.through)
    torch.testing.assert_close(own, of_points)
    mixed = torch.einsum("fcail,fclab,fcbjl->ficjl", a, matrices, d).flatten(2, 3)
    own = torch.einsum("fril,frjl->fijl", rows.through, rows.by_camera)
    torch.testing.assert_close(own, mixed)
    block = torch.einsum("fcail,fclab,fcbjl->cij", d, matrices, d)
    torch.testing.assert_close(rows.camera_block, block)


def test_points_that_nobody_sees_carry_nothing() -> None:
    views = Views(draw(1, 3, 4, 2), draw(1, 3, 2, 3, 4, seed=1), draw(1, 3, 2, 7, 4, seed=2))
    rows = point_rows(views, torch.zeros(1, 3, 4).double())
    assert torch.isfinite(rows.by_camera).all() and float(rows.by_camera.abs().max()) == 0
    assert float(rows.through.abs().max()) < 1e-9
