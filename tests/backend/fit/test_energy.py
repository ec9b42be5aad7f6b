"""Every term's Jacobian, and the whole energy's gradient and couplings, against autodiff."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from backend.fit import FitSettings, terms
from backend.fit.energy import CHUNK, Energy
from backend.fit.posed_points import PosedPoints, State
from backend.geometry.rotations import rotvec_to_rotmat
from backend.head import Head
from backend.head.landmarks import layout

CENTRE = torch.tensor([319.5, 239.5], dtype=torch.float64)


def draw(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def derivative(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    return torch.autograd.functional.jacobian(function, at)


def close(own: Tensor, auto: Tensor) -> None:
    torch.testing.assert_close(own, auto, rtol=1e-6, atol=1e-9)


@pytest.fixture(scope="module")
def head() -> Head:
    return Head.load(dtype=torch.float64)


def random_state(frames: int) -> State:
    return State(
        0.5 * draw(frames, 52) + 0.3,
        rotvec_to_rotmat(0.3 * draw(frames, 4, 3, seed=1)),
        0.03 * draw(frames, 3, seed=2) + torch.tensor([0, 0, 0.6], dtype=torch.float64),
        0.5 * draw(100, seed=3),
        torch.tensor(6.5, dtype=torch.float64),
    )


def test_landmark_term() -> None:
    target = terms.Target(draw(2, 7, 2), draw(2, 7, seed=1).abs())
    target.precision[0, 3] = 0.0
    pixels = 3 * draw(2, 7, 2, seed=2)

    def cost(pixels: Tensor) -> Tensor:
        return terms.landmark_cost(pixels, target, 0.7, 2.0).sum()

    residual, factor = terms.landmark_residual(pixels, target, 0.7, 2.0)
    # Half the cost's gradient is J' r, J being the factor.
    close(factor * residual.view(2, 7, 2), 0.5 * derivative(cost, pixels))


def test_landmark_term_is_wood_s_for_small_errors() -> None:
    target = terms.Target(draw(1, 5, 2), draw(1, 5, seed=1).abs())
    pixels = target.landmarks_2d + 1e-4 * draw(1, 5, 2, seed=2)
    wood = ((pixels - target.landmarks_2d).square().sum(-1) * target.precision**2 / 2).sum()
    close(terms.landmark_cost(pixels, target, 1.0, 4.0).sum(), wood)


def test_a_far_landmark_is_bounded() -> None:
    target = terms.Target(torch.zeros(1, 1, 2).double(), torch.ones(1, 1).double())
    far = torch.full((1, 1, 2), 1e6, dtype=torch.float64)
    assert float(terms.landmark_cost(far, target, 1.0, 4.0)) < 8.0 + 1e-6
    assert float(terms.landmark_residual(far, target, 1.0, 4.0)[0].abs().max()) < 1e-3


def test_identity_term(head: Head) -> None:
    identity, prior = 0.7 * draw(100), head.identity_prior

    def cost(x: Tensor) -> Tensor:
        return terms.identity_cost(x, prior)

    gradient, hessian = terms.identity_derivatives(identity, prior)
    close(gradient, derivative(cost, identity))
    close(cost(identity) - cost(prior.means[0]),
          prior.log_density(prior.means[0]) - prior.log_density(identity))  # fmt: skip
    assert float(torch.linalg.eigvalsh(hessian)[0]) > 0
    # Where one component holds all, its precision is the Hessian.
    exact = torch.autograd.functional.hessian(cost, 6 * identity)
    torch.testing.assert_close(
        terms.identity_derivatives(6 * identity, prior)[1], exact, rtol=1e-6, atol=1e-6
    )


def test_expression_range_and_joint_terms() -> None:
    weight = torch.tensor([2.0, 0.5], dtype=torch.float64)
    x = draw(2, 52) + 0.5
    for term in (
        lambda x: terms.expression_residual(x, weight),
        lambda x: terms.range_residual(x, 3.0),
    ):
        residual, diagonal = term(x)
        auto = derivative(lambda x, term=term: term(x)[0].flatten(), x.clone())
        close(torch.diag(diagonal.flatten()), auto.reshape(residual.numel(), -1))
    inside = torch.full((1, 52), 0.5, dtype=torch.float64)
    assert float(terms.range_residual(inside, 3.0)[0].abs().max()) == 0.0
    rotmat = rotvec_to_rotmat(0.4 * draw(2, 3, 3))
    weights = draw(2, 3, 3, seed=4).abs()

    def turned(delta: Tensor) -> Tensor:
        return terms.joint_residual(rotvec_to_rotmat(delta) @ rotmat, weights)[0]

    auto = derivative(turned, torch.zeros(2, 3, 3, dtype=torch.float64))
    for f in range(2):
        close(terms.joint_residual(rotmat, weights)[1][f], auto[f, :, f].flatten(1))


@pytest.mark.parametrize("frames", [1, 5, CHUNK + 3])
def test_energy_gradient_against_autodiff(head: Head, frames: int) -> None:
    points = PosedPoints.of(head, layout("dense320")).subset(torch.arange(0, 320, 8))
    state = random_state(frames)
    precision = draw(frames, 40, seed=6).abs()
    seen = torch.ones(frames, dtype=torch.float64)
    link = None
    if frames > 1:
        # One frame without a face, and one cut.
        precision[2], seen[2] = 0.0, 0.0
        link = torch.ones(frames - 1, dtype=torch.float64)
        link[-1] = 0.0
    near = points.pixels(state, CENTRE) + 2 * draw(frames, 40, 2, seed=5)
    energy = Energy(
        points, CENTRE, terms.Target(near, precision), seen, FitSettings(), head.identity_prior,
        torch.tensor(300.0).double(), link, torch.tensor(6.3).double(), 4.0,
    )  # fmt: skip
    zero = torch.zeros(frames, 67).double(), torch.zeros(101).double()
    auto = torch.autograd.functional.jacobian(lambda a, b: energy.value(state.step(a, b)), zero)
    equations = energy.linearise(state)
    scale = float(auto[0].abs().max())
    torch.testing.assert_close(2 * equations.block_gradient, auto[0], rtol=1e-6, atol=1e-9 * scale)
    torch.testing.assert_close(2 * equations.shared_gradient, auto[1], rtol=1e-6, atol=1e-9 * scale)
    only_frames = replace(energy, shared=False).linearise(state)
    torch.testing.assert_close(only_frames.block, equations.block)
    assert float(only_frames.border.abs().max()) == 0.0


def test_couplings_are_those_of_the_temporal_terms(head: Head) -> None:
    """Only the temporal terms see two frames: the exact Hessian between them shows it."""
    points = PosedPoints.of(head, layout("dense320")).subset(torch.arange(0, 320, 40))
    state = random_state(2)
    # With no motion between the frames the residual is 0 and Gauss-Newton's Hessian is exact.
    state = replace(
        state, expression=state.expression[:1].expand(2, -1),
        rotmat=state.rotmat[:1].expand(2, -1, -1, -1),
        translation=state.translation[:1].expand(2, -1),
    )  # fmt: skip
    near = points.pixels(state, CENTRE)
    energy = Energy(
        points, CENTRE, terms.Target(near, torch.ones(2, 8).double()), torch.ones(2).double(),
        FitSettings(), head.identity_prior, torch.tensor(300.0).double(), torch.ones(1).double(),
        torch.tensor(6.3).double(), 4.0,
    )  # fmt: skip
    shared = torch.zeros(101).double()
    hessian = torch.autograd.functional.hessian(
        lambda a: energy.value(state.step(a, shared)), torch.zeros(2, 67).double()
    )
    equations = energy.linearise(state)
    assert equations.coupling is not None
    scale = float(hessian.abs().max())
    torch.testing.assert_close(
        2 * equations.coupling[0], hessian[0, :, 1], rtol=1e-6, atol=1e-9 * scale
    )
