"""Who is in a clip: the faces of some of its frames, sorted by what they look like."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from backend.detect.appearance import AppearanceMemory, AppearanceSettings, Look, describe
from backend.detect.landmarks import FaceLandmarks
from backend.detect.protocol import FaceDetector
from backend.detect.windows import Window, crop, roi
from backend.footage import Footage, Frame

PICTURE_SIZE = 96
"""Side of a person's picture in pixels."""

THOROUGH_EVERY = 6
"""Of the frames of a clip, every how many are searched for the smallest faces too, which takes most
of the time; all are where there is such a face."""

MAX_FACES = 16
"""Most faces that are looked for in a frame."""

SMALL = 0.16
"""Regions of interest below this share of the picture's longer side are those of small faces."""

NEAR_FRAMES = 12
"""Frames of the clip between two looks up to which a face's place counts beside its looks."""

TOUCHING = 0.8
"""Regions of interest between two faces below which one may cover part of the other."""

FEW_FRAMES = 4
"""Frames from which on a face that is seen once, and touches another there, is nobody new."""

PLACE_WEIGHT = 0.2
"""What a region of interest between two places counts in distance of looks, two at most."""


@dataclass
class SeenPerson:
    """One of the people of a clip."""

    memory: AppearanceMemory
    """What they look like."""
    frames: list[int] = field(default_factory=list)
    """Frame numbers in which they were found, ascending."""
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)
    """Left, top, right and bottom of the face in each, pixels."""
    windows: list[Window] = field(default_factory=list)
    """Region of interest in each."""
    best: int = 0
    """Which of these shows the person best."""
    picture: NDArray[np.uint8] = field(
        default_factory=lambda: np.zeros((PICTURE_SIZE, PICTURE_SIZE, 3), np.uint8)
    )
    """(PICTURE_SIZE, PICTURE_SIZE, 3) RGB of the face in that one."""
    worth: float = -1.0
    """How well it is seen there."""
    is_apart: bool = False
    """Whether the face was seen without touching another's."""

    @property
    def place(self) -> tuple[float, float]:
        """Middle of the face where it is seen best, pixels."""
        window = self.windows[self.best]
        return float(window.x), float(window.y)

    @property
    def prominence(self) -> float:
        """Sum of the face's size over all frames: what people are sorted by."""
        return sum(window.side for window in self.windows)

    def take(self, frame: Frame, face: FaceLandmarks, look: Look) -> None:
        """Add a face of a later frame."""
        window, points = roi(face.landmarks_2d), face.landmarks_2d
        low, high = points.min(axis=0), points.max(axis=0)
        self.frames.append(frame.index)
        self.boxes.append((float(low[0]), float(low[1]), float(high[0]), float(high[1])))
        self.windows.append(window)
        # Turned away, fewer places face the camera.
        worth = float(face.score * window.side * look.weight.mean())
        if worth > self.worth:
            self.worth, self.best = worth, len(self.frames) - 1
            upright = Window(window.x, window.y - 0.1 * window.side, 1.3 * window.side, 0.0)
            self.picture = crop(frame.image, upright, PICTURE_SIZE)
        self.memory.learn(look)

    def join(self, other: SeenPerson) -> None:
        """Take in another who turned out to be the same."""
        if other.worth > self.worth:
            self.worth, self.picture, best = other.worth, other.picture, other.frames[other.best]
        else:
            best = self.frames[self.best]
        rows = sorted(
            zip(
                self.frames + other.frames,
                self.boxes + other.boxes,
                self.windows + other.windows,
                strict=True,
            ),
            key=lambda row: row[0],
        )
        self.frames = [row[0] for row in rows]
        self.boxes = [row[1] for row in rows]
        self.windows = [row[2] for row in rows]
        self.best = self.frames.index(best)


