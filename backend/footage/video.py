"""Clips: scanned once for exact frame numbers, then decoded from any start."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av.error
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from backend.footage.colour import hdr_transfer, quarter_turns, upright_rgb
from backend.footage.container import DEFAULT_MAX_PIXELS, open_stream
from backend.footage.errors import FootageError, named
from backend.footage.frame import Footage, Frame


@dataclass(frozen=True)
class _Timeline:
    """What the packets of a clip say about its frames."""

    pts: tuple[int, ...]
    """Presentation time of every shown frame, ascending, in units of the stream's time base."""
    index: tuple[int, ...]
    """Frame number of each."""
    missing_seconds: float
    """How much earlier the packets end than the container promises."""


class VideoClip(Footage):
    """A video file, or an animated GIF."""

    def __init__(
        self,
        path: Path,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        start: int | None = None,
        end: int | None = None,
    ) -> None:
        """Open the clip and scan its packets.

        start, end: first and last frame number of the range, both included; None is the clip's own.
        Raises `FootageError`.
        """
        self.path = path
        self.warnings = []
        self._max_pixels = max_pixels
        with open_stream(path, max_pixels) as (container, stream):
            rate = stream.guessed_rate or stream.base_rate or stream.average_rate
            self.frame_rate = Fraction(rate) if rate else Fraction(25)
            first = _first_frame(path, container, stream)
            self._examine(first)
        with open_stream(path, max_pixels) as (container, stream):
            timeline = self._scan(container, stream)
        if timeline.missing_seconds > max(0.1, 2.5 / float(self.frame_rate)):
            self.warn(
                f"{path}: ends {timeline.missing_seconds:.2f} s earlier than it says: it seems to "
                "be cut off. Only what is there was read."
            )
        if not timeline.pts:
            raise FootageError(f"{path}: holds no frames. Copy it again, or export it anew.")
        self._first_pts = timeline.pts[0]
        low = timeline.index[0] if start is None else start
        high = timeline.index[-1] if end is None else end
        self._index_of = {
            pts: index
            for pts, index in zip(timeline.pts, timeline.index, strict=True)
            if low <= index <= high
        }
        if not self._index_of:
            raise FootageError(
                f"{path}: no frames from {low} to {high}; it has {timeline.index[0]} "
                f"to {timeline.index[-1]}."
            )
        self.n_frames = len(self._index_of)

    def _examine(self, frame: VideoFrame) -> None:
        width, height = frame.width, frame.height
        self.image_size = (height, width) if quarter_turns(frame) % 2 else (width, height)
        if (transfer := hdr_transfer(frame)) is not None:
            self.warn(
                f"{self.path}: is HDR ({transfer}) and is read without tone mapping; "
                "colours in the texture will look flat."
            )

    def _scan(self, container: InputContainer, stream: VideoStream) -> _Timeline:
        """Read every packet without decoding it."""
        pts: list[int] = []
        last_end, untimed = 0, 0
        base = stream.time_base or Fraction(1)
        with named(self.path):
            try:
                for packet in container.demux(stream):
                    if packet.size == 0 or packet.is_discard:
                        continue
                    if packet.pts is None:
                        untimed += 1
                        continue
                    pts.append(packet.pts)
                    last_end = max(last_end, packet.pts + (packet.duration or 0))
            except av.error.InvalidDataError:
                self.warn(f"{self.path}: is damaged; what follows the damage cannot be read.")
        # AVI and raw streams store no times for reordered frames: count decoded frames instead.
        self._is_timed = untimed <= len(pts) // 10 and container.format.name != "avi"
        if not self._is_timed:
            base = 1 / self.frame_rate
            pts = list(range(self._count_decoded()))
            last_end = len(pts)
        self._time_base = base
        pts = sorted(set(pts))
        promised = _promised_seconds(container, stream)
        start = Fraction(stream.start_time or 0) * base if self._is_timed else Fraction(0)
        missing = float(promised - (last_end * base - min(start, Fraction(0)))) if promised else 0.0
        return _Timeline(tuple(pts), self._numbers(pts, base), missing if pts else 0.0)

    def _count_decoded(self) -> int:
        with open_stream(self.path, self._max_pixels) as (container, stream):
            return sum(frame is not None for frame in _decode(self.path, container, stream))

    def _numbers(self, pts: list[int], base: Fraction) -> tuple[int, ...]:
        """Frame numbers on the timeline of `frame_rate`, which is how Blender counts.

        A clip of variable frame rate has holes in its numbers; a frame that would share its
        number with the one before takes the next.
        """
        numbers: list[int] = []
        for t in pts:
            number = round((t - pts[0]) * base * self.frame_rate)
            numbers.append(max(number, numbers[-1] + 1) if numbers else 0)
        if numbers and numbers[-1] != len(numbers) - 1:
            self.warn(
                f"{self.path}: has a variable frame rate; its frames keep their true times, as in "
                "Blender. Programs that only count frames need it converted to a constant rate."
            )
        return tuple(numbers)

    def frame_numbers(self) -> list[int]:
        """Numbers of the frames, ascending."""
        return list(self._index_of.values())

    def part(self, start: int, end: int) -> Footage:
        """The frames numbered `start` to `end`, both included, without opening the file again."""
        chosen = copy.copy(self)
        chosen.warnings = []
        chosen._index_of = {t: i for t, i in self._index_of.items() if start <= i <= end}
        chosen.n_frames = len(chosen._index_of)
        return chosen

    def __iter__(self) -> Iterator[Frame]:
        if not self._index_of:
            return
        first_pts, last_pts = min(self._index_of), max(self._index_of)
        seen: set[int] = set()
        damaged, decoded = 0, 0
        with open_stream(self.path, self._max_pixels) as (container, stream):
            stream.thread_type = "AUTO"
            if self._is_timed and first_pts > self._first_pts:
                # A format that cannot seek is decoded from its start.
                with suppress(av.error.FFmpegError):
                    container.seek(first_pts, stream=stream, backward=True)
            for frame in _decode(self.path, container, stream):
                if frame is None:
                    damaged += 1
                    continue
                pts = frame.pts if self._is_timed else decoded
                decoded += 1
                if pts is None or pts not in self._index_of or pts in seen:
                    continue
                seen.add(pts)
                damaged += frame.is_corrupt
                yield self._frame(frame, pts)
                if pts >= last_pts:
                    break
        if damaged:
            self.warn(f"{self.path}: {damaged} frames are damaged; they may have tracked badly.")
        if len(seen) < self.n_frames:
            self.warn(f"{self.path}: {self.n_frames - len(seen)} frames could not be decoded.")
        if not seen:
            raise FootageError(f"{self.path}: no frame could be decoded. Export it anew.")

    def _frame(self, frame: VideoFrame, pts: int) -> Frame:
        image = upright_rgb(frame)
        if (image.shape[1], image.shape[0]) != self.image_size:
            raise FootageError(
                f"{self.path}: changes its size from {self.image_size[0]} x {self.image_size[1]} "
                f"to {image.shape[1]} x {image.shape[0]} on the way. Export it with one size."
            )
        seconds = float((pts - self._first_pts) * self._time_base)
        return Frame(self._index_of[pts], seconds, image, bool(frame.is_corrupt))


