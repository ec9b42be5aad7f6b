"""The two types that the rest of the backend sees of footage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Frame:
    """One decoded picture of the footage."""

    index: int
    """Frame number from 0 on a timeline of `Footage.frame_rate`, as Blender counts."""
    timestamp: float
    """Seconds after the footage's first frame."""
    image: NDArray[np.uint8]
    """(H, W, 3) RGB, upright, rows from the top."""
    corrupt: bool = False
    """The decoder met damaged data: the picture may be wrong."""


class Footage(ABC):
    """A range of frames that can be read any number of times, one frame in memory at a time."""

    path: Path
    """What was opened."""
    image_size: tuple[int, int]
    """(W, H) in pixels, after rotation."""
    frame_rate: Fraction
    """Frames per second of the timeline that `Frame.index` counts on."""
    n_frames: int
    """How many frames iterating is expected to give."""
    warnings: list[str]
    """What an artist should know: gaps, truncation, damage. Reading the frames may add to it."""

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """Decode from the first frame of the range on; raises `FootageError`."""

    def frame_numbers(self) -> list[int]:
        """Numbers of the frames, ascending; decodes all of them where nothing else tells."""
        return [frame.index for frame in self]

    def shown_at(self, index: int) -> int:
        """Number of the frame that a player shows at a number: of those before it, the last.

        Numbers have holes where the frame rate varies, or pictures are missing.
        """
        numbers = self.frame_numbers()
        return max((number for number in numbers if number <= index), default=min(numbers))

    def part(self, start: int, end: int) -> Footage:
        """The frames numbered `start` to `end`, both included, without opening the file again."""
        return _Part(self, start, end)

    def warn(self, message: str) -> None:
        """Add `message` to the warnings, once."""
        if message not in self.warnings:
            self.warnings.append(message)


class _Part(Footage):
    """A part of footage that must be read from its beginning."""

    def __init__(self, whole: Footage, start: int, end: int) -> None:
        self._whole, self._range = whole, (start, end)
        self.path, self.image_size = whole.path, whole.image_size
        self.frame_rate, self.warnings = whole.frame_rate, []
        self.n_frames = max(end - start + 1, 0)

    def __iter__(self) -> Iterator[Frame]:
        start, end = self._range
        for frame in self._whole:
            if frame.index > end:
                return
            if frame.index >= start:
                yield frame
