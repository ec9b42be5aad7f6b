"""One face through the frames of a clip."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from backend.detect.appearance import AppearanceMemory, Look, describe, distance
from backend.detect.landmarks import FaceLandmarks
from backend.detect.protocol import FaceDetector
from backend.detect.window_detector import Quality, differ
from backend.detect.windows import Window, roi


@dataclass(frozen=True)
class TrackerSettings:
    """When a followed face is doubted, and where it is looked for; lengths in regions of interest
    (about 1.5 faces)."""

    every_frame: int = 5
    """Frames without a face whose looks are not known well after which not every frame is
    searched whole."""
    interval: int = 3
    """Of the later ones, every how many are, and of all where places nearby are searched too."""
    max_faces: int = 8
    """Most faces of a frame among which the person is looked for."""
    same_place: float = 1.0
    """How far a face whose looks are not known well yet may have moved while out of sight."""
    jump: float = 0.35
    """Distance from where the motion so far leads beyond which a followed face is doubted unless
    it looks like the person as closely as `AppearanceSettings.strict`."""
    steady: float = 0.35
    """Largest change of looks from one frame to the next with which a face that no longer looks
    as remembered is still followed: light and expression change little by little."""
    same_way: float = 0.15
    """How far from where the motion leads a face may be that is followed though its looks changed
    at once, as they do when something comes before it: nobody else must be near."""
    alone: float = 2.0
    """How far away the next face must be, in this frame and the one before, to be no candidate."""
    away: float = 0.2
    """What a region of interest between a face and the place where the motion leads counts in
    distance of looks, two at most, when the person is chosen among several."""
    near: tuple[float, ...] = (-0.9, -0.45, 0.0, 0.45, 0.9)
    """Where windows are put on either side of the lost face when it is looked for nearby."""
    coasting: int = 12
    """Frames for which an unseen face is taken to move on at its last velocity."""
    cut_change: float = 20.0
    """Mean difference of two frames' thumbnails, in grey values, that a cut has at least."""
    cut_correlation: float = 0.5
    """Their largest correlation: a flash of light leaves it near 1."""


