"""Lag by cross-correlation, against motions that are late by a known time."""

from __future__ import annotations

import numpy as np
import pytest

from backend.evaluate.lag import lag_of, openings


def motion(late: float) -> np.ndarray:
    """A blink-like motion of 120 frames that comes `late` frames after its time."""
    t = np.arange(120) - late
    return sum(np.exp(-(((t - at) / 3.0) ** 2)) for at in (15, 33, 58, 80, 101))  # type: ignore[return-value]


@pytest.mark.parametrize("late", [-1.3, 0.0, 0.4, 2.0, 3.7])
def test_lag_is_told_to_a_tenth_of_a_frame(late: float) -> None:
    assert lag_of(5 + 2 * motion(late), motion(0.0)) == pytest.approx(late, abs=0.1)


def test_missing_frames_do_not_matter() -> None:
    follows = motion(1.0)
    follows[40:44] = np.nan
    assert lag_of(follows, motion(0.0)) == pytest.approx(1.0, abs=0.15)


def test_noise_has_no_lag() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 200))
    assert np.isnan(lag_of(a, b))
    assert np.isnan(lag_of(motion(0.0)[:10], motion(0.0)[:10]))


def test_openings_are_shares_of_the_eyes_distance() -> None:
    points = np.zeros((4, 68, 2))
    points[:, 45, 0] = 50.0
    for low in (40, 41, 46, 47):
        points[:, low, 1] = 10.0
    found = {name: (a, b) for name, a, b in openings(points, 2 * points)}
    assert found["eyes"][0] == pytest.approx([0.2] * 4)
    assert found["eyes"][1] == pytest.approx([0.2] * 4)
    assert found["mouth"][0] == pytest.approx([0.0] * 4)
