"""The loop of a session: how it ends, and what it says then."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from backend.footage import FootageError
from backend.live.recording import Recording
from backend.live.session import Listener, run_session
from backend.live.source import LiveImage, LiveSource
from backend.live.tracker import LiveFrame


class Pictures(LiveSource):
    """A few pictures, and then what ends them."""

    image_size = (64, 48)
    frame_rate = Fraction(30)

    def __init__(self, error: BaseException | None) -> None:
        self._error = error

    def __iter__(self) -> Iterator[LiveImage]:
        for index in range(4):
            yield LiveImage(index, index / 30, np.zeros((48, 64, 3), np.uint8), 0.0)
        if self._error is not None:
            raise self._error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (None, "the source ended"),
        (KeyboardInterrupt(), "stopped"),
        (FootageError("camera 0: the picture broke off"), "camera 0: the picture broke off"),
    ],
)
def test_what_ends_a_session_is_told_and_its_frames_are_kept(
    error: BaseException | None, reason: str
) -> None:
    # A tracker that never sees a face: the loop is what is tested.
    tracker: Any = SimpleNamespace(
        graph=SimpleNamespace(runtime="none"), fitter=SimpleNamespace(person=None),
        step=lambda image, interval: LiveFrame(None, None, 0.0, 0.0),
    )  # fmt: skip
    tracker.fitter.person = SimpleNamespace(version=0)
    head: Any = SimpleNamespace(expression_names=["jawOpen"])
    said: list[str] = []
    recording = Recording()
    done = run_session("0", Pictures(error), head, tracker, Listener(said.append), recording)
    last = json.loads(said[-1])
    assert last["type"] == "end" and last["reason"] == reason and last["frames"] == 4
    assert done.frames == len(recording.index) == 4
    assert done.broke_off is (error if isinstance(error, FootageError) else None)


WATCHED = """
import threading, time
from backend.cli.live import _end_with_input
threading.Thread(target=_end_with_input, args=(None,), daemon=True).start()
time.sleep(0.3)
"""
"""A session that ends by itself while its input is still open."""


def test_ends_quietly_while_its_input_is_open() -> None:
    command = [sys.executable, "-c", WATCHED]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        said = process.stderr.read().decode()
        assert process.wait(60) == 0, said
    assert said == ""
