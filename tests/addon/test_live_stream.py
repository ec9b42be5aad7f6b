"""The add-on's reading of what `mien live` prints."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

PROGRAM = """
import json, sys
folder = sys.argv[sys.argv.index("--head-folder") + 1]
import numpy as np
np.savez(folder + "/head-1.npz", expression_names=np.array(["jawOpen"]),
         rest_vertices=np.zeros((3, 3)), shape_keys=np.ones((1, 3, 3), np.float16),
         faces=np.array([[0, 1, 2]]), uv=np.zeros((1, 3, 2)), joints=np.zeros((4, 3)),
         skin_weights=np.eye(4)[:3])
def say(**message):
    print(json.dumps(message), flush=True)
print("what the backend says to people", flush=True)
say(type="start", format=FORMAT, image_size=[640, 480], frame_rate=30.0,
    expression_names=["jawOpen"])
say(type="head", file=folder + "/head-1.npz", focal_px=600.0)
for k in range(4):
    pose = dict(expression=[k / 10], rotations=[[0, 0, 0]] * 4, translation=[0, 0, 0.5],
                focal_px=600.0) if k != 2 else {}
    say(type="frame", index=2 * k, time=k / 15, found=k != 2, dropped=k, latency_ms=9.5, **pose)
say(type="end", frames=4, found=3, dropped=3)
print("broken {", flush=True)
sys.exit(CODE)
"""


@pytest.fixture
def live(addon: Callable[[str], ModuleType]) -> Any:
    return addon("live.stream")


def start(live: Any, folder: Path, code: int = 0, version: int = 1) -> Any:
    file = folder / "fake.py"
    file.write_text(PROGRAM.replace("CODE", str(code)).replace("FORMAT", str(version)), "utf-8")
    return live.LiveStream([sys.executable, str(file)], "0", ["--detector", "dense"])


def until_finished(stream: Any) -> None:
    deadline = time.monotonic() + 30
    while not stream.is_finished:
        stream.poll()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_newest_frame_is_kept(live: Any, tmp_path: Path) -> None:
    stream = start(live, tmp_path)
    stream.is_recording = True
    until_finished(stream)
    assert stream.problem == ""
    assert stream.image_size == (640, 480) and stream.expression_names == ("jawOpen",)
    assert (stream.frames, stream.dropped) == (4, 3)
    assert stream.newest is not None and stream.newest.index == 6
    assert stream.newest.expression[0] == pytest.approx(0.3)
    # The frame without a face is no pose.
    assert [pose.index for pose in stream.recorded] == [0, 2, 6]
    model = stream.take_head()
    assert model is not None and model.shape_keys.shape == (1, 3, 3)
    assert stream.take_head() is None
    stream.close()
    assert live.read_head(tmp_path / "none.npz") is None


def test_a_recording_keeps_true_time(live: Any, tmp_path: Path) -> None:
    stream = start(live, tmp_path)
    stream.is_recording = True
    until_finished(stream)
    model = stream.take_head()
    assert model is not None
    shot = live.shot_of(model, stream.recorded, stream.image_size, stream.frame_rate, 30.0)
    # 0, 1/15 and 3/15 of a second in a scene of 30 frames a second.
    assert shot.motion.frame_index.tolist() == [0, 2, 6]
    np.testing.assert_allclose(shot.motion.expression[:, 0], [0.0, 0.1, 0.3], atol=1e-6)
    half = live.shot_of(model, stream.recorded, stream.image_size, stream.frame_rate, 5.0)
    assert half.motion.frame_index.tolist() == [0, 1]
    np.testing.assert_allclose(half.motion.expression[:, 0], [0.1, 0.3], atol=1e-6)
    stream.close()


def test_a_failure_is_told(live: Any, tmp_path: Path) -> None:
    stream = start(live, tmp_path, code=2)
    until_finished(stream)
    assert "broken {" in stream.problem
    stream.close()


def test_a_newer_backend_is_refused(live: Any, tmp_path: Path) -> None:
    stream = start(live, tmp_path, version=99)
    until_finished(stream)
    assert stream.newest is None and stream.expression_names == ()
    assert "newer" in stream.problem
    stream.close()


def test_what_is_not_there_cannot_be_started(live: Any, tmp_path: Path) -> None:
    with pytest.raises(OSError):
        live.LiveStream([str(tmp_path / "missing")], "0")
