"""Frames as they come: order, pace, what is dropped, and what cannot be opened."""

from __future__ import annotations

import io
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from backend.footage import FootageError, open_footage
from backend.live import source as source_module
from backend.live.source import device_of, open_source
from backend.samples import PERFORMANCE


def test_every_frame_comes_once() -> None:
    with open_source(str(PERFORMANCE), every_frame=True) as source:
        index = [image.index for image in source]
    assert index == list(range(open_footage(PERFORMANCE).n_frames))
    assert source.dropped == 0


def test_the_newest_frame_wins_and_the_others_are_counted() -> None:
    total = open_footage(PERFORMANCE).n_frames
    with open_source(str(PERFORMANCE)) as source:
        index, late = [], []
        for image in source:
            late.append(time.perf_counter() - image.arrived)
            index.append(image.index)
            time.sleep(0.15)
    assert index == sorted(set(index))
    assert source.dropped > 0 and len(index) + source.dropped == total
    # What waits is at most one frame old, however slow the work on each is.
    assert max(late) < 0.15 + 2 / float(source.frame_rate)


def test_a_clip_is_played_at_its_own_pace() -> None:
    began = time.perf_counter()
    with open_source(str(PERFORMANCE)) as source:
        last = [image.timestamp for image in source][-1]
    assert time.perf_counter() - began >= last


def test_closing_ends_it() -> None:
    source = open_source(str(PERFORMANCE))
    count = 0
    for _ in source:
        count += 1
        if count == 3:
            source.close()
    assert count < open_footage(PERFORMANCE).n_frames


@pytest.mark.skipif(sys.platform != "linux", reason="other systems name cameras otherwise")
def test_cameras_by_name() -> None:
    assert device_of("2") == ("/dev/video2", "v4l2")
    assert device_of("/dev/video0") == ("/dev/video0", "v4l2")
    assert device_of("rtsp://host/stream") == ("rtsp://host/stream", None)


def test_an_address_is_a_camera(tmp_path: Path) -> None:
    # PyAV opens files by address, too: the way of a network camera without a network.
    with open_source(f"file://{PERFORMANCE}") as source:
        assert source.image_size == open_footage(PERFORMANCE).image_size
        images = list(source)
    assert len(images) + source.dropped == open_footage(PERFORMANCE).n_frames
    assert images[0].image.shape[:2] == source.image_size[::-1]


@pytest.mark.parametrize("name", ["missing.mp4", "/dev/video97", "97"])
def test_what_is_not_there_says_so(name: str) -> None:
    with pytest.raises(FootageError, match=r"97|missing"):
        open_source(name)


RATE = 100
BITS, BLOCK = 12, 16


class Sender:
    """A stream at an address of this computer; every picture shows its number."""

    def __init__(self, frames: int, stalls_s: float = 0.0) -> None:
        """stalls_s: how long it stays silent, open, after its frames."""
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._listening.getsockname()[1]}"
        self.sent: dict[int, float] = {}
        self._frames, self._stalls_s = frames, stalls_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        # Whoever watches may go at any time.
        with suppress(OSError, av.error.FFmpegError):
            connection, _ = self._listening.accept()
            with connection, connection.makefile("wb", buffering=0) as file:
                self._send(file)
                self._stop.wait(self._stalls_s)

    def _send(self, file: io.RawIOBase) -> None:
        with av.open(file, "w", format="mpegts") as container:
            stream = container.add_stream("mpeg2video", rate=RATE)
            stream.width, stream.height, stream.pix_fmt = BITS * BLOCK, 64, "yuv420p"
            stream.codec_context.time_base = Fraction(1, RATE)
            stream.gop_size, stream.max_b_frames = 10, 0
            began = time.perf_counter()
            for number in range(self._frames):
                bits = (number >> np.arange(BITS)) & 1
                row = np.repeat(np.where(bits, 220, 30), BLOCK).astype(np.uint8)
                picture = np.repeat(np.tile(row, (64, 1))[..., None], 3, axis=-1)
                if self._stop.wait(max(0.0, began + number / RATE - time.perf_counter())):
                    return
                self.sent[number] = time.perf_counter()
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))

    def close(self) -> None:
        self._stop.set()
        self._listening.close()
        self._thread.join(5)


def number_of(image: np.ndarray) -> int:
    levels = image[32, BLOCK // 2 :: BLOCK].mean(-1)
    return int(((levels > 125) << np.arange(BITS)).sum())


@contextmanager
def sending(frames: int, stalls_s: float = 0.0) -> Iterator[Sender]:
    sender = Sender(frames, stalls_s)
    try:
        yield sender
    finally:
        sender.close()


def test_a_stream_that_is_too_fast_is_never_late() -> None:
    # A loop of 10 pictures a second on a stream of 100: what is queued anywhere adds up to seconds.
    with sending(400) as sender, open_source(sender.address) as source:
        numbers, ages = [], []
        for image in source:
            numbers.append(number_of(image.image))
            ages.append(time.perf_counter() - sender.sent[numbers[-1]])
            time.sleep(0.1)
    assert source.image_size == (BITS * BLOCK, 64)
    assert numbers == sorted(set(numbers)) and 15 < len(numbers) < 100
    assert source.dropped > 100
    assert np.median(ages[2:]) < 0.15 and max(ages[2:]) < 0.6


def test_a_stream_that_ends_ends_the_loop() -> None:
    with sending(60) as sender, open_source(sender.address) as source:
        numbers = [number_of(image.image) for image in source]
    # What came while the stream was looked into is not shown: it is late by then.
    assert numbers == sorted(numbers) and numbers[-1] > 50


def test_a_stream_that_stalls_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "_PATIENCE_S", 1.0)
    with (
        sending(60, stalls_s=20.0) as sender,
        open_source(sender.address) as source,
        pytest.raises(FootageError, match=r"no picture for 1 s|broke off"),
    ):
        for _ in source:
            pass


def device(monkeypatch: pytest.MonkeyPatch, graph: str) -> None:
    """Let every device be FFmpeg's synthetic one."""
    monkeypatch.setattr(source_module, "device_of", lambda name: (graph, "lavfi"))


@pytest.mark.skipif("lavfi" not in av.formats_available, reason="PyAV without synthetic devices")
def test_the_newest_picture_of_a_device_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    device(monkeypatch, "testsrc=size=320x240:rate=200:duration=2,realtime")
    with open_source("0") as source:
        assert source.image_size == (320, 240) and source.frame_rate == 200
        late = []
        for image in source:
            late.append(time.perf_counter() - image.arrived)
            time.sleep(0.05)
    assert source.dropped > 200 and 390 < len(late) + source.dropped <= 400
    assert np.median(late) < 0.02


@pytest.mark.skipif("lavfi" not in av.formats_available, reason="PyAV without synthetic devices")
def test_another_size_of_picture_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    device(monkeypatch, "testsrc=size=320x240:rate=50:duration=1")
    with open_source("0") as source:
        source.image_size = (640, 480)
        with pytest.raises(FootageError, match="320 x 240 after those of 640 x 480"):
            next(iter(source))
