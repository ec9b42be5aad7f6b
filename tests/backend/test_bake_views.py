"""The shot as a further camera filmed it: which of its pictures, and where the head is in them."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from backend.bake.shot import PosedShot
from backend.bake_stage import posed_shot_of
from backend.bake_views import shot_of_camera
from shared.conventions import intrinsics
from shared.messages import CameraResult
from tests.backend.conftest import KnownShot

TURN = Rotation.from_euler("y", 90, degrees=True).as_matrix()
MIDDLE = np.array([0.0, 0.0, 0.7])


def camera(offset: float, seen: tuple[bool, bool, bool] = (True, True, True)) -> CameraResult:
    """From the side, in larger pictures; landmarks move by a pixel a frame."""
    landmarks = np.arange(3, dtype=np.float32)[:, None, None] + np.zeros((3, 320, 2), np.float32)
    landmarks[~np.array(seen)] = np.nan
    return CameraResult(
        number=1,
        clip="/b.mp4",
        offset=offset,
        image_size=(640, 480),
        K=intrinsics(900.0, (640, 480)),
        rotation=TURN,
        translation=MIDDLE - TURN @ MIDDLE,
        landmarks_2d=landmarks,
        landmark_sigma=np.ones((3, 320), np.float32),
    )


@pytest.fixture
def first(known_shot: KnownShot) -> PosedShot:
    return posed_shot_of(known_shot.track, known_shot.head)


def footage(rate: int) -> Any:
    return SimpleNamespace(frame_rate=Fraction(rate))


def test_pictures_are_taken_at_their_own_moments(first: PosedShot, known_shot: KnownShot) -> None:
    """Frame t of the first is frame t + 10.5 of the other: its 11 and 12 lie between."""
    shot = shot_of_camera(first, camera(10.5), footage(24), Fraction(24), known_shot.head)
    assert shot is not None
    assert shot.frame_index.tolist() == [11, 12] and shot.found.all()
    middle = 0.5 * (first.vertices[:2] + first.vertices[1:])
    np.testing.assert_allclose(shot.vertices, (middle - MIDDLE) @ TURN.T + MIDDLE, atol=1e-6)
    assert shot.landmarks_2d is not None
    np.testing.assert_allclose(shot.landmarks_2d[:, 0, 0], [0.5, 1.5])
    np.testing.assert_allclose(shot.K, [intrinsics(900.0, (640, 480))] * 2)
    # From the side other vertices are seen than from the front.
    assert (np.abs(shot.visibility[0] - first.visibility[0]) > 0.5).mean() > 0.2
    np.testing.assert_allclose(
        shot.head_pose[0, :3, :3] @ shot.head_pose[0, :3, :3].T, np.eye(3), atol=1e-5
    )


def test_rates_and_gaps(first: PosedShot, known_shot: KnownShot) -> None:
    twice = shot_of_camera(first, camera(0.0), footage(48), Fraction(24), known_shot.head)
    assert twice is not None and twice.frame_index.tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(twice.landmarks_2d[:, 0, 0], [0, 0.5, 1, 1.5, 2])
    gap = camera(0.0, (True, False, True))
    holed = shot_of_camera(first, gap, footage(48), Fraction(24), known_shot.head)
    assert holed is not None and holed.found.tolist() == [True, False, False, False, True]
    for nowhere in (camera(-50.0), camera(0.0, (False, False, False))):
        assert shot_of_camera(first, nowhere, footage(24), Fraction(24), known_shot.head) is None
