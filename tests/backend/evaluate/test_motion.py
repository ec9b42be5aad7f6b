"""Steadiness and velocities of motions whose every number is known."""

from __future__ import annotations

import numpy as np
import pytest

from backend.evaluate.motion import (
    identity_switches,
    jitter,
    losses,
    merged_frames,
    roi_jitter,
    temporal_error,
)


@pytest.fixture
def face() -> np.ndarray:
    """(68,2): any upright face whose outer eye corners are 100 px apart."""
    points = np.random.default_rng(0).uniform(40, 160, (68, 2))
    points[36], points[45] = (50, 80), (150, 80)
    points[27], points[8] = (100, 80), (100, 180)
    return points


def _moving(face: np.ndarray, frames: int, velocity: tuple[float, float]) -> np.ndarray:
    return face + np.arange(frames)[:, None, None] * np.array(velocity)


def test_constant_velocity_has_no_jitter(face: np.ndarray) -> None:
    track = _moving(face, 6, (3.0, -2.0))
    np.testing.assert_allclose(jitter(track), np.zeros(4), atol=1e-10)
    for part in roi_jitter(track):
        np.testing.assert_allclose(part, np.zeros(4), atol=1e-9)


def test_jitter_is_the_second_difference_over_the_eyes(face: np.ndarray) -> None:
    track = np.repeat(face[None], 5, axis=0)
    track[2, :, 0] += 3.0  # second differences of 3, -6, 3 px at 100 px between the eyes
    np.testing.assert_allclose(jitter(track), [3.0, 6.0, 3.0])
    centre, side = roi_jitter(track)
    assert centre[1] == pytest.approx(2 * centre[0]) and centre[0] > 0
    np.testing.assert_allclose(side, 0, atol=1e-9)


def test_the_size_of_the_region_jitters_on_its_own(face: np.ndarray) -> None:
    track = np.repeat(face[None], 3, axis=0)
    low, high = face.min(0), face.max(0)
    track[1] = (low + high) / 2 + 1.05 * (face - (low + high) / 2)
    centre, side = roi_jitter(track)
    np.testing.assert_allclose(side, [100 * 2 * 0.05 / 1.05], rtol=1e-6)
    np.testing.assert_allclose(centre, 0, atol=1e-9)


def test_missing_frames_and_cuts_do_not_jitter(face: np.ndarray) -> None:
    track = _moving(face, 7, (1.0, 0.0))
    track[3] = np.nan
    values = jitter(track)
    np.testing.assert_array_equal(np.isnan(values), [False, True, True, True, False])
    elsewhere = _moving(face, 6, (1.0, 0.0))
    elsewhere[3:] += 500.0
    values = jitter(elsewhere)
    np.testing.assert_array_equal(np.isnan(values), [False, True, True, False])
    np.testing.assert_allclose(values[[0, 3]], 0, atol=1e-10)
    assert np.isnan(jitter(np.full((4, 68, 2), np.nan))).all()
    assert jitter(track[:2]).shape == (0,)


def test_equation_11_by_hand() -> None:
    """Two landmarks, two moves each: (5, 1), (2, 4) px truly, (10, 1), (1, 4) as predicted."""
    truth = np.array([[[0, 0], [0, 0]], [[3, 4], [2, 0]], [[3, 5], [2, 4]]], float)
    predicted = np.array([[[9, 9], [0, 0]], [[9, 19], [0, 1]], [[10, 19], [4, 1]]], float)
    error = temporal_error(predicted, truth)
    # (10-5)/5 = 1, (1-1)/1 = 0, (1-2)/2 = -0.5, (4-4)/4 = 0
    assert error.signed == pytest.approx(0.5 / 4)
    assert error.absolute == pytest.approx(1.5 / 4)
    assert error.pooled == pytest.approx((5 + 0 + 1 + 0) / 12)
    assert error.left_out == 0


def test_equation_11_ignores_position_and_leaves_out_what_rests() -> None:
    rng = np.random.default_rng(1)
    truth = np.cumsum(rng.normal(size=(5, 4, 2)), axis=0)
    truth[:, 0] = 7.0  # rests
    error = temporal_error(truth + 30.0, truth, least_move_px=1e-6)
    assert error.left_out == 0.25
    assert max(abs(error.signed), error.absolute, error.pooled) < 1e-9
    noisy = truth + rng.normal(0, 0.5, truth.shape)
    assert np.isfinite(temporal_error(noisy, truth).signed)
    lost = noisy.copy()
    lost[2] = np.nan
    expected = temporal_error(noisy[[0, 1]], truth[[0, 1]]).pooled
    other = temporal_error(noisy[[3, 4]], truth[[3, 4]]).pooled
    moves = np.linalg.norm(np.diff(truth, axis=0), axis=-1).sum(1)
    mixed = (expected * moves[0] + other * moves[3]) / (moves[0] + moves[3])
    assert temporal_error(lost, truth).pooled == pytest.approx(mixed)
    assert np.isnan(temporal_error(np.full_like(truth, np.nan), truth).signed)


def test_losses() -> None:
    assert losses(np.array([False, True, True, False, False, True, False])) == 2
    assert losses(np.zeros(4, bool)) == losses(np.ones(4, bool)) == 0


def test_identities(face: np.ndarray) -> None:
    """Two people side by side, whose tracks change places once and then fall together."""
    left, right = _moving(face, 6, (2.0, 0.0)), _moving(face + [300, 0], 6, (-2.0, 0.0))
    assert identity_switches(np.stack([left, right])) == 0
    swapped = np.stack([left, right])
    swapped[:, 3:] = swapped[::-1, 3:]
    assert identity_switches(swapped) == 1
    # A gap does not hide it.
    swapped[0, 3] = np.nan
    assert identity_switches(swapped) == 1
    assert merged_frames(np.stack([left, right])) == 0
    together = np.stack([left, right])
    together[1, 4:] = together[0, 4:] + 1.0
    assert merged_frames(together) == 2
