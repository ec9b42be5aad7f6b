"""Further cameras of a performance: from what is asked for to what each saw at the same moments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from backend.detect import FaceTracker
from backend.errors import NoFaceError
from backend.footage import Footage
from backend.head import Head
from backend.head.landmarks import layout as landmark_layout
from backend.stages import LAYOUT, Observations, Reporter
from backend.synchrony import Clip, estimate_offset, resample
from backend.views import View

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FurtherCamera:
    """A camera besides the first."""

    footage: Footage
    offset: float | None = None
    """Frame t of the first clip shows the moment of frame t + offset of this one, both counted at
    the first one's rate; None to estimate it."""
    rotmat: Array | None = None
    """(3,3) of X_this = R X_first + T; None to solve it."""
    translation: Array | None = None
    """(3,) metres."""
    focal_px: float | None = None
    """In pixels of its own pictures; None to solve it."""


def observe_cameras(
    first: Observations, footage: Footage, cameras: Sequence[FurtherCamera], head: Head,
    make_tracker: Callable[[], FaceTracker], report: Reporter,
) -> list[View]:  # fmt: skip
    """What further cameras saw at the moments of the first one's frames.

    Raises: NoFaceError where one never sees the face while the first does.
    """
    own = clip_of(first, footage, footage.frame_rate)
    views = []
    for number, camera in enumerate(cameras):
        stage = f"camera {number + 2}"
        seen = _observe(camera.footage, make_tracker(), footage.frame_rate, stage, report)
        offset = camera.offset
        if offset is None:
            offset = _estimated(head, own, seen, camera.footage)
        at = resample(seen, own.times + offset)
        if not (at.found & own.found).any():
            raise NoFaceError(
                f"{camera.footage.path}: sees the face in no frame in which "
                f"{footage.path.name} does. Check the time offset ({offset:+.2f} frames)."
            )
        views.append(
            View(
                str(camera.footage.path.absolute()), offset, camera.footage.image_size,
                at.landmarks_2d, at.landmark_sigma, at.found, None, camera.rotmat,
                camera.translation, camera.focal_px,
            )
        )  # fmt: skip
    return views


def _estimated(head: Head, own: Clip, seen: Clip, footage: Footage) -> float:
    if not (own.found.any() and seen.found.any()):
        return 0.0
    result = estimate_offset(head, own, seen, LAYOUT)
    if not result.is_sure:
        footage.warn(
            f"{footage.path.name}: the face moves too little to tell when this clip starts; taken "
            "to start together with the first. Give --offset if you know better."
        )
        return 0.0
    return result.frames


def clip_of(shot: Observations, footage: Footage, rate: Fraction) -> Clip:
    """A first camera's landmarks, with times in frames of `rate`."""
    times = shot.frame_index * float(rate / footage.frame_rate)
    return Clip(
        times, shot.landmarks_2d, shot.landmark_sigma, shot.found, footage.image_size
    )  # fmt: skip


def _observe(
    footage: Footage, tracker: FaceTracker, rate: Fraction, stage: str, report: Reporter
) -> Clip:
    """Landmarks of a further clip, with times in frames of the first one's rate."""
    count = len(landmark_layout(LAYOUT))
    landmarks, sigma, found, index = [], [], [], []
    report.progress(stage, 0.0)
    for frame in footage:
        face = tracker.step(frame.image)
        found.append(face is not None)
        index.append(frame.index)
        nothing = np.full((count, 2), np.nan, np.float32)
        landmarks.append(nothing if face is None else face.landmarks_2d.astype(np.float32))
        sigma.append(nothing[:, 0] if face is None else face.landmark_sigma.astype(np.float32))
        report.progress(stage, len(found) / footage.n_frames, frame.index)
    return Clip(
        np.array(index) * float(rate / footage.frame_rate), np.stack(landmarks), np.stack(sigma),
        np.array(found), footage.image_size,
    )  # fmt: skip
