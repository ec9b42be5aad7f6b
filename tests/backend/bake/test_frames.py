"""Chosen frames are few, valid and spread over the views."""

from __future__ import annotations

import numpy as np

from backend.bake.frames import select_frames, viewing_directions

NAMES = ("eyeBlinkLeft", "eyeBlinkRight", "jawOpen")


def poses(yaw: np.ndarray) -> np.ndarray:
    pose = np.tile(np.eye(4), (len(yaw), 1, 1))
    pose[:, 0, 0] = pose[:, 2, 2] = np.cos(yaw)
    pose[:, 0, 2], pose[:, 2, 0] = np.sin(yaw), -np.sin(yaw)
    pose[:, 2, 3] = 0.6
    return pose


def test_directions_turn_with_the_head() -> None:
    direction = viewing_directions(poses(np.array([0.0, np.pi / 2])))
    np.testing.assert_allclose(direction, [[0, 0, -1], [1, 0, 0]], atol=1e-12)


def test_a_turn_is_covered_evenly() -> None:
    yaw = np.concatenate((np.zeros(200), np.linspace(-1, 1, 41)))
    chosen = select_frames(poses(yaw), np.ones(len(yaw), bool), 5)
    assert len(chosen) == 5 and (np.diff(chosen) > 0).all()
    np.testing.assert_allclose(np.sort(yaw[chosen]), [-1, -0.5, 0, 0.5, 1], atol=0.11)


def test_short_still_and_lost_shots() -> None:
    found = np.array([True, False, True, True])
    still = poses(np.zeros(4))
    np.testing.assert_array_equal(select_frames(still, found, 10), [0, 2, 3])
    assert len(set(select_frames(still, found, 2))) == 2
    still[2] = np.nan
    assert 2 not in select_frames(still, found, 10)
    assert len(select_frames(still, np.zeros(4, bool), 3)) == 0


def test_blinks_are_avoided_and_an_open_mouth_is_wanted() -> None:
    expression = np.zeros((30, 3))
    expression[5:25, :2] = 0.9
    expression[28, 2] = 1.0
    chosen = select_frames(poses(np.zeros(30)), np.ones(30, bool), 2, expression, NAMES)
    assert 28 in chosen
    many = select_frames(poses(np.zeros(30)), np.ones(30, bool), 8, expression, NAMES)
    assert not np.isin(many, np.arange(5, 25)).any()
    expression[:, :2] = 0.9
    blinking = select_frames(poses(np.zeros(30)), np.ones(30, bool), 3, expression, NAMES)
    assert len(blinking) == 3
