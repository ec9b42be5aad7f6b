"""The measure itself: the truth has no error, and known errors come out as what they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backend.evaluate.fit_recovery import SimulatedShot, Simulation, recovery, simulate
from backend.fit import ShotFit
from backend.head import Head


@pytest.fixture(scope="module")
def head() -> Head:
    return Head.load()


@pytest.fixture(scope="module")
def shot(head: Head) -> SimulatedShot:
    return simulate(head, Simulation(frames=6, seed=1, noise_px=2.0, lost=(2, 4)))


def perfect(shot: SimulatedShot) -> ShotFit:
    return ShotFit(
        shot.identity, shot.expression, shot.rotations, shot.translation, shot.focal_px,
        shot.found, (),
    )  # fmt: skip


def test_the_truth_has_no_error(head: Head, shot: SimulatedShot) -> None:
    error = recovery(head, shot, perfect(shot))
    assert max(abs(value) for value in vars(error).values()) < 1e-3
    assert list(shot.found) == [True, True, False, False, True, True]
    assert np.isnan(shot.landmarks_2d[2:4]).all()


def test_known_errors_are_measured(head: Head, shot: SimulatedShot) -> None:
    fit = perfect(shot)
    longer = recovery(head, shot, replace(fit, focal_px=1.1 * shot.focal_px))
    assert longer.focal_percent == pytest.approx(10.0) and longer.mesh_mm < 1e-3
    turned = fit.rotations.copy()
    turned[:, 1] = 0.0
    angle = np.degrees(np.linalg.norm(shot.rotations[shot.found, 1], axis=1).mean())
    error = recovery(head, shot, replace(fit, rotations=turned))
    assert error.rotation_deg == pytest.approx(angle, rel=1e-3)
    # The rows that were lost do not count.
    lost = fit.expression.copy()
    lost[2:4] = 1.0
    assert recovery(head, shot, replace(fit, expression=lost)).expression == 0.0
    truth_larger = replace(shot, vertices=1.05 * shot.vertices)
    larger = recovery(head, truth_larger, fit)
    assert larger.size_percent == pytest.approx(100 / 1.05 - 100, abs=1e-3)
    assert larger.shape_mm < 1e-3 < 1.0 < larger.mesh_mm


def test_landmarks_carry_the_noise_asked_for(head: Head) -> None:
    clean = simulate(head, Simulation(frames=5, seed=3))
    noisy = simulate(head, Simulation(frames=5, seed=3, noise_px=2.0))
    error = noisy.landmarks_2d - clean.landmarks_2d
    assert error.std() == pytest.approx(2.0, rel=0.05)
    assert noisy.landmark_sigma.min() == noisy.landmark_sigma.max() == 2.0
