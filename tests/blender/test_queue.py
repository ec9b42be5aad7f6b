"""People and the queue in Blender, against a real backend that tracks real faces."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import skimage.data

from backend.footage import open_footage
from backend.samples import PERFORMANCE

pytestmark = pytest.mark.blender

SIDE = 256
N_FRAMES = 8


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded performance on the left, and a photograph on the right from frame 3 on."""
    path = tmp_path_factory.mktemp("two") / "two.mp4"
    portrait = cv2.resize(skimage.data.astronaut()[:300, 60:360], (SIDE, SIDE))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = 2 * SIDE, SIDE, "yuv420p"
        stream.options = {"crf": "12"}
        for frame in open_footage(PERFORMANCE, end=N_FRAMES - 1):
            height, width = frame.image.shape[:2]
            side, left = min(height, width), (width - min(height, width)) // 2
            actor = cv2.resize(frame.image[:side, left : left + side], (SIDE, SIDE))
            other = portrait if frame.index >= 3 else np.full_like(portrait, 90)
            image = np.ascontiguousarray(np.hstack([actor, other]))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def connection(two: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A backend that tracks; its connection file."""
    folder = tmp_path_factory.mktemp("service")
    file = folder / "connection.json"
    command = [sys.executable, "-m", "backend", "serve", "--exit-with-stdin"]
    command += ["--connection-file", str(file), "--jobs-directory", str(folder / "jobs")]
    command += ["--roots", "/", "--devices", "cpu"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not file.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    yield file
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(60)
    finally:
        process.kill()


def copies(clip: Path, folder: Path, count: int) -> list[str]:
    paths = [folder / f"shot_{letter}.mp4" for letter in "abcdef"[:count]]
    for path in paths:
        path.write_bytes(clip.read_bytes())
    return [str(path) for path in paths]


def test_people_are_found_and_tracked(blender: Any, connection: Path, two: Path) -> None:
    facts = blender.run("queue_checks.py", "people", clip=two, connection=connection)
    assert len(facts["found"]) == facts["again"] == 2
    assert [name for name, *_ in facts["found"]] == ["Person 1", "Person 2"]
    assert {seen for *_, seen in facts["found"]} == {"8 of 8 frames", "5 of 8 frames"}
    for picture in facts["pictures"]:
        (width, height), icon = picture["sizes"]
        assert width == height >= 32 and icon == [32, 32] and picture["opaque"] == 1.0
        # The icon shows the same picture, smaller.
        assert picture["means"][0] == pytest.approx(picture["means"][1], abs=0.02)
        assert 0.3 < picture["means"][0] < 0.95
    assert facts["states"] == ["DONE"] * 2
    assert facts["collections"] == 2
    names = [result["name"] for result in facts["results"]]
    assert names == ["Mien Anna", "Mien Person 2"]
    assert facts["results"][0]["names"] == [
        "Mien Anna", "Mien Anna Camera", "Mien Anna Head", "Mien Anna Rig",
    ]  # fmt: skip
    for (_, _, place, _), pixel, result in zip(
        facts["found"], facts["pixels"], facts["results"], strict=True
    ):
        # Each result is on their own face, on their own side of the picture.
        assert (place[0] > SIDE) == (pixel[0] > SIDE)
        assert np.hypot(*np.subtract(place, pixel)) < 0.25 * SIDE
        assert result["clip"] == "two.mp4"
        # The clip starts at the scene's frame 101.
        assert result["frames"][1] == 101 + N_FRAMES - 1
    assert facts["camera"] == "Mien Anna Camera"
    assert facts["frames"] == [101, 108]
    # One of the two is not there from the start.
    late = [place[0] > SIDE for _, _, place, _ in facts["found"]].index(True)
    assert "No face was found in 3;" in facts["messages"][late]
    assert "No face was found in" not in facts["messages"][1 - late]


def test_a_person_is_picked_by_a_pixel(blender: Any, connection: Path, two: Path) -> None:
    facts = blender.run("queue_checks.py", "picked", clip=two, connection=connection,
                        x=1.5 * SIDE, y=0.4 * SIDE)  # fmt: skip
    assert facts["people"] == [["Person 1", 6], ["Person 2", 6]]
    assert facts["states"] == ["DONE", "FAILED"] and facts["nobody"]
    assert "there is no face at 5, 5 in frame 6" in facts["message"]
    assert facts["pixel"][0] > SIDE
    assert facts["left"] == ["Person 1"]


def test_a_failed_job_does_not_stop_the_others(
    blender: Any, connection: Path, two: Path, tmp_path: Path
) -> None:
    clips = copies(two, tmp_path, 3)
    facts = blender.run("queue_checks.py", "several", clips=clips, connection=connection,
                        blend=tmp_path / "a.blend")  # fmt: skip
    assert [entry[2] for entry in facts["added"]] == ["WAITING"] * 3
    assert facts["added"][0][1] == "all frames, preview"
    assert facts["order"] == ["shot_b.mp4", "shot_c.mp4", "shot_a.mp4"]
    assert facts["states"] == ["FAILED", "DONE", "DONE"]
    assert "shot_b.mp4" in facts["messages"][0]
    assert facts["after"] == ["DONE"] * 3
    assert [result["clip"] for result in facts["results"]] == facts["order"]
    assert len({result["name"] for result in facts["results"]}) == 3
    assert facts["collections"] == 3 and facts["cleared"] == 0
    assert facts["cancelled"] == ["CANCELLED"]


def test_the_queue_outlives_blender(
    blender: Any, connection: Path, two: Path, tmp_path: Path
) -> None:
    blend = tmp_path / "shot.blend"
    before = blender.run("queue_checks.py", "left", clip=two, connection=connection, blend=blend)
    assert before["states"] == ["RUNNING", "WAITING"]
    after = blender.run("queue_checks.py", "resumed", connection=connection, blend=blend)
    assert after["loaded"] == ["WAITING", "WAITING"]
    assert after["states"] == ["DONE", "DONE"]
    assert after["job_ids"] == before["job_ids"]
    assert all(result["frames"] == [1, N_FRAMES] for result in after["results"])


def test_the_queue_outlives_its_backend(blender: Any, two: Path) -> None:
    facts = blender.run("queue_checks.py", "backend_dies", clip=two, python=sys.executable)
    assert facts["killed"] and facts["again"] != facts["killed"]
    assert facts["states"] == ["DONE"], facts["messages"]


def test_what_was_undone_stays_undone(blender: Any, connection: Path, two: Path) -> None:
    facts = blender.run("queue_checks.py", "undone", clip=two, connection=connection)
    assert facts["before"] == [["DONE"], 4]
    assert facts["after"][1] == 0 and facts["after"][0] != ["DONE"]
    assert facts["again"] == [["DONE"], 4]


def test_panels_say_what_to_do(blender: Any, two: Path) -> None:
    drawn = blender.run("queue_checks.py", "panels", clip=two)
    people, queue = drawn["empty"]
    assert "Find People" in people and "largest face" in people and "Track All" not in people
    assert "Add to Queue" in queue and "one after another" in queue and "Start" not in queue
    people, queue = drawn["one"]
    assert "Track Person" in people and "Track All" in people
    assert "Add All People" in queue and "Start" in queue and "Cancel" in queue
    _, queue = drawn["failed"]
    assert "It did not work. Try again." in queue and "Retry" in queue


def test_operators_are_documented(blender: Any) -> None:
    missing = blender.run("queue_checks.py", "documented")
    assert len(missing) == 12
    assert not any(missing.values()), missing


def test_an_error_in_a_job_does_not_end_the_queue(blender: Any, two: Path, tmp_path: Path) -> None:
    told = blender.run("queue_checks.py", "breaks", clip=two, folder=tmp_path)
    assert told["after"] == ["FAILED", "WAITING"]
    assert told["states"] == ["FAILED", "FAILED"]
    assert told["goes_on"] == [True, True, False]
    assert "something is wrong" in told["message"] and "Try again" in told["message"]
