"""The bundle adjustment of skin features on scenes of known truth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from backend.fit.tracks.bundle import (
    BundleSettings,
    Observed,
    Prior,
    Scene,
    _cost,
    _moved,
    _normal_equations,
    minimise_bundle,
    predict,
)

Array = NDArray[np.float64]
FOCAL = 900.0


@dataclass(frozen=True)
class Known:
    truth: Scene
    start: Scene
    observed: Observed
    prior: Prior


def scene(
    frames: int = 24, points: int = 90, turn_deg: float = 25.0, noise_px: float = 0.2,
    modes: int = 0, seed: int = 0,
) -> Known:  # fmt: skip
    """A bowl of points, as deep as a face, that turns before the camera; a start 35 % too long."""
    rng = np.random.default_rng(seed)
    xy = rng.uniform(-0.075, 0.075, (points, 2))
    at = np.column_stack([xy, 9.0 * (xy**2).sum(1) - 0.05])
    normals = np.column_stack([18.0 * xy, -np.ones(points)])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    phase = np.linspace(0, 2 * np.pi, frames, endpoint=False)
    turn = np.radians(turn_deg) * np.column_stack(
        [0.5 * np.sin(2 * phase), np.sin(phase), 0.1 * np.cos(phase)]
    )
    rotmat = Rotation.from_rotvec(turn).as_matrix()
    translation = np.column_stack(
        [0.02 * np.cos(phase), 0.01 * np.sin(phase), 0.55 + 0.02 * np.sin(phase)]
    )
    shapes = rng.normal(0, 6e-4, (modes, points, 3))
    truth = Scene(rotmat, translation, at, np.log(FOCAL), rng.normal(0, 1, (frames, modes)))
    blank = Observed(
        np.zeros((frames, points, 2)), np.ones((frames, points)), np.zeros((frames, points, 3)),
        shapes, np.array([320.0, 240.0]),
    )  # fmt: skip
    pixels = predict(truth, blank)[0] + rng.normal(0, noise_px, (frames, points, 2))
    weight = (rng.random((frames, points)) < 0.8) / max(noise_px, 0.05) ** 2
    observed = replace(blank, position=pixels, weight=weight)
    off = at + rng.normal(0, 1.5e-3, at.shape)
    start = Scene(
        Rotation.from_rotvec(turn + rng.normal(0, 0.02, turn.shape)).as_matrix(),
        translation * 1.35, off, float(np.log(1.35 * FOCAL)), np.zeros((frames, modes)),
    )  # fmt: skip
    prior = Prior(off, normals, 0.006, 0.02, start.log_focal, 1.0)
    return Known(truth, start, observed, prior)


@pytest.mark.parametrize("modes", [0, 3])
def test_gradient_is_that_of_the_cost(modes: int) -> None:
    known = scene(frames=4, points=9, modes=modes, noise_px=2.0)
    settings = BundleSettings()
    at = replace(known.start, modes=known.truth.modes)
    normal = _normal_equations(at, known.observed, known.prior, settings)
    frames, border = np.zeros_like(normal.frame_gradient), np.zeros_like(normal.border_gradient)
    for target, gradient in (
        (frames, normal.frame_gradient), (border, normal.border_gradient),
    ):  # fmt: skip
        numeric = np.zeros(target.size)
        for i in range(target.size):
            step = 1e-6
            costs = []
            for sign in (1, -1):
                target.flat[i] = sign * step
                moved = _moved(at, frames, border)
                costs.append(_cost(moved, known.observed, known.prior, settings))
            target.flat[i] = 0.0
            numeric[i] = (costs[0] - costs[1]) / (2 * step)
        np.testing.assert_allclose(
            numeric, gradient.ravel(), rtol=1e-4, atol=1e-5 * np.abs(gradient).max()
        )


@pytest.mark.parametrize("seed", range(3))
def test_focal_length_within_its_deviation(seed: int) -> None:
    known = scene(seed=seed)
    solved = minimise_bundle(known.start, known.observed, known.prior)
    error = solved.scene.log_focal - np.log(FOCAL)
    assert solved.log_focal_sd < 0.02
    assert abs(error) < 3.5 * solved.log_focal_sd
    assert all(b <= a for a, b in zip(solved.costs, solved.costs[1:], strict=False))


def test_hidden_and_wild_observations_do_not_count() -> None:
    known = scene()
    rng = np.random.default_rng(1)
    position = known.observed.position.copy()
    position[known.observed.weight == 0] = 1e6
    wild = rng.random(position.shape[:2]) < 0.05
    position[wild] += rng.normal(0, 30, (int(wild.sum()), 2))
    observed = replace(known.observed, position=position)
    solved = minimise_bundle(known.start, observed, known.prior)
    assert abs(solved.scene.log_focal - np.log(FOCAL)) < 0.03
    assert (solved.residual[observed.weight == 0] == 0).all()


def test_a_head_that_does_not_turn_leaves_the_focal_length_open() -> None:
    still, turning = scene(turn_deg=1.0), scene(turn_deg=25.0)
    open_, closed = (minimise_bundle(k.start, k.observed, k.prior) for k in (still, turning))
    assert open_.log_focal_sd > 5 * closed.log_focal_sd


def test_modes_take_up_what_expressions_move() -> None:
    known = scene(modes=4)
    rigid = replace(known.observed, modes=known.observed.modes[:0])
    start = replace(known.start, modes=known.start.modes[:, :0])
    with_modes = minimise_bundle(known.start, known.observed, known.prior)
    without = minimise_bundle(start, rigid, known.prior)
    assert abs(with_modes.scene.log_focal - np.log(FOCAL)) < 0.03
    size = [np.linalg.norm(x.residual, axis=-1).mean() for x in (with_modes, without)]
    assert size[0] < 0.5 * size[1]


def test_influences_cancel_at_the_minimum() -> None:
    """But for the priors, which pull with little."""
    known = scene()
    wide = replace(known.prior, normal_sd=1.0, tangent_sd=1.0, log_focal_sd=10.0)
    settings = BundleSettings(tolerance=1e-10, iterations=100)
    solved = minimise_bundle(known.start, known.observed, wide, settings)
    assert abs(solved.influence.sum()) < 0.05 * np.abs(solved.influence).sum()
    assert abs(solved.influence.sum()) < 0.3 * solved.log_focal_sd
