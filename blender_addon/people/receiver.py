# SPDX-License-Identifier: GPL-3.0-or-later
"""Collects the people of a clip out of a job's messages; knows no bpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..shared.messages import JobDone, JobResult, PersonResult, Progress

Box = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels of the upright picture."""


@dataclass(frozen=True)
class FoundPerson:
    """One of the people of a clip."""

    frame: int
    """The backend's number of the frame in which they are seen best."""
    place: tuple[float, float]
    """Pixel in the middle of the face there."""
    boxes: dict[int, Box]
    """The face in each frame in which they were found."""
    picture: NDArray[np.uint8] | None = None
    """(A, A, 3) sRGB picture of the face, first row at the top, where there is one."""

    @property
    def box(self) -> Box:
        """The face in `frame`."""
        return self.boxes[self.frame]


class PeopleReceiver:
    """What a PeopleJob has found."""

    def __init__(self) -> None:
        self.progress: Progress | None = None
        self.people: list[FoundPerson] = []
        self.image_size: tuple[int, int] | None = None
        self.n_frames = 0
        """How many frames were looked at."""

    def receive(self, message: Progress | JobResult) -> None:
        """Take one message of the job."""
        if isinstance(message, Progress):
            self.progress = message
        elif isinstance(message, PersonResult):
            # Results that are sent again replace what they repeat.
            del self.people[message.number :]
            boxes = np.asarray(message.boxes, np.float64)
            self.people.append(
                FoundPerson(
                    message.frame_index,
                    message.place,
                    {
                        int(frame): (float(b[0]), float(b[1]), float(b[2]), float(b[3]))
                        for frame, b in zip(message.frames, boxes, strict=True)
                    },
                    message.picture,
                )
            )
        elif isinstance(message, JobDone):
            self.image_size, self.n_frames = message.image_size, message.n_frames


NEAR_FRAMES = 12
"""Frames between two looks at a clip up to which a face is taken to stay about where it is."""


def is_same(a: dict[int, Box], b: dict[int, Box]) -> bool:
    """Whether two lists of a clip's faces, by frame, are of one person: where they come nearest."""
    gap, one, other = min(
        ((abs(f - g), f, g) for f in a for g in b), default=(NEAR_FRAMES + 1, 0, 0)
    )
    if gap > NEAR_FRAMES:
        return False
    left, top, right, bottom = a[one]
    x, y = (left + right) / 2, (top + bottom) / 2
    left, top, right, bottom = b[other]
    size = max(right - left, bottom - top)
    return bool(np.hypot(x - (left + right) / 2, y - (top + bottom) / 2) < 0.5 * size)


def hit(boxes: list[Box], x: float, y: float, margin: float = 0.35) -> int | None:
    """Return which box a pixel is in: of several, the one whose middle is nearest.

    margin: share of its size by which a box, which holds the face alone, is larger on every side.
    """
    best, least = None, float("inf")
    for number, (left, top, right, bottom) in enumerate(boxes):
        grow = margin * max(right - left, bottom - top)
        if left - grow <= x <= right + grow and top - grow <= y <= bottom + grow:
            distance = float(np.hypot(x - (left + right) / 2, y - (top + bottom) / 2))
            if distance < least:
                best, least = number, distance
    return best
