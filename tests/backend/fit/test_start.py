"""Where the fit starts: poses, cuts, absences, key frames."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from backend.fit import start

RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(80, 3)) * 0.07
K = np.array([[900.0, 0, 319.5], [0, 900.0, 239.5], [0, 0, 1]])


def projected(rotvec: np.ndarray, translation: np.ndarray) -> np.ndarray:
    camera = Rotation.from_rotvec(rotvec).apply(POINTS) + translation
    return camera[:, :2] / camera[:, 2:] * 900.0 + K[:2, 2]


@pytest.mark.parametrize("yaw", [-1.4, -0.5, 0.0, 0.7, 1.4])
def test_pose_is_found_again(yaw: float) -> None:
    rotvec, translation = np.array([0.1, yaw, -0.2]), np.array([0.05, -0.02, 0.6])
    found = start.solve_pose(POINTS, projected(rotvec, translation), np.ones(80), K)
    np.testing.assert_allclose(found[0], rotvec, atol=1e-4)
    np.testing.assert_allclose(found[1], translation, atol=1e-4)


def test_uncertain_landmarks_do_not_decide_the_pose() -> None:
    rotvec, translation = np.array([0.1, 0.3, 0.0]), np.array([0.0, 0.0, 0.6])
    landmarks, sigma = projected(rotvec, translation), np.ones(80)
    landmarks[:30] += 200.0
    sigma[:30] = 50.0
    found = start.solve_pose(POINTS, landmarks, sigma, K)
    np.testing.assert_allclose(found[0], rotvec, atol=1e-4)


def moving_face(frames: int) -> np.ndarray:
    face = RNG.normal(size=(1, 50, 2)) * 60 + 300
    return face + np.arange(frames)[:, None, None] * 4.0


def test_size_ignores_what_is_missing() -> None:
    face = moving_face(2)
    size = start.face_size(face)
    face[1, ::2] = np.nan
    assert start.face_size(face)[1] == pytest.approx(size[0], rel=0.2)
    assert np.isnan(start.face_size(np.full((1, 5, 2), np.nan))[0])


def test_links_break_at_cuts_and_long_absences() -> None:
    face, found = moving_face(30), np.ones(30, bool)
    face[20:] += 300.0  # a jump
    face[25:] = (face[25:] - face[25:].mean(axis=1, keepdims=True)) * 1.5 + 600.0  # a zoom
    found[3:5], found[8:14] = False, False
    link = start.link_frames(face, found, start.face_size(face), largest_gap=4)
    broken = set(np.flatnonzero(link == 0))
    assert broken == {19, 24} | set(range(7, 14))


def test_absences_go_over_but_cuts_hold() -> None:
    face, found = moving_face(30), np.ones(30, bool)
    face[20:] += 3000.0
    found[5:14], found[18:22] = False, False
    size = start.face_size(face)
    link = start.link_frames(face, found, size, largest_gap=4)
    first, second, share = start.carried_from(face, found, size, link)
    np.testing.assert_allclose(share[5:14], np.arange(1, 10) / 10)
    assert (first[5:14] == 4).all() and (second[5:14] == 14).all()
    assert (first[18:22] == 17).all() and list(share[18:22]) == [0, 0, 1, 1]
    assert (first[found] == -1).all()


def test_keys_are_spread_and_certain() -> None:
    frames = 40
    shape = RNG.normal(size=(1, 50, 2)) * 60
    opening = np.linspace(0, 1, frames)[:, None, None]
    face = 300 + shape * (1 + 0.3 * opening * RNG.normal(size=(1, 50, 2)))
    sigma, found = np.ones((frames, 50)), np.ones(frames, bool)
    sigma[10:13], found[30] = 30.0, False
    keys = start.choose_keys(face, sigma, found, 8)
    assert len(set(keys)) == 8 and (np.diff(keys) > 0).all()
    assert not {10, 11, 12, 30} & set(keys)
    assert keys[0] <= 2 and keys[-1] >= 37 and np.diff(keys).max() < 12
    assert list(start.choose_keys(face, sigma, found, 100)) == list(np.flatnonzero(found))


def test_poses_are_filled_between_neighbours() -> None:
    rotvec, translation = np.zeros((5, 3)), np.zeros((5, 3))
    rotvec[3, 1], translation[3, 0] = 0.4, 2.0
    found = np.array([False, True, False, True, False])
    filled, moved = start.fill_poses(rotvec, translation, found)
    np.testing.assert_allclose(filled[:, 1], [0, 0, 0.2, 0.4, 0.4], atol=1e-9)
    np.testing.assert_allclose(moved[:, 0], [0, 0, 1, 2, 2])
