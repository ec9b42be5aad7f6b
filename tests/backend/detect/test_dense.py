"""The shipped detector on real pictures."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import skimage.data
import torch

from backend.detect import DenseDetector, FaceLandmarks, FaceTracker
from backend.detect.windows import Window, crop

EYE_RIGHT, EYE_LEFT, NOSE_TIP = (203, 101), (248, 103), (226, 126)
"""Where the astronaut's eyes and nose are, read off the picture."""


@pytest.fixture(scope="module")
def detector() -> DenseDetector:
    return DenseDetector.load()


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    return skimage.data.astronaut()


def _eyes_and_nose(face: FaceLandmarks) -> np.ndarray:
    points, _ = face.ibug68()
    return np.stack([points[36:42].mean(0), points[42:48].mean(0), points[30]])


def _expected(scale: float = 1.0) -> np.ndarray:
    return np.array([EYE_RIGHT, EYE_LEFT, NOSE_TIP], float) * scale


def test_astronaut(detector: DenseDetector, astronaut: np.ndarray) -> None:
    faces = detector.find(astronaut)
    assert len(faces) == 1
    face = faces[0]
    assert face.landmarks_2d.shape == (320, 2) and face.landmark_sigma.shape == (320,)
    assert face.contour_2d is not None and face.contour_2d.shape == (17, 2)
    assert detector.is_face(face) and face.score > 0.9
    np.testing.assert_allclose(_eyes_and_nose(face), _expected(), atol=5)
    jaw = face.ibug68()[0][:17]
    assert jaw[0, 0] < EYE_RIGHT[0] < EYE_LEFT[0] < jaw[16, 0] and jaw[8, 1] > NOSE_TIP[1] + 20


@pytest.mark.parametrize("name", ["coffee", "rocket", "chelsea", "hubble_deep_field"])
def test_no_face(detector: DenseDetector, name: str) -> None:
    assert detector.find(getattr(skimage.data, name)(), max_faces=3) == []


def test_mirror_averaging_is_mirrored(detector: DenseDetector, astronaut: np.ndarray) -> None:
    """With averaging, a mirrored picture gives the mirrored landmarks."""
    window = Window(224.0, 120.0, 150.0)
    there = Window(511.0 - 224.0, 120.0, 150.0)
    one = detector.look(astronaut, [window], "final")[0]
    other = detector.look(np.ascontiguousarray(astronaut[:, ::-1]), [there], "final")[0]
    nose = other.landmarks_2d[27:31] * [-1, 1] + [511, 0]
    np.testing.assert_allclose(nose, one.landmarks_2d[27:31], atol=0.3)


@torch.inference_mode()
def test_shared_windows_agree_with_cut_ones(detector: DenseDetector, astronaut: np.ndarray) -> None:
    """A window within a larger picture says nearly what it says alone."""
    window = Window(224.0, 120.0, 150.0)
    larger = Window(224.0, 120.0, 225.0)
    alone = detector.net(_input(crop(astronaut, window, 128)))
    shared = detector.net.forward_pyramid(_input(crop(astronaut, larger, 192)))
    assert shared.presence.shape == (1, 3, 3)
    assert shared.presence[0, 1, 1] > 0
    difference = (shared.points[0, 1, 1, :68] - alone.points[0, :68]).norm(dim=-1)
    assert difference.mean() < 0.12  # of half a window: the second look repairs the rest


def test_a_small_face_in_a_large_picture(detector: DenseDetector, astronaut: np.ndarray) -> None:
    canvas = np.full((900, 1400, 3), 90, np.uint8)
    canvas[300:812, 700:1212] = astronaut
    faces = detector.find(canvas)
    assert len(faces) == 1
    np.testing.assert_allclose(_eyes_and_nose(faces[0]), _expected() + [700, 300], atol=6)


def test_two_people(detector: DenseDetector, astronaut: np.ndarray) -> None:
    smaller = cv2.resize(astronaut, (340, 340), interpolation=cv2.INTER_AREA)
    both = np.full((512, 852, 3), 60, np.uint8)
    both[:, :512], both[100:440, 512:] = astronaut, smaller
    faces = detector.find(both, max_faces=4)
    assert len(faces) == 2
    np.testing.assert_allclose(_eyes_and_nose(faces[0]), _expected(), atol=6)
    np.testing.assert_allclose(_eyes_and_nose(faces[1]), _expected(340 / 512) + [512, 100], atol=6)


class TestTracker:
    """A made-up clip: the astronaut moves, goes, and comes back."""

    @staticmethod
    def _frame(picture: np.ndarray, shift: int) -> np.ndarray:
        return cv2.warpAffine(
            picture, np.float32([[1, 0, shift], [0, 1, 0]]), (512, 512), borderValue=(80, 80, 80)
        )

    def test_follows(self, detector: DenseDetector, astronaut: np.ndarray) -> None:
        tracker = FaceTracker(detector)
        for shift in range(0, 60, 12):
            face = tracker.step(self._frame(astronaut, shift))
            assert face is not None
            np.testing.assert_allclose(_eyes_and_nose(face), _expected() + [shift, 0], atol=6)

    def test_absence_ends_nothing(self, detector: DenseDetector, astronaut: np.ndarray) -> None:
        tracker = FaceTracker(detector)
        empty = cv2.resize(skimage.data.coffee(), (512, 512))
        assert tracker.step(empty) is None
        assert tracker.step(astronaut) is not None
        for _ in range(3):
            assert tracker.step(empty) is None
        back = tracker.step(self._frame(astronaut, 40))
        assert back is not None
        np.testing.assert_allclose(_eyes_and_nose(back), _expected() + [40, 0], atol=6)

    def test_subject(self, detector: DenseDetector, astronaut: np.ndarray) -> None:
        """The smaller of two people is followed where the user points at her."""
        smaller = cv2.resize(astronaut, (340, 340), interpolation=cv2.INTER_AREA)
        both = np.full((512, 852, 3), 60, np.uint8)
        both[:, :512], both[100:440, 512:] = astronaut, smaller
        face = FaceTracker(detector, subject=(660, 180)).step(both)
        assert face is not None
        assert _eyes_and_nose(face)[:, 0].min() > 512
        largest = FaceTracker(detector).step(both)
        assert largest is not None and _eyes_and_nose(largest)[:, 0].max() < 512


def _input(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image)[None].permute(0, 3, 1, 2).float()
