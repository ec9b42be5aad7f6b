"""Time offsets from how a face moves, and landmarks between frames, against a simulated truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from backend.evaluate.scans import RecordedShot, Recording, record
from backend.head import Head
from backend.synchrony import Clip, estimate_offset, resample

LAYOUT = "dense320"


@pytest.fixture(scope="module")
def head() -> Head:
    return Head.load()


@pytest.fixture(scope="module")
def recorded(head: Head) -> RecordedShot:
    """200 moments of an acting person before two cameras 40 degrees apart."""
    return record(
        head, Recording(frames=200, cameras=2, seed=8, noise=0.005, turn_deg=15.0, occluders=0.0)
    )


def clip(shot: RecordedShot, camera: int, moments: np.ndarray) -> Clip:
    """A camera that sees every one of these moments, its frames counted from 0."""
    return Clip(
        np.arange(len(moments), dtype=np.float64),
        shot.landmarks_2d[moments, camera].astype(np.float32),
        shot.landmark_sigma[moments, camera].astype(np.float32),
        np.ones(len(moments), bool),
        shot.image_size,
    )


@pytest.mark.parametrize("late", [0, 3, -7, 24])
def test_an_offset_is_found_to_a_fraction_of_a_frame(
    head: Head, recorded: RecordedShot, late: int
) -> None:
    """Both see every second moment; the other starts `late` moments after the first: frame t of the
    first is frame t - late / 2 of the other."""
    first = clip(recorded, 0, np.arange(30, 150, 2))
    other = clip(recorded, 1, np.arange(30 + late, 150 + late, 2))
    offset = estimate_offset(head, first, other, LAYOUT)
    assert offset.is_sure
    assert offset.frames == pytest.approx(-late / 2, abs=0.25)


def test_a_face_that_does_not_move_says_so(head: Head, recorded: RecordedShot) -> None:
    rng = np.random.default_rng(0)
    moments = np.zeros(40, np.int64)
    first, other = clip(recorded, 0, moments), clip(recorded, 1, moments)
    noisy = [
        replace(one, landmarks_2d=one.landmarks_2d + rng.normal(0, 1, one.landmarks_2d.shape))
        for one in (first, other)
    ]
    assert not estimate_offset(head, *noisy, LAYOUT).is_sure


def test_landmarks_between_frames(recorded: RecordedShot) -> None:
    exact = replace(recorded, landmarks_2d=recorded.landmarks_2d.copy())
    exact.landmarks_2d[:] = gaussian_filter1d(recorded.landmarks_2d, 2.0, axis=0)
    every = clip(exact, 0, np.arange(60))
    half = clip(exact, 0, np.arange(0, 60, 2))
    middle = resample(half, np.arange(29) + 0.5)
    assert middle.found.all()
    gap = np.linalg.norm(middle.landmarks_2d - every.landmarks_2d[1:58:2], axis=-1)
    own = np.linalg.norm(half.landmarks_2d[:29] - every.landmarks_2d[1:58:2], axis=-1)
    assert gap.mean() < 0.5 * own.mean()
    same = resample(half, np.arange(30.0))
    np.testing.assert_array_equal(same.landmarks_2d, half.landmarks_2d)
    np.testing.assert_array_equal(same.landmark_sigma, half.landmark_sigma)


def test_moments_that_a_camera_did_not_see(recorded: RecordedShot) -> None:
    seen = clip(recorded, 0, np.arange(10))
    seen.found[4] = False
    at = resample(seen, np.array([-0.5, 0.0, 3.0, 3.5, 4.0, 4.5, 5.0, 9.0, 9.5]))
    assert at.found.tolist() == [False, True, True, False, False, False, True, True, False]
    assert (
        np.isnan(at.landmarks_2d[~at.found]).all() and np.isnan(at.landmark_sigma[~at.found]).all()
    )
    # A frame is missing between 2 and 4 of the timeline.
    keep = np.array([0, 1, 2, 4, 5])
    holed = Clip(
        seen.times[keep], seen.landmarks_2d[keep], seen.landmark_sigma[keep],
        np.ones(5, bool), seen.image_size,
    )  # fmt: skip
    assert resample(holed, np.array([1.5, 2.0, 2.5, 3.0, 4.0, 4.5])).found.tolist() == [
        True, True, False, False, True, True,
    ]  # fmt: skip