def sampled(footage: Footage, count: int) -> Iterable[Frame]:
    """Up to `count` frames of footage, spread evenly over it, the middle one where it is one.

    A long clip is not decoded whole: each frame is looked for from the key frame before it.
    """
    numbers = footage.frame_numbers()
    count = min(count, len(numbers))
    chosen = [numbers[(2 * k + 1) * len(numbers) // (2 * count)] for k in range(count)]
    if 4 * count >= len(numbers):
        wanted = set(chosen)
        yield from (frame for frame in footage if frame.index in wanted)
        return
    for number in chosen:
        yield from footage.part(number, number)


def find_people(
    frames: Iterable[Frame],
    detector: FaceDetector,
    progress: Callable[[int], None] = lambda done: None,
    settings: AppearanceSettings | None = None,
    quick: FaceDetector | None = None,
) -> list[SeenPerson]:
    """The people in some frames of a clip, in order; those seen longest and largest come first.

    progress: told how many frames are done. quick: looks at frames between, if those before have
    shown that nobody is so small that it misses them.

    Within a frame nobody is there twice; from one to the next a face is the person's whom it looks
    like, and, where little time lies between, who was near it.
    """
    settings = settings or AppearanceSettings()
    people: list[SeenPerson] = []
    n_frames, has_small = 0, False
    for done, frame in enumerate(frames, 1):
        is_thorough = quick is None or has_small or done % THOROUGH_EVERY == 1
        search = detector if is_thorough or quick is None else quick
        faces = [f for f in search.find(frame.image, MAX_FACES) if search.is_face(f)]
        least = SMALL * max(frame.image.shape[:2])
        has_small = has_small or any(roi(f.landmarks_2d).side < least for f in faces)
        looks = [describe(frame.image, face, settings) for face in faces]
        unlike = np.full((len(people), len(faces)), np.inf)
        for row, person in enumerate(people):
            for column, (face, look) in enumerate(zip(faces, looks, strict=True)):
                cost = person.memory.distance(look)
                if cost > settings.same:
                    continue
                if frame.index - person.frames[-1] <= NEAR_FRAMES:
                    cost += PLACE_WEIGHT * min(
                        _apart(person.windows[-1], roi(face.landmarks_2d)), 2
                    )
                unlike[row, column] = cost
        owner: dict[int, SeenPerson] = {}
        while unlike.size and np.isfinite(unlike).any():
            who, which = divmod(int(unlike.argmin()), unlike.shape[1])
            owner[which] = people[who]
            unlike[who], unlike[:, which] = np.inf, np.inf
        for column, (face, look) in enumerate(zip(faces, looks, strict=True)):
            if column not in owner:
                owner[column] = SeenPerson(AppearanceMemory(settings))
                people.append(owner[column])
            owner[column].take(frame, face, look)
            place = roi(face.landmarks_2d)
            others = [roi(f.landmarks_2d) for f in faces if f is not face]
            owner[column].is_apart |= all(_apart(o, place) > TOUCHING for o in others)
        progress(done)
        n_frames = done
    # Half a face behind another's looks like nobody's.
    certain = [p for p in people if n_frames < FEW_FRAMES or p.is_apart or len(p.frames) > 1]
    return sorted(_joined(certain, settings), key=lambda person: -person.prominence)


def _joined(people: list[SeenPerson], settings: AppearanceSettings) -> list[SeenPerson]:
    """Join those who look alike and are never seen together: one whom a new light made another."""
    kept: list[SeenPerson] = []
    for person in sorted(people, key=lambda person: -len(person.frames)):
        mean = person.memory.mean
        for other in kept:
            together = set(other.frames) & set(person.frames)
            if not together and other.memory.distance(mean) <= settings.same:
                other.join(person)
                break
        else:
            kept.append(person)
    return kept


def _apart(a: Window, b: Window) -> float:
    """Distance of two places in regions of interest."""
    return float(np.hypot(a.x - b.x, a.y - b.y)) / max(a.side, 1.0)
