"""Landmark projections and their Jacobians."""

from __future__ import annotations

import pytest
import torch

from backend.fit.posed_points import PosedPoints, State
from backend.geometry.rotations import rotvec_to_rotmat
from backend.head import Head
from backend.head.landmarks import layout

CENTRE = torch.tensor([319.5, 239.5], dtype=torch.float64)


@pytest.fixture(scope="module")
def head() -> Head:
    return Head.load(dtype=torch.float64)


def random_state(frames: int = 2, seed: int = 0) -> tuple[State, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    rotvec = 0.3 * draw(frames, 4, 3)
    state = State(
        draw(frames, 52).abs() * 0.3, rotvec_to_rotmat(rotvec),
        0.03 * draw(frames, 3) + torch.tensor([0, 0, 0.6], dtype=torch.float64),
        0.5 * draw(100), torch.tensor(6.5, dtype=torch.float64),
    )  # fmt: skip
    return state, rotvec


def test_points_are_those_of_the_head(head: Head) -> None:
    state, rotvec = random_state()
    lay = layout("dense320")
    vertices = head(state.identity, state.expression, rotvec, state.translation)
    points = PosedPoints.of(head, lay).positions(state)
    error = (points - head.landmarks(vertices, lay)).norm(dim=-1)
    assert error.median() < 1e-9
    assert error.max() < 3e-4, "blending at the point differs on the neck alone"


def test_jacobian_against_autodiff(head: Head) -> None:
    state, _ = random_state()
    points = PosedPoints.of(head, layout("dense320")).subset(torch.arange(0, 320, 9))
    pixels, jacobian = points.pixels_jacobian(state, CENTRE)
    assert torch.allclose(pixels, points.pixels(state, CENTRE))

    def moved(frame: torch.Tensor, shared: torch.Tensor) -> torch.Tensor:
        return points.pixels(state.step(frame, shared), CENTRE)

    zero = torch.zeros(2, 67, dtype=torch.float64), torch.zeros(101, dtype=torch.float64)
    auto_frame, auto_shot = torch.autograd.functional.jacobian(moved, zero)
    own = torch.stack([auto_frame[f, :, :, f] for f in range(2)])
    torch.testing.assert_close(jacobian.by_frame, own, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(jacobian.by_shared, auto_shot, rtol=1e-6, atol=1e-6)
    assert auto_frame[0, :, :, 1].abs().max() == 0
