"""One face through the frames of a clip."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from backend.detect.landmarks import FaceLandmarks
from backend.detect.protocol import FaceDetector
from backend.detect.window_detector import Quality
from backend.detect.windows import Window, roi

_SEARCH_EVERY_FRAME = 5
"""Frames without a face after which not every frame is searched."""
_SEARCH_INTERVAL = 3
_MAX_FACES = 8
_SAME_PLACE = 1.0
"""Regions of interest that a face may move while it is out of sight and still be the same."""


class FaceTracker:
    """Follows one face: each frame's landmarks give the next frame's window.

    detector: finds the face at first and whenever it was lost. subject: (x, y) pixels near the
    person's face in the first frame that shows one; without it the largest face is followed.
    A frame without the face gives None and ends nothing.
    """

    def __init__(
        self,
        detector: FaceDetector,
        subject: tuple[float, float] | None = None,
        quality: Quality = "fast",
    ) -> None:
        self.detector = detector
        self.subject = subject
        self.quality: Quality = quality
        self._window: Window | None = None
        self._last: Window | None = None
        self._lost = 0

    def step(self, image: NDArray[np.uint8]) -> FaceLandmarks | None:
        """The face in the next frame (H,W,3) RGB, or None where it is not to be seen."""
        face = self._follow(image)
        if face is None:
            face = self._search(image)
        if face is None:
            self._window = None
            self._lost += 1
            return None
        self._lost = 0
        self._window = self._last = roi(face.landmarks_2d)
        return face

    def _follow(self, image: NDArray[np.uint8]) -> FaceLandmarks | None:
        if self._window is None:
            return None
        face = self.detector.look(image, [self._window], self.quality)[0]
        window = roi(face.landmarks_2d)
        if self._moved(window) and face.score > 0.1:
            # A quick move: look again where the face has gone.
            face = self.detector.look(image, [window], self.quality)[0]
            window = roi(face.landmarks_2d)
        return face if self.detector.is_face(face, True) and _inside(window, image) else None

    def _moved(self, window: Window) -> bool:
        assert self._window is not None
        distance = np.hypot(window.x - self._window.x, window.y - self._window.y)
        ratio = max(window.side, self._window.side) / min(window.side, self._window.side)
        turn = abs(np.angle(np.exp(1j * (window.roll - self._window.roll))))
        return bool(distance > 0.06 * self._window.side or ratio > 1.1 or turn > 0.2)

    def _search(self, image: NDArray[np.uint8]) -> FaceLandmarks | None:
        if self._lost > _SEARCH_EVERY_FRAME and self._lost % _SEARCH_INTERVAL:
            return None
        alone = self.subject is None and self._last is None
        faces = self.detector.find(image, 1 if alone else _MAX_FACES, self.quality)
        faces = [face for face in faces if self.detector.is_face(face)]
        if not faces:
            return None
        last = self._last
        if last is not None:
            nearest = min(faces, key=lambda face: _distance(face, (last.x, last.y)))
            near = _distance(nearest, (last.x, last.y)) < _SAME_PLACE * last.side
            # Someone else's face must not take over while the chosen person is away.
            if near or self.subject is None:
                return nearest if near else faces[0]
            return faces[0] if len(faces) == 1 and self._lost > _SEARCH_EVERY_FRAME else None
        if self.subject is not None:
            return min(faces, key=lambda face: _distance(face, self.subject))
        return faces[0]


def _distance(face: FaceLandmarks, place: tuple[float, float] | None) -> float:
    assert place is not None
    window = roi(face.landmarks_2d)
    return float(np.hypot(window.x - place[0], window.y - place[1]))


def _inside(window: Window, image: NDArray[np.uint8]) -> bool:
    """Whether a face's centre lies in the image, and its size is one that can be."""
    height, width = image.shape[:2]
    return (
        -0.1 * window.side <= window.x <= width + 0.1 * window.side
        and -0.1 * window.side <= window.y <= height + 0.1 * window.side
        and 8 <= window.side <= 4 * max(width, height)
    )
