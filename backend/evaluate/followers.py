"""Systems that follow faces through clips, all seeing the same frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from backend.detect import FaceDetector, FaceLandmarks, FaceTracker
from backend.detect.window_detector import Quality
from backend.detect.windows import roi
from backend.evaluate.peer import MediaPipeMesh

_MAX_PEOPLE = 8


@dataclass
class Followed:
    """What one system made of one clip."""

    points: list[NDArray[np.float64]] = field(default_factory=list)
    """(T,68,2) a frame, as people mark them, px; NaN where a person was not found."""
    faces: list[FaceLandmarks | None] = field(default_factory=list)
    """The first person's as a detector gave it; empty for systems that are not ours."""
    seconds: list[float] = field(default_factory=list)

    def tracks(self) -> NDArray[np.float64]:
        """(T,F,68,2) px."""
        return np.stack(self.points, axis=1)

    def focal_px(self) -> NDArray[np.float64]:
        """(K,) focal lengths in those frames that have one; none of detectors without a camera."""
        focal = [None if face is None else face.focal_px for face in self.faces]
        return np.array([value for value in focal if value is not None], np.float64)


class Follower(Protocol):
    """Follows the people of one clip."""

    followed: Followed

    def step(self, image: NDArray[np.uint8]) -> None:
        """Take in the next frame (H,W,3) RGB."""


class DetectorFollower:
    """A detector with one tracker for each person of the first frame."""

    def __init__(
        self,
        detector: FaceDetector,
        people: list[tuple[float, float]],
        quality: Quality,
        clock: Callable[[], float],
    ) -> None:
        """people: (x, y) px of each; with fewer than two, whoever is the largest is followed."""
        chosen = people if len(people) > 1 else [None]
        self.trackers = [FaceTracker(detector, place, quality) for place in chosen]
        self.clock = clock
        self.followed = Followed()

    def step(self, image: NDArray[np.uint8]) -> None:
        began = self.clock()
        faces = [tracker.step(image) for tracker in self.trackers]
        self.followed.seconds.append(self.clock() - began)
        self.followed.points.append(np.stack([_marked(face) for face in faces]))
        self.followed.faces.append(faces[0])


class PeerFollower:
    """MediaPipe in its video mode."""

    def __init__(self, peer: MediaPipeMesh, people: int, clip: int) -> None:
        """people: how many there are; clip: a number that no other clip has."""
        self.peer, self.people, self.clip = peer, max(1, people), clip
        self.followed = Followed()

    def step(self, image: NDArray[np.uint8]) -> None:
        faces, seconds = self.peer.find(image, self.people, self.clip)
        points = np.full((self.people, 68, 2), np.nan)
        for place, face in enumerate(faces[: self.people]):
            points[place] = face
        self.followed.points.append(points)
        self.followed.seconds.append(seconds)


def find_people(detector: FaceDetector, image: NDArray[np.uint8]) -> list[tuple[float, float]]:
    """Where the faces of a clip's first frame are, (x, y) px, largest first."""
    faces = detector.find(image, _MAX_PEOPLE)
    windows = [roi(face.landmarks_2d) for face in faces if detector.is_face(face)]
    return [(window.x, window.y) for window in windows]


def _marked(face: FaceLandmarks | None) -> NDArray[np.float64]:
    return np.full((68, 2), np.nan) if face is None else face.ibug68()[0].astype(np.float64)
