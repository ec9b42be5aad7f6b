"""The filter keeps what it should and takes away noise."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest

Addon = Callable[[str], ModuleType]


@pytest.mark.parametrize("width", [0.3, 1.0, 4.0, 30.0])
def test_parabolas_stay_in_gaps_and_at_the_ends(addon: Addon, width: float) -> None:
    frames = np.delete(np.arange(100, 160), [5, 6, 7, 30])
    time = (frames - 120) / 20
    values = np.stack([time**2 - time, np.full(len(time), 3.0)], -1)
    smooth = addon("smoothing").smooth(values, frames, width)
    assert np.abs(smooth - values).max() < 1e-6


def test_nothing_is_shifted_in_time(addon: Addon) -> None:
    frames = np.arange(61)
    pulse = (frames == 30).astype(float)
    smooth = addon("smoothing").smooth(pulse, frames, 2.0)
    assert np.argmax(smooth) == 30
    assert np.abs(smooth - smooth[::-1]).max() < 1e-12
    backwards = addon("smoothing").smooth(pulse[::-1], frames, 2.0)[::-1]
    assert np.abs(smooth - backwards).max() < 1e-12


def test_noise_goes_and_a_blink_stays(addon: Addon) -> None:
    rng = np.random.default_rng(3)
    frames = np.arange(200)
    blink = np.exp(-0.5 * ((frames - 90) / 3.0) ** 2)
    noise = 0.03 * rng.standard_normal(200)
    smooth = addon("smoothing").smooth(blink + noise, frames, 1.5)
    assert np.std(smooth - blink) < 0.65 * np.std(noise)
    assert smooth.max() > 0.93


def test_zero_gives_the_values_back_and_lost_frames_weigh_little(addon: Addon) -> None:
    smoothing = addon("smoothing")
    values = np.random.default_rng(0).random((12, 3))
    assert np.array_equal(smoothing.smooth(values, np.arange(12), 0.0), values)
    line = np.arange(12.0)
    line[6] = 50.0
    weights = np.ones(12)
    weights[6] = smoothing.LOST_WEIGHT
    smooth = smoothing.smooth(line, np.arange(12), 2.0, weights)
    assert abs(smooth[6] - 6.0) < 3.0


def test_rotations_stay_rotations(addon: Addon) -> None:
    rng = np.random.default_rng(1)
    angle = np.linspace(0, 1.5, 40) + 0.02 * rng.standard_normal(40)
    turns = np.stack([np.cos(angle / 2), np.sin(angle / 2), 0 * angle, 0 * angle], -1)
    smooth = addon("smoothing").smooth_quaternions(turns, np.arange(40), 2.0)
    assert np.abs(np.linalg.norm(smooth, axis=-1) - 1).max() < 1e-12
    found = 2 * np.arctan2(smooth[:, 1], smooth[:, 0])
    assert np.abs(np.diff(found, 2)).mean() < 0.5 * np.abs(np.diff(angle, 2)).mean()


def test_matrices_and_quaternions_agree(addon: Addon) -> None:
    rotations = addon("scene.rotations")
    rng = np.random.default_rng(2)
    turns = rng.standard_normal((500, 4))
    # Half turns too, where single formulas lose their digits.
    turns[:50, 0] = 0.0
    turns /= np.linalg.norm(turns, axis=-1, keepdims=True)
    matrices = rotations.quaternion_to_matrix(turns)
    assert np.abs(matrices @ np.swapaxes(matrices, -1, -2) - np.eye(3)).max() < 1e-12
    assert np.linalg.det(matrices) == pytest.approx(np.ones(500))
    back = rotations.matrix_to_quaternion(matrices)
    assert np.abs(np.abs((back * turns).sum(-1)) - 1).max() < 1e-12
