"""Frames as they come, from a camera or a clip: the newest wins, and what was missed is counted."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from backend.footage import FootageError, open_footage
from backend.footage.colour import quarter_turns, upright_rgb

_PATIENCE_S = 10.0
"""Longest wait for a frame of a camera, and for its first."""
_CAMERA_RATE = Fraction(30)


@dataclass(frozen=True)
class LiveImage:
    """A frame to be tracked."""

    index: int
    """Number among all frames of the source, also those that were dropped."""
    timestamp: float
    """Seconds after the first frame."""
    image: NDArray[np.uint8]
    """(H,W,3) RGB, upright."""
    arrived: float
    """When it came, of `time.perf_counter`."""


class LiveSource:
    """Frames of one source, as an iterator; `close` ends it. Use as a context."""

    image_size: tuple[int, int]
    """(W, H) pixels."""
    frame_rate: Fraction
    """Frames a second, as far as it is known."""
    dropped: int = 0
    """Frames that came while another was worked on and were replaced by newer ones."""

    def __iter__(self) -> Iterator[LiveImage]:
        raise NotImplementedError

    def close(self) -> None:
        """Let go of the device or file."""

    def __enter__(self) -> LiveSource:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class EveryFrame(LiveSource):
    """A clip's frames one after the other, as fast as they are asked for; none is dropped."""

    def __init__(self, path: Path) -> None:
        self._footage = open_footage(path)
        self.image_size, self.frame_rate = self._footage.image_size, self._footage.frame_rate
        self._is_closed = False

    def close(self) -> None:
        self._is_closed = True

    def __iter__(self) -> Iterator[LiveImage]:
        for frame in self._footage:
            if self._is_closed:
                return
            yield LiveImage(frame.index, frame.timestamp, frame.image, time.perf_counter())


class _Newest(LiveSource):
    """A thread reads, a place for one frame holds the newest, whoever iterates takes it."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._frame: Any = None
        self._error: BaseException | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._work, daemon=True, name="mien source")

    def __iter__(self) -> Iterator[LiveImage]:
        if not self._thread.is_alive() and not self._ended:
            self._thread.start()
        while True:
            with self._condition:
                # In short waits: Ctrl-C must be heard on every system.
                deadline = time.perf_counter() + _PATIENCE_S
                while self._frame is None and not self._ended:
                    self._condition.wait(0.2)
                    if self._frame is None and time.perf_counter() > deadline:
                        raise FootageError(
                            f"{self._name()}: no picture for {_PATIENCE_S:.0f} s. Is it still "
                            "connected, and is something being sent?"
                        )
                frame, self._frame = self._frame, None
                if frame is None:
                    if self._error is not None:
                        raise self._error
                    return
            yield self._picture(frame)

    def close(self) -> None:
        with self._condition:
            self._ended = True
            self._condition.notify_all()
        if self._thread.is_alive():
            self._thread.join(2.0)

    def _put(self, frame: Any) -> bool:
        """Show a frame; returns whether more are wanted."""
        with self._condition:
            if self._frame is not None:
                self.dropped += 1
            self._frame = frame
            self._condition.notify_all()
            return not self._ended

    def _work(self) -> None:
        try:
            self._read()
        except Exception as error:
            self._error = error
        with self._condition:
            self._ended = True
            self._condition.notify_all()

    def _read(self) -> None:
        raise NotImplementedError

    def _picture(self, frame: Any) -> LiveImage:
        raise NotImplementedError

    def _name(self) -> str:
        raise NotImplementedError


class PacedClip(_Newest):
    """A clip played at its own pace, as a camera would show it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._footage = open_footage(path)
        self.image_size, self.frame_rate = self._footage.image_size, self._footage.frame_rate

    def _read(self) -> None:
        began = time.perf_counter()
        for frame in self._footage:
            wait = began + frame.timestamp - time.perf_counter()
            if wait > 0:
                time.sleep(wait)
            made = LiveImage(frame.index, frame.timestamp, frame.image, time.perf_counter())
            if not self._put(made):
                return

    def _picture(self, frame: LiveImage) -> LiveImage:
        return frame

    def _name(self) -> str:
        return str(self._path)


