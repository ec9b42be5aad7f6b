"""Every term's Jacobian, and the whole energy's gradient and couplings, against autodiff."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from backend.fit import FitSettings, terms
from backend.fit.correction import MODES, correction_basis
from backend.fit.energy import Energy
from backend.fit.intersection import Intersection
from backend.fit.linearise import CHUNK
from backend.fit.posed_points import PosedPoints
from backend.fit.size import SizeSplit
from backend.fit.state import State
from backend.fit.views import pixels_of
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


def random_state(frames: int, cameras: int = 1, size: int = 100, offsets: int = 0) -> State:
    """Random parameters; the further cameras stand to the side and look at the head as well."""
    angle = torch.zeros(cameras, 3, dtype=torch.float64)
    angle[:, 1] = 0.4 * torch.arange(cameras)
    middle = torch.tensor([0, 0, 0.6], dtype=torch.float64)
    rotmat = rotvec_to_rotmat(angle + 0.02 * torch.arange(cameras)[:, None])
    return State(
        0.5 * draw(frames, 52) + 0.3,
        rotvec_to_rotmat(0.3 * draw(frames, 4, 3, seed=1)),
        0.03 * draw(frames, 3, seed=2) + middle,
        0.05 * draw(frames, seed=12) if cameras == 1 else torch.zeros(frames).double(),
        0.5 * draw(size, seed=3),
        6.5 + 0.1 * torch.arange(cameras).double(),
        rotmat,
        middle - rotmat @ middle,
        0.7 * draw(offsets, 3, seed=4),
    )


def random_target(frames: int, cameras: int, count: int, directed: bool = False) -> terms.Target:
    precision = draw(frames, cameras, count, seed=1).abs()
    if directed:
        precision = draw(frames, cameras, count, 2, 2, seed=1)
    robust = torch.full((count,), 2.0, dtype=torch.float64)
    return terms.Target(draw(frames, cameras, count, 2), precision, robust)


@pytest.mark.parametrize("directed", [False, True])
def test_landmark_term(directed: bool) -> None:
    target = random_target(2, 2, 7, directed)
    target.precision[0, 1, 3] = 0.0
    pixels = 3 * draw(2, 2, 7, 2, seed=2)

    def cost(pixels: Tensor) -> Tensor:
        return terms.landmark_cost(pixels, target, 0.7).sum()

    pull, _ = terms.landmark_derivatives(pixels, target, 0.7)
    close(pull, 0.5 * derivative(cost, pixels))
    # Where errors are small nothing is robust, and the curvature is half the exact Hessian.
    exact = torch.autograd.functional.hessian(cost, target.landmarks_2d.clone())
    at = terms.landmark_derivatives(target.landmarks_2d, target, 0.7)[1]
    own = 0.5 * exact[1, 1, 2, :, 1, 1, 2]
    close(at[1, 1, 2] if directed else at[1, 1, 2] * torch.eye(2).double(), own)


def test_directed_uncertainty_is_mahalanobis() -> None:
    covariance = torch.tensor([[4.0, 1.5], [1.5, 1.0]], dtype=torch.float64)
    whitening = torch.linalg.inv(torch.linalg.cholesky(covariance))
    target = terms.Target(
        torch.zeros(1, 1, 1, 2).double(), whitening[None, None, None], torch.tensor([1e9]).double()
    )
    error = torch.tensor([0.3, -0.2], dtype=torch.float64)
    expected = 0.5 * error @ torch.linalg.inv(covariance) @ error
    close(terms.landmark_cost(error[None, None, None], target, 1.0)[0], expected)


def test_landmark_term_is_wood_s_for_small_errors() -> None:
    target = random_target(1, 2, 5)
    pixels = target.landmarks_2d + 1e-4 * draw(1, 2, 5, 2, seed=2)
    wood = ((pixels - target.landmarks_2d).square().sum(-1) * target.precision**2 / 2).sum()
    close(terms.landmark_cost(pixels, target, 1.0).sum(), wood)


def test_a_far_landmark_is_bounded() -> None:
    one = torch.ones(1, 1, 1).double()
    target = terms.Target(torch.zeros(1, 1, 1, 2).double(), one, torch.tensor([4.0]).double())
    far = torch.full((1, 1, 1, 2), 1e6, dtype=torch.float64)
    assert float(terms.landmark_cost(far, target, 1.0)) < 8.0 + 1e-6
    assert float(terms.landmark_derivatives(far, target, 1.0)[0].abs().max()) < 1e-3


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


def energy_of(
    head: Head, state: State, target: terms.Target, link: Tensor | None, step: int,
    seen: Tensor | None = None, correction: bool = False,
) -> Energy:  # fmt: skip
    lay = layout("dense320")
    points = PosedPoints.of(head, lay)
    meeting = Intersection.of(head)
    if correction:
        basis = correction_basis(head, lay, 0.001)
        at = basis.at(torch.from_numpy(lay.vertices), torch.from_numpy(lay.barycentric))
        points = points.with_correction(at, basis.at_joints())
        meeting = meeting.with_correction(basis)
    points = points.subset(torch.arange(0, 320, step))
    if len(state.offset) > 0:
        held = 0.003 * draw(len(points.template), 3, seed=6)
        points = replace(points, offset_scale=torch.tensor(0.002).double(), held=held)
    moving = torch.arange(0, 320 // step, 3)
    steps = 0 if link is None else len(link)
    motion = 2.0 * draw(steps, state.n_cameras, len(moving), 2, seed=8)
    return Energy(
        points, CENTRE.expand(state.n_cameras, 2), target,
        torch.ones(len(state.expression)).double() if seen is None else seen, FitSettings(),
        head.identity_prior, torch.tensor(300.0).double(), link,
        torch.full((state.n_cameras,), 6.3).double(), moving,
        motion, torch.zeros(52).double(), torch.ones(52).double(), SizeSplit.of(head), meeting,
    )  # fmt: skip


def may_move(state: State) -> Tensor:
    """Of the shared parameters: a single camera stands where the world is."""
    moving = torch.ones(state.n_shared, dtype=torch.bool)
    if state.n_cameras == 1:
        moving[state.camera_columns] = torch.arange(7) == 0
    return moving


@pytest.mark.parametrize(
    "frames, cameras, directed, correction",
    [(1, 1, False, False), (5, 1, True, True), (CHUNK + 3, 1, False, False),
     (4, 3, False, True), (3, 2, True, False)],
)  # fmt: skip
def test_energy_gradient_against_autodiff(
    head: Head, frames: int, cameras: int, directed: bool, correction: bool
) -> None:
    size = 100 + (3 * MODES - 7 if correction else 0)
    state = random_state(frames, cameras, size)
    target = random_target(frames, cameras, 40, directed)
    seen = torch.ones(frames, dtype=torch.float64)
    link = None
    if frames > 1:
        # One frame without a face, and one cut.
        target.precision[2], seen[2] = 0.0, 0.0
        link = torch.ones(frames - 1, dtype=torch.float64)
        link[-1] = 0.0
    energy = energy_of(head, state, target, link, 8, seen, correction)
    near = pixels_of(energy.points.at_size(state).pose(state).points, state, energy.centres)
    target = replace(target, landmarks_2d=near + 2 * draw(frames, cameras, 40, 2, seed=5))
    energy = replace(energy, target=target)
    shared = size + 7 * cameras
    zero = torch.zeros(frames, 68).double(), torch.zeros(shared).double()
    auto = torch.autograd.functional.jacobian(lambda a, b: energy.value(state.step(a, b)), zero)
    equations = energy.linearise(state)
    scale = float(auto[0].abs().max())
    torch.testing.assert_close(2 * equations.block_gradient, auto[0], rtol=1e-6, atol=1e-8 * scale)
    at = may_move(state)
    torch.testing.assert_close(
        2 * equations.shared_gradient[at], auto[1][at], rtol=1e-6, atol=1e-9 * scale
    )
    only_frames = energy.with_shared(False).linearise(state)
    torch.testing.assert_close(only_frames.block, equations.block)
    assert float(only_frames.border.abs().max()) == 0.0


@pytest.mark.parametrize("cameras, directed", [(1, False), (1, True), (3, False)])
def test_offsets_gradient_against_autodiff(head: Head, cameras: int, directed: bool) -> None:
    frames, offsets = 3, 38
    state = random_state(frames, cameras, offsets=offsets)
    # The last points are pinned and have none.
    target = random_target(frames, cameras, 40, directed)
    energy = energy_of(head, state, target, None, 8)
    near = pixels_of(energy.points.at_size(state).pose(state).points, state, energy.centres)
    target = replace(target, landmarks_2d=near + 2 * draw(frames, cameras, 40, 2, seed=5))
    energy = replace(energy, target=target)
    zero = torch.zeros(frames, 68).double(), torch.zeros(state.n_shared).double()
    auto = torch.autograd.functional.jacobian(lambda a, b: energy.value(state.step(a, b)), zero)
    equations, at = energy.linearise(state), may_move(state)
    for own, exact in (
        (equations.block_gradient, auto[0]), (equations.shared_gradient[at], auto[1][at]),
    ):  # fmt: skip
        torch.testing.assert_close(
            2 * own, exact, rtol=1e-6, atol=1e-9 * float(auto[0].abs().max())
        )


@pytest.mark.parametrize("cameras, offsets", [(1, 0), (3, 0), (1, 8), (3, 8)])
def test_normal_equations_are_the_exact_hessian_without_residuals(
    head: Head, cameras: int, offsets: int
) -> None:
    """Where landmarks are met and nothing moves, Gauss-Newton's matrix is half the Hessian.

    It holds all products of frames with themselves, each other, the identity and the cameras.
    """
    state = random_state(2, cameras, offsets=offsets)
    state = replace(
        state, expression=state.expression[:1].expand(2, -1).clamp(0.1, 0.9),
        rotmat=state.rotmat[:1].expand(2, -1, -1, -1), zoom=state.zoom[:1].expand(2),
        translation=state.translation[:1].expand(2, -1),
    )  # fmt: skip
    target = random_target(2, cameras, 8)
    # Offsets are for frames that are not linked.
    link = torch.ones(1, dtype=torch.float64) if offsets == 0 else None
    energy = energy_of(head, state, target, link, 40)
    near = pixels_of(energy.points.at_size(state).pose(state).points, state, energy.centres)
    settings = FitSettings(
        joint_weight=0.0, eye_weight=0.0, intersection_weight=0.0, expression_weight=1e-20
    )
    energy = replace(
        energy, target=replace(target, landmarks_2d=near), settings=settings,
        motion=torch.zeros_like(energy.motion),
    )  # fmt: skip

    def whole(x: Tensor) -> Tensor:
        moved = state.step(x[: 2 * 68].view(2, 68), x[2 * 68 :])
        # The identity's stand-in for a Hessian has a test of its own.
        relative = energy.size_split.at_mean_size(moved.identity)
        prior = terms.identity_cost(relative, energy.prior)
        return energy.value(moved) - settings.identity_weight * prior

    exact = 0.5 * torch.autograd.functional.hessian(
        whole, torch.zeros(136 + state.n_shared).double()
    )
    e = energy.linearise(state)
    coupling = torch.zeros(1, 68, 68).double() if e.coupling is None else e.coupling
    relative = energy.size_split.at_mean_size(state.identity)
    turn = energy.size_split.derivative(state.identity)
    stand_in = turn.T @ terms.identity_derivatives(relative, energy.prior)[1] @ turn
    e.shared[:100, :100] -= 0.5 * settings.identity_weight * stand_in
    top = torch.cat([e.block[0], coupling[0], e.border[0]], 1)
    middle = torch.cat([coupling[0].T, e.block[1], e.border[1]], 1)
    bottom = torch.cat([e.border[0].T, e.border[1].T, e.shared], 1)
    own = torch.cat([top, middle, bottom])
    keep = torch.cat([torch.ones(136, dtype=torch.bool), may_move(state)])
    if cameras > 1:
        # Several cameras have no zoom.
        keep[[67, 135]] = False
    scale = float(exact.abs().max())
    torch.testing.assert_close(
        own[keep][:, keep], exact[keep][:, keep], rtol=1e-6, atol=1e-8 * scale
    )
