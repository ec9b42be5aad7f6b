"""Rotations form a group, whatever the batch; singular cases hold; Jacobians match autodiff."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from backend.geometry.rotations import (
    left_jacobian_inverse,
    rotmat_to_rotvec,
    rotvec_to_rotmat,
    skew,
)

SHAPES = [(), (1,), (7,), (2, 3), (2, 1, 4)]


def draw(shape: tuple[int, ...], scale: float = 1.0, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, 3, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("shape", SHAPES)
def test_group_axioms(shape: tuple[int, ...]) -> None:
    a, b, c = (rotvec_to_rotmat(draw(shape, 1.5, seed)) for seed in range(3))
    eye = torch.eye(3, dtype=torch.float64).expand(*shape, 3, 3)
    assert a.shape == (*shape, 3, 3)
    torch.testing.assert_close(torch.linalg.det(a @ b), torch.ones(shape, dtype=torch.float64))
    torch.testing.assert_close((a @ b) @ (a @ b).mT, eye)
    torch.testing.assert_close((a @ b) @ c, a @ (b @ c))
    torch.testing.assert_close(rotvec_to_rotmat(torch.zeros(*shape, 3).double()), eye)
    torch.testing.assert_close(rotvec_to_rotmat(-draw(shape, 1.5)), a.mT)


@pytest.mark.parametrize("shape", SHAPES)
def test_log_undoes_exp(shape: tuple[int, ...]) -> None:
    rotvec = draw(shape)
    # Angles up to pi: beyond it the shorter way round is the answer.
    rotvec = rotvec / rotvec.norm(dim=-1, keepdim=True) * 3.1 * torch.rand(*shape, 1).double()
    torch.testing.assert_close(rotmat_to_rotvec(rotvec_to_rotmat(rotvec)), rotvec)


@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-7, 1e-4, 3e-4, 1.0, 3.0, math.pi - 1e-6, math.pi])
def test_log_at_singular_angles(angle: float) -> None:
    axis = draw((50,))
    axis = axis / axis.norm(dim=-1, keepdim=True)
    back = rotvec_to_rotmat(rotmat_to_rotvec(rotvec_to_rotmat(angle * axis)))
    torch.testing.assert_close(back, rotvec_to_rotmat(angle * axis), atol=1e-9, rtol=0)
    torch.testing.assert_close(
        rotmat_to_rotvec(rotvec_to_rotmat(angle * axis)).norm(dim=-1),
        torch.full((50,), angle, dtype=torch.float64), atol=1e-8, rtol=1e-6,
    )  # fmt: skip


def test_sense_of_rotation() -> None:
    """A quarter turn about z takes x to y."""
    quarter = rotvec_to_rotmat(torch.tensor([0.0, 0.0, math.pi / 2], dtype=torch.float64))
    x, y = torch.eye(3, dtype=torch.float64)[:2]
    torch.testing.assert_close(quarter @ x, y)
    torch.testing.assert_close(skew(x) @ y, torch.linalg.cross(x, y))


def test_gradient_is_finite_at_rest() -> None:
    rotvec = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    jacobian = torch.autograd.functional.jacobian(rotvec_to_rotmat, rotvec)
    for k in range(3):
        torch.testing.assert_close(jacobian[:, :, k], skew(torch.eye(3, dtype=torch.float64)[k]))


@pytest.mark.parametrize("angle", [1e-9, 1e-5, 0.0099, 0.0101, 0.3, 1.2, 3.0])
def test_left_jacobian_inverse_against_autodiff(angle: float) -> None:
    for axis in draw((5,)):
        rotvec = angle * axis / axis.norm()

        def log_after(delta: Tensor, rotvec: Tensor = rotvec) -> Tensor:
            return rotmat_to_rotvec(rotvec_to_rotmat(delta) @ rotvec_to_rotmat(rotvec))

        if angle > 1e-6:  # The logarithm's own gradient has no digits left below.
            auto = torch.autograd.functional.jacobian(log_after, torch.zeros(3).double())
            torch.testing.assert_close(
                left_jacobian_inverse(rotvec), auto, rtol=1e-6, atol=1e-6
            )  # fmt: skip
        else:
            torch.testing.assert_close(
                left_jacobian_inverse(rotvec), torch.eye(3).double(), rtol=0, atol=1e-8
            )


def test_left_jacobian_inverse_near_a_half_turn() -> None:
    """Where the book's formula divides by a sine of 0: smooth in single precision too."""
    axis = torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64)
    exact = left_jacobian_inverse(math.pi * axis)
    single = left_jacobian_inverse((math.pi * axis).float())
    torch.testing.assert_close(single.double(), exact, rtol=0, atol=1e-5)
