"""What covers the head goes on in time."""

from __future__ import annotations

import numpy as np

from backend.bake.steady import REACH, steady_in_time


def _sheet(spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """A square sheet of 41 x 41 vertices, metres, and its triangles."""
    side = 41
    x, y = np.meshgrid(np.arange(side), np.arange(side))
    points = np.stack((spacing * x, spacing * y, 0 * x), -1).reshape(-1, 3).astype(np.float32)
    at = (side * y + x)[:-1, :-1].reshape(-1, 1)
    faces = np.concatenate((at + [0, 1, side], at + [1, side + 1, side]))
    return points, faces


def _disc(points: np.ndarray, x: float, radius: float = 0.004) -> np.ndarray:
    middle = np.array((x, points[:, 1].mean(), 0))
    return np.linalg.norm(points - middle, axis=1) < radius


def test_single_frames_fall_out_and_gaps_close() -> None:
    points, faces = _sheet(0.002)
    disc = _disc(points, 0.04)
    covered = np.zeros((9, len(points)), np.float32)
    covered[np.ix_([0, 8], disc.nonzero()[0])] = 1.0
    covered[np.ix_([4, 6], disc.nonzero()[0])] = 0.9
    steady = steady_in_time(covered, points, faces) >= 0.5
    assert not steady[[0, 8]].any()
    np.testing.assert_array_equal(steady[5], disc)
    lasting = np.zeros_like(covered)
    lasting[3:6, disc] = 0.9
    np.testing.assert_array_equal(steady_in_time(lasting, points, faces) >= 0.5, lasting >= 0.5)


def test_how_far_a_cover_moves_is_measured_in_metres() -> None:
    """A dense mesh (as around the eyes) is no reason to doubt what a coarse one would keep."""
    for spacing in (0.004, 0.001):
        points, faces = _sheet(spacing)
        radius = 3 * spacing
        step = min(0.7 * REACH, 15 * spacing) + 2 * radius
        covered = np.zeros((2, len(points)), np.float32)
        for frame in range(2):
            covered[frame, _disc(points, radius + step * frame, radius)] = 1.0
        covered = np.concatenate((covered, 0 * covered))
        steady = steady_in_time(covered, points, faces) >= 0.5
        np.testing.assert_array_equal(steady, covered >= 0.5)


def test_a_region_is_kept_whole_and_others_are_not() -> None:
    points, faces = _sheet(0.005)
    covered = np.zeros((3, len(points)), np.float32)
    covered[0, _disc(points, 0.0, 0.006)] = 1.0
    long = (points[:, 0] < 0.15) & _disc(points * [0, 1, 0], 0.0, 0.006)
    apart = _disc(points, 0.19, 0.011)
    covered[1, long | apart] = 1.0
    covered[2] = covered[0]
    steady = steady_in_time(covered, points, faces) >= 0.5
    # Far beyond the reach of what the other frames show, but of one piece with it.
    assert long[points[:, 0] > 2 * REACH].any() and not (long & apart).any()
    np.testing.assert_array_equal(steady[1], long)