def _first_frame(path: Path, container: InputContainer, stream: VideoStream) -> VideoFrame:
    for frame in _decode(path, container, stream):
        if frame is not None:
            return frame
    raise FootageError(f"{path}: no frame could be decoded. Copy it again, or export it anew.")


def _decode(
    path: Path, container: InputContainer, stream: VideoStream
) -> Iterator[VideoFrame | None]:
    """Decode frame by frame; None stands for a packet whose data is damaged beyond use."""
    packets = container.demux(stream)
    while True:
        with named(path):
            try:
                packet = next(packets, None)
            except av.error.InvalidDataError:
                return
            if packet is None:
                return
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                yield None
                continue
        yield from frames


def _promised_seconds(container: InputContainer, stream: VideoStream) -> Fraction | None:
    """How long the file says that its pictures last, or None."""
    if stream.duration and stream.time_base:
        return Fraction(stream.duration) * stream.time_base
    if container.duration:
        return Fraction(container.duration, 1_000_000)
    return None


def is_still(path: Path, max_pixels: int = DEFAULT_MAX_PIXELS) -> bool:
    """Say whether a file is a single picture rather than a clip."""
    with open_stream(path, max_pixels) as (container, _):
        return container.format.name.endswith("_pipe") or container.format.name == "image2"


def read_picture(
    path: Path, max_pixels: int = DEFAULT_MAX_PIXELS
) -> tuple[NDArray[np.uint8], bool]:
    """Read one picture: (H, W, 3) uint8 RGB, upright, and whether its data is damaged."""
    with open_stream(path, max_pixels) as (container, stream):
        frame = _first_frame(path, container, stream)
        return upright_rgb(frame), bool(frame.is_corrupt)
