"""Frames fitted as they come: warm starts, quick moves, loss, and what is learnt of a person."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from backend.errors import BadInputError
from backend.evaluate.fit_recovery import Simulation, simulate
from backend.fit import FitSettings
from backend.fit.realtime import RealtimeFitter, RealtimeSettings, kernel
from backend.fit.realtime.compiled import IS_COMPILED
from backend.fit.realtime.energy import FrameState
from backend.fit.realtime.person import shared_jacobian
from backend.fit.realtime.prior import PersonPrior
from backend.fit.size import SizeSplit
from backend.fit.terms import identity_cost, identity_derivatives
from backend.head import GaussianMixture, Head

LAYOUT = "dense320"


@pytest.fixture(scope="module")
def head() -> Head:
    return Head.load()


def known(focal_px: float) -> RealtimeSettings:
    return RealtimeSettings(energy=FitSettings(focal_px=focal_px), solve_identity=False)


def test_landmarks_are_met_with_a_known_person(head: Head) -> None:
    shot = simulate(head, Simulation(frames=20, seed=3, noise_px=0.5))
    fitter = RealtimeFitter(head, LAYOUT, shot.image_size, known(shot.focal_px), shot.identity)
    fits = [
        fitter.step(points, sigma)
        for points, sigma in zip(shot.landmarks_2d, shot.landmark_sigma, strict=True)
    ]
    assert all(fit is not None and fit.error < 0.01 for fit in fits)
    assert [fit.is_cold for fit in fits if fit is not None] == [True] + 19 * [False]
    assert all((fit.frame.expression >= 0).all() for fit in fits if fit is not None)


def test_what_jumps_is_followed_at_once(head: Head) -> None:
    shot = simulate(head, Simulation(frames=1, seed=4, noise_px=0.3))
    fitter = RealtimeFitter(head, LAYOUT, shot.image_size, known(shot.focal_px), shot.identity)
    points, sigma = shot.landmarks_2d[0], shot.landmark_sigma[0]
    for _ in range(5):
        fitter.step(points, sigma)
    # 7 % of the face in one frame: farther than robust landmarks alone would draw it.
    size = np.ptp(points, axis=0).max()
    fit = fitter.step(points + 0.07 * size, sigma)
    assert fit is not None and not fit.is_cold and fit.error < 0.01


def test_a_blink_is_not_smoothed_away(head: Head) -> None:
    shot = simulate(head, Simulation(frames=1, seed=5, noise_px=0.0))
    fitter = RealtimeFitter(head, LAYOUT, shot.image_size, known(shot.focal_px), shot.identity)
    points, sigma = shot.landmarks_2d[0], shot.landmark_sigma[0]
    for _ in range(4):
        fitter.step(points, sigma)
    state = fitter._state
    assert state is not None
    lids = [head.expression_names.index(name) for name in ("eyeBlinkLeft", "eyeBlinkRight")]
    shut = state.expression.copy()
    shut[lids] = 1.0
    energy = fitter._energy(fitter.person.points, shot.focal_px, points, np.ones(len(points)))
    target = energy.pixels(replace(state, expression=shut))
    moved = fitter.step(target, sigma)
    assert moved is not None
    # In the very frame in which they close.
    assert moved.frame.expression[lids].min() > 0.6


def test_a_lost_face_is_forgotten_and_found(head: Head) -> None:
    shot = simulate(head, Simulation(frames=2, seed=6, noise_px=0.3))
    fitter = RealtimeFitter(head, LAYOUT, shot.image_size, known(shot.focal_px), shot.identity)
    points, sigma = shot.landmarks_2d[0], shot.landmark_sigma[0]
    assert fitter.foreseen() is None
    assert fitter.step(np.full_like(points, np.nan), sigma) is None
    fitter.step(points, sigma)
    fitter.miss()
    assert fitter.foreseen() is not None
    again = fitter.step(points, sigma)
    assert again is not None and not again.is_cold
    for _ in range(FitSettings().largest_gap + 1):
        fitter.miss()
    assert fitter.foreseen() is None
    back = fitter.step(points, sigma)
    assert back is not None and back.is_cold


def test_identity_and_focal_length_are_learnt(head: Head) -> None:
    shot = simulate(head, Simulation(frames=60, seed=7, noise_px=0.5))
    fitter = RealtimeFitter(
        head, LAYOUT, shot.image_size, RealtimeSettings(update_every=2, settled_every=2)
    )
    for points, sigma in zip(shot.landmarks_2d, shot.landmark_sigma, strict=True):
        fitter.step(points, sigma)
    person = fitter.person

    def neutral(identity: np.ndarray) -> np.ndarray:
        basis = head.identity_basis.numpy().astype(np.float64)
        shape = np.tensordot(identity.astype(np.float64), basis, 1)
        shape = shape[head.faces.numpy()].mean(1)
        return shape - shape.mean(0)

    mean = np.zeros(100)
    learnt = np.linalg.norm(neutral(fitter.identity) - neutral(shot.identity), axis=1).mean()
    unknown = np.linalg.norm(neutral(mean) - neutral(shot.identity), axis=1).mean()
    assert learnt < 0.85 * unknown
    begun = abs(person._start_log_focal - np.log(shot.focal_px))
    assert abs(np.log(person.focal_px / shot.focal_px)) < max(0.15, begun)
    assert person.version > 5 and len(person.keys) > 3


def test_the_prior_on_a_person_is_that_of_the_shot(head: Head) -> None:
    identity = simulate(head, Simulation(frames=1, seed=7)).identity.astype(np.float64)
    split, mixture = SizeSplit.of(head), head.identity_prior
    split = SizeSplit(split.growth.double(), split.direction.double())
    mixture = GaussianMixture(
        mixture.weights.double(), mixture.means.double(), mixture.precision_chol.double()
    )
    at = torch.from_numpy(identity).requires_grad_(True)
    (expected,) = torch.autograd.grad(identity_cost(split.at_mean_size(at), mixture), at)
    gradient, hessian = PersonPrior(head).derivatives(identity)
    np.testing.assert_allclose(gradient, expected.numpy(), rtol=1e-8, atol=1e-9)
    at = at.detach()
    turn = split.derivative(at)
    _, straight = identity_derivatives(split.at_mean_size(at), mixture)
    np.testing.assert_allclose(hessian, (turn.T @ straight @ turn).numpy(), rtol=1e-8, atol=1e-8)


def test_shared_jacobian_is_a_difference_quotient(head: Head) -> None:
    shot = simulate(head, Simulation(frames=1, seed=8))
    fitter = RealtimeFitter(head, LAYOUT, shot.image_size, RealtimeSettings(), shot.identity)
    fitter.step(shot.landmarks_2d[0], shot.landmark_sigma[0])
    assert fitter._state is not None
    turned = fitter._state.rotmat.copy()
    energy = fitter._energy(
        fitter.person._mean.of_person(np.asarray(shot.identity, np.float64)), 700.0,
        np.asarray(shot.landmarks_2d[0], np.float64), np.ones(320),
    )  # fmt: skip
    state = FrameState(fitter._state.expression, turned, fitter._state.translation)
    jacobian = shared_jacobian(energy, state, energy.pixels(state))
    for column in (0, 7, 99):
        step = np.zeros(100)
        step[column] = 1e-4
        sides = [
            replace(energy, points=fitter.person._mean.of_person(shot.identity + sign * step))
            for sign in (1, -1)
        ]
        quotient = (sides[0].pixels(state) - sides[1].pixels(state)) / 2e-4
        np.testing.assert_allclose(jacobian[..., column], quotient, rtol=1e-4, atol=1e-4)
    wider = replace(energy, focal_px=700.0 * np.exp(1e-5)).pixels(state)
    narrower = replace(energy, focal_px=700.0 * np.exp(-1e-5)).pixels(state)
    np.testing.assert_allclose(jacobian[..., 100], (wider - narrower) / 2e-5, rtol=1e-4, atol=1e-3)


def test_a_wrong_focal_length_is_refused(head: Head) -> None:
    with pytest.raises(BadInputError):
        RealtimeFitter(head, LAYOUT, (640, 480), known(-1.0))


@pytest.mark.skipif(not IS_COMPILED, reason="numba is not installed: pip install 'mien[cpu]'")
def test_compiled_code_is_kept_apart_for_each_numpy() -> None:
    """numba loads what another NumPy compiled, and it crashes."""
    assert f"numpy-{np.__version__}" in kernel.accumulate.stats.cache_path
