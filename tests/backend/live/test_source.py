"""Frames as they come: order, pace, what is dropped, and what cannot be opened."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from backend.footage import FootageError, open_footage
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