class Camera(_Newest):
    """A camera, or an address that PyAV can open."""

    def __init__(self, name: str, size: tuple[int, int] | None, rate: float | None) -> None:
        """size (W, H) and rate: what the camera is asked for. Raises `FootageError`."""
        super().__init__()
        self._source = name
        self._count = 0
        self._began = 0.0
        file, kind = device_of(name)
        # What is buffered is late; but a file by its address cannot be read without.
        options = {} if name.startswith("file://") else {"fflags": "nobuffer"}
        if kind is not None and size is not None:
            options["video_size"] = f"{size[0]}x{size[1]}"
        if kind is not None and rate is not None:
            options["framerate"] = f"{rate:g}"
        try:
            self._container = av.open(
                file, format=kind, options=options, timeout=(_PATIENCE_S, _PATIENCE_S)
            )
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise FootageError(
                f"{name}: cannot be opened ({error}). Is it connected, and used by nothing else?"
            ) from error
        if not self._container.streams.video:
            self._container.close()
            raise FootageError(f"{name}: has no picture.")
        stream = self._container.streams.video[0]
        stream.codec_context.thread_type = "SLICE"  # Frame threads would add frames of delay.
        self._stream = stream
        self.frame_rate = Fraction(stream.average_rate or stream.base_rate or _CAMERA_RATE)
        self._frames = self._container.decode(stream)
        try:
            first = next(self._frames)
        except (av.error.FFmpegError, StopIteration) as error:
            self._container.close()
            raise FootageError(f"{name}: gives no picture ({error}).") from error
        turned = quarter_turns(first) % 2
        width, height = first.width, first.height
        self.image_size = (height, width) if turned else (width, height)
        self._first: VideoFrame | None = first

    def close(self) -> None:
        super().close()
        if not self._thread.is_alive():
            self._container.close()

    def _read(self) -> None:
        self._began = time.perf_counter()
        first, self._first = self._first, None
        if first is not None and not self._take(first):
            return
        try:
            for frame in self._frames:
                if not self._take(frame):
                    return
        except av.error.FFmpegError as error:
            raise FootageError(
                f"{self._source}: the picture broke off ({error}). Was it unplugged, or its "
                "network lost?"
            ) from error

    def _take(self, frame: VideoFrame) -> bool:
        self._count += 1
        return self._put((self._count - 1, time.perf_counter(), frame))

    def _picture(self, frame: tuple[int, float, VideoFrame]) -> LiveImage:
        # Only what is worked on is converted.
        index, arrived, picture = frame
        image = upright_rgb(picture)
        if image.shape[1::-1] != self.image_size:
            # Where landmarks are in space follows from the picture's size.
            raise FootageError(
                f"{self._source}: pictures of {image.shape[1]} x {image.shape[0]} after those of "
                f"{self.image_size[0]} x {self.image_size[1]}. Start again with the new size."
            )
        return LiveImage(index, arrived - self._began, image, arrived)

    def _name(self) -> str:
        return self._source


def device_of(name: str) -> tuple[str, str | None]:
    """What PyAV opens for a source's name, and with which format; None lets it find out.

    A number is a camera of this machine; `/dev/video2`, or a camera's name on Windows (as
    `video=NAME`), names one; what has "://" is an address.
    """
    if "://" in name:
        return name, None
    if sys.platform == "win32":
        return (name if name.startswith("video=") else f"video={name}"), "dshow"
    if sys.platform == "darwin":
        return name, "avfoundation"
    return (f"/dev/video{name}" if name.isdigit() else name), "v4l2"


def open_source(
    name: str, every_frame: bool = False, size: tuple[int, int] | None = None,
    rate: float | None = None,
) -> LiveSource:  # fmt: skip
    """A camera by number, path, name or address, or a clip: paced in real time, or every frame.

    Raises: FootageError.
    """
    path = Path(name)
    is_camera = "://" in name or name.isdigit() or name.startswith(("/dev/", "video="))
    if is_camera or (sys.platform != "linux" and not path.exists() and not path.suffix):
        return Camera(name, size, rate)
    return EveryFrame(path) if every_frame else PacedClip(path)