class FaceTracker:
    """Follows one face: each frame's landmarks give the next frame's window.

    detector: finds the face at first and whenever it was lost. subject: (x, y) pixels near the
    person's face in the first frame that shows one; without it the largest face is followed.
    A frame without the face gives None and ends nothing. Once the person's looks are known, only a
    face that looks alike is theirs; as long as it does, they cost no further look of the network.
    """

    def __init__(
        self,
        detector: FaceDetector,
        subject: tuple[float, float] | None = None,
        quality: Quality = "fast",
        settings: TrackerSettings | None = None,
    ) -> None:
        self.detector = detector
        self.subject = subject
        self.quality: Quality = quality
        self.settings = settings or TrackerSettings()
        self.memory = AppearanceMemory()
        self._window: Window | None = None
        self._last: Window | None = None
        self._look: Look | None = None
        self._described: tuple[FaceLandmarks, Look] | None = None
        self._velocity = np.zeros(2)
        self._lost = 0
        self._thumbnail: NDArray[np.float32] | None = None
        self._before: NDArray[np.uint8] | None = None

    def step(self, image: NDArray[np.uint8]) -> FaceLandmarks | None:
        """The face in the next frame (H,W,3) RGB, or None where it is not to be seen."""
        if self._is_cut(image):
            # Nobody is where they were.
            self._window, self._velocity, self._lost = None, np.zeros(2), 0
            if self.memory.is_mature:
                self._last = None
        face = self._follow(image)
        self._before = image
        if face is None:
            face = self._search_near(image)
        if face is None and self._is_whole_search_due():
            face = self._search(image)
        if face is None:
            self._window = None
            self._lost += 1
            return None
        self._take(image, face)
        return face

    def pick(self, image: NDArray[np.uint8], place: tuple[float, float]) -> FaceLandmarks | None:
        """The face at a place (x, y) px of the next frame, whoever was followed before.

        None, and nothing is changed, where there is no face as near as its own size.
        """
        near = [
            face
            for face in self.detector.find(image, self.settings.max_faces, self.quality)
            if self.detector.is_face(face)
            and _distance_to(place)(face) < roi(face.landmarks_2d).side
        ]
        if not near:
            return None
        face = min(near, key=_distance_to(place))
        self._is_cut(image)
        if self._last is None or self._away(roi(face.landmarks_2d)) > self.settings.jump:
            self._last, self._velocity = None, np.zeros(2)
        self._take(image, face)
        self._before = image
        return face

    def meet(self, images: Iterable[NDArray[np.uint8]], place: tuple[float, float]) -> bool:
        """Learn what the person looks like who is at a place (x, y) px of the first of some frames.

        The frames follow one another, and may come from anywhere in the clip: afterwards only who
        looks alike is followed. Returns False, and has learned nothing, where nobody is there.
        """
        other = FaceTracker(self.detector, None, self.quality, self.settings)
        for number, image in enumerate(images):
            if number > 0:
                other.step(image)
            elif other.pick(image, place) is None:
                return False
        memory, look = other.memory, other._look
        if look is None:
            return False
        while not memory.is_mature:
            memory.learn(look)
        self.memory = memory
        return True

    def _follow(self, image: NDArray[np.uint8]) -> FaceLandmarks | None:
        if self._window is None:
            return None
        face = self.detector.look(image, [self._window], self.quality)[0]
        window = roi(face.landmarks_2d)
        if self._moved(window) and face.score > 0.1:
            # A quick move: look again where the face has gone.
            face = self.detector.look(image, [window], self.quality)[0]
            window = roi(face.landmarks_2d)
        if not self.detector.is_face(face, True) or not _inside(window, image):
            return None
        return face if self._is_trusted(image, face, window) else None

    def _moved(self, window: Window) -> bool:
        assert self._window is not None
        distance = np.hypot(window.x - self._window.x, window.y - self._window.y)
        ratio = max(window.side, self._window.side) / min(window.side, self._window.side)
        turn = abs(np.angle(np.exp(1j * (window.roll - self._window.roll))))
        return bool(distance > 0.06 * self._window.side or ratio > 1.1 or turn > 0.2)

    def _is_trusted(self, image: NDArray[np.uint8], face: FaceLandmarks, window: Window) -> bool:
        """Whether a followed face is still the same person's."""
        if not self.memory.is_mature:
            return True
        look = self._describe(image, face)
        unlike = self.memory.distance(look)
        if unlike <= self.memory.settings.strict:
            return True
        if self._away(window) > self.settings.jump:
            return False
        if unlike <= self.memory.limit:
            return True
        assert self._look is not None
        if distance(look, self._look, self.memory.settings) <= self.settings.steady:
            return True
        return self._goes_on(window) and self._is_alone(image, window)

    def _goes_on(self, window: Window) -> bool:
        """Whether a face is where, and as large as, the person's must be by their motion."""
        assert self._last is not None
        ratio = max(window.side, self._last.side) / min(window.side, self._last.side)
        return self._away(window) <= self.settings.same_way and ratio <= 1.15

    def _is_alone(self, image: NDArray[np.uint8], window: Window) -> bool:
        """Whether nobody else is near who could have come before the person since the last frame.

        Searches both frames whole: only where looks changed at once.
        """
        for picture in (image, self._before):
            if picture is None:
                return False
            near = 0
            for face in self.detector.find(picture, self.settings.max_faces, self.quality):
                place = roi(face.landmarks_2d)
                apart = float(np.hypot(place.x - window.x, place.y - window.y)) / window.side
                near += apart < self.settings.alone and self.detector.is_face(face)
            if near > 1:
                return False
        return True

    def _take(self, image: NDArray[np.uint8], face: FaceLandmarks) -> None:
        """Remember where the person is and what they look like."""
        window = roi(face.landmarks_2d)
        if self._last is not None:
            moved = np.array([window.x - self._last.x, window.y - self._last.y])
            self._velocity = 0.5 * self._velocity + 0.5 * moved / (self._lost + 1)
        self._lost = 0
        self._window = self._last = window
        self._look = self._describe(image, face)
        self.memory.learn(self._look)

    def _describe(self, image: NDArray[np.uint8], face: FaceLandmarks) -> Look:
        """A face's looks; those of the face that was asked for last are kept."""
        if self._described is None or self._described[0] is not face:
            self._described = face, describe(image, face, self.memory.settings)
        return self._described[1]

    def _predicted(self) -> Window:
        """Where the person is, if they moved on as they did."""
        assert self._last is not None
        steps = min(self._lost + 1, self.settings.coasting)
        x, y = np.array([self._last.x, self._last.y]) + steps * self._velocity
        return replace(self._last, x=float(x), y=float(y))

    def _away(self, window: Window) -> float:
        """Regions of interest between a face and where the motion leads; 0 after a cut."""
        if self._last is None:
            return 0.0
        place = self._predicted()
        return float(np.hypot(window.x - place.x, window.y - place.y)) / self._last.side

    def _knows_place(self) -> bool:
        """Whether the person is worth looking for nearby."""
        short = self._lost < self.settings.coasting
        return short and self.memory.is_mature and self._last is not None

    def _is_whole_search_due(self) -> bool:
        s = self.settings
        if self._knows_place():
            return self._lost % s.interval == s.interval - 1
        return self._lost <= s.every_frame or self._lost % s.interval == 0

    def _search_near(self, image: NDArray[np.uint8]) -> FaceLandmarks | None:
        """The person among all faces around where the motion leads, without a whole search."""
        if not self._knows_place():
            return None
        place, steps = self._predicted(), self.settings.near
        windows = [place.jittered((x, y), 1.0, 0.0) for y in steps[1:-1] for x in steps]
        for _ in range(2):
            seen = sorted(self.detector.look(image, windows), key=lambda face: -face.score)
            windows = []
            for face in seen:
                window = roi(face.landmarks_2d)
                is_new = all(differ(window, other) for other in windows)
                if face.score > 0.15 and is_new and _inside(window, image):
                    windows.append(window)
            if not windows:
                return None
        return self._choose(image, self.detector.look(image, windows, self.quality))

    def _search(self, image: NDArray[np.uint8]) -> FaceLandmarks | None:
        s = self.settings
        alone = self.subject is None and self._last is None and not self.memory.is_mature
        faces = self.detector.find(image, 1 if alone else s.max_faces, self.quality)
        if self.memory.is_mature:
            return self._choose(image, faces)
        faces = [face for face in faces if self.detector.is_face(face)]
        if not faces:
            return None
        last = self._last
        if last is not None:
            nearest = min(faces, key=_distance_to((last.x, last.y)))
            near = _distance_to((last.x, last.y))(nearest) < s.same_place * last.side
            # Someone else's face must not take over while the chosen person is away.
            if near or self.subject is None:
                return nearest if near else faces[0]
            return faces[0] if len(faces) == 1 and self._lost > s.every_frame else None
        if self.subject is not None:
            return min(faces, key=_distance_to(self.subject))
        return faces[0]

    def _choose(
        self, image: NDArray[np.uint8], faces: Sequence[FaceLandmarks]
    ) -> FaceLandmarks | None:
        """The face that looks like the person, or None where none does."""
        best, least = None, np.inf
        # At a crossing the light is the same; elsewhere or later it may have changed.
        limit = self.memory.limit if self._knows_place() else self.memory.settings.same
        for face in faces:
            window = roi(face.landmarks_2d)
            if not self.detector.is_face(face) or not _inside(window, image):
                continue
            unlike = self.memory.distance(self._describe(image, face))
            cost = unlike + self.settings.away * min(self._away(window), 2.0)
            if unlike <= limit and cost < least:
                best, least = face, cost
        return best

    def _is_cut(self, image: NDArray[np.uint8]) -> bool:
        """Whether a frame shows another scene than the one before."""
        stride = max(1, min(image.shape[:2]) // 90)
        small = cv2.resize(image[::stride, ::stride], (32, 18), interpolation=cv2.INTER_AREA)
        thumbnail = small.mean(axis=2, dtype=np.float32)
        before, self._thumbnail = self._thumbnail, thumbnail
        if before is None:
            return False
        a, b = before - before.mean(), thumbnail - thumbnail.mean()
        correlation = float((a * b).mean()) / max(float(a.std() * b.std()), 1e-6)
        change = float(np.abs(before - thumbnail).mean())
        return change > self.settings.cut_change and correlation < self.settings.cut_correlation


def _distance_to(place: tuple[float, float]) -> Callable[[FaceLandmarks], float]:
    """A function that gives the pixels between a face and a place."""

    def pixels(face: FaceLandmarks) -> float:
        window = roi(face.landmarks_2d)
        return float(np.hypot(window.x - place[0], window.y - place[1]))

    return pixels


def _inside(window: Window, image: NDArray[np.uint8]) -> bool:
    """Whether a face's centre lies in the image, and its size is one that can be."""
    height, width = image.shape[:2]
    return (
        -0.1 * window.side <= window.x <= width + 0.1 * window.side
        and -0.1 * window.side <= window.y <= height + 0.1 * window.side
        and 8 <= window.side <= 4 * max(width, height)
    )
