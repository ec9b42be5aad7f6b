"""Points of the posed head, what cameras see of them, and their derivatives."""

from __future__ import annotations

import pytest
import torch

from backend.fit.posed_points import PosedPoints
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
    points = PosedPoints.of(head, lay).pose(state).points
    error = (points - head.landmarks(vertices, lay)).norm(dim=-1)
    assert error.median() < 1e-9
    assert error.max() < 3e-4, "blending at the point differs on the neck alone"


def test_jacobian_against_autodiff(head: Head) -> None:
    state, _ = random_state()
    points = PosedPoints.of(head, layout("dense320")).subset(torch.arange(0, 320, 9))
    posed = points.pose(state)
    views = views_of(posed.points, state, CENTRE)
    torch.testing.assert_close(views.pixels, pixels_of(posed.points, state, CENTRE))
    zoom = views.by_camera[:, 0, ..., :1]
    jacobian = points.rows(posed, views.by_point[:, 0], True, zoom)

    def moved(frame: torch.Tensor, shared: torch.Tensor) -> torch.Tensor:
        stepped = state.step(frame, shared)
        return pixels_of(points.pose(stepped).points, stepped, CENTRE)[:, 0]

    zero = torch.zeros(2, 68, dtype=torch.float64), torch.zeros(107, dtype=torch.float64)
    auto_frame, auto_shared = torch.autograd.functional.jacobian(moved, zero)
    own = torch.stack([auto_frame[f, :, :, f] for f in range(2)])
    torch.testing.assert_close(jacobian.by_frame, own, rtol=1e-6, atol=1e-6)
    shared = torch.cat([jacobian.by_identity, views.by_camera[:, 0]], -1)
    torch.testing.assert_close(shared, auto_shared, rtol=1e-6, atol=1e-6)
    assert auto_frame[0, :, :, 1].abs().max() == 0
    # The same from the factors that identity's block is summed from.
    again = jacobian.factor.permute(2, 0, 1, 3) @ points.identity_factor()
    torch.testing.assert_close(again, jacobian.by_identity)


def test_pulling_back_is_the_transposed_jacobian(head: Head) -> None:
    state, _ = random_state(3)
    points = PosedPoints.of(head, layout("dense320")).subset(torch.arange(0, 320, 9))
    posed = points.pose(state)
    gradient = draw(*posed.points.shape, seed=9)
    eye = torch.eye(3, dtype=torch.float64).expand(*posed.points.shape, 3).contiguous()
    rows = points.rows(posed, eye, True, torch.zeros_like(eye[..., :1]))
    frame, identity, at_rest = points.pull_back(posed, gradient)
    expected = torch.einsum("flcp,flc->fp", rows.by_frame, gradient)
    torch.testing.assert_close(frame, expected[:, :-1])
    torch.testing.assert_close(identity, torch.einsum("flck,flc->k", rows.by_identity, gradient))
    assert rows.factor is not None
    bound = torch.einsum("lcfi,flc->li", rows.factor[..., :3], gradient)
    torch.testing.assert_close(at_rest, bound)


@pytest.mark.parametrize("cameras", [1, 2, 5])
@pytest.mark.parametrize("directed", [False, True])
def test_rows_hold_the_curvature(cameras: int, directed: bool) -> None:
    frames, count = 2, 6
    views = Views(
        draw(frames, cameras, count, 2), draw(frames, cameras, count, 2, 3, seed=1),
        draw(frames, cameras, count, 2, 7, seed=2),
    )  # fmt: skip
    curvature = draw(frames, cameras, count, seed=3).square()
    matrices = curvature[..., None, None] * torch.eye(2).double()
    if directed:
        root = draw(frames, cameras, count, 2, 2, seed=3)
        curvature = matrices = root.transpose(-1, -2) @ root
    rows: PointRows = point_rows(views, curvature)
    a, d = views.by_point, views.by_camera
    of_points = torch.einsum("fclai,fclab,fclbj->flij", a, matrices, a)
    torch.testing.assert_close(rows.through.transpose(-1, -2) @ rows.through, of_points)
    mixed = torch.einsum("fclai,fclab,fclbj->flicj", a, matrices, d).flatten(-2)
    torch.testing.assert_close(rows.through.transpose(-1, -2) @ rows.by_camera, mixed)
    block = torch.einsum("fclai,fclab,fclbj->cij", d, matrices, d)
    torch.testing.assert_close(rows.camera_block, block)


def test_points_that_nobody_sees_carry_nothing() -> None:
    views = Views(draw(1, 3, 4, 2), draw(1, 3, 4, 2, 3, seed=1), draw(1, 3, 4, 2, 7, seed=2))
    rows = point_rows(views, torch.zeros(1, 3, 4).double())
    assert torch.isfinite(rows.by_camera).all() and float(rows.by_camera.abs().max()) == 0
    assert float(rows.through.abs().max()) < 1e-9
