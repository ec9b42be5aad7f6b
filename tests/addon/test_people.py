"""People out of messages, clicks on their faces, and jobs as text."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest

from shared import codec, messages

Addon = Callable[[str], ModuleType]


def _person(number: int, frames: list[int], boxes: list[list[float]]) -> messages.PersonResult:
    return messages.PersonResult(
        number=number,
        frame_index=frames[0],
        place=(boxes[0][0] + 5.0, boxes[0][1] + 5.0),
        frames=np.array(frames),
        boxes=np.array(boxes, np.float32),
        picture=np.zeros((4, 4, 3), np.uint8),
    )


def test_people_are_collected(addon: Addon) -> None:
    receiver = addon("people.receiver").PeopleReceiver()
    decode = addon("shared.codec").decode_from_server

    def send(message: messages.Message) -> None:
        receiver.receive(decode([bytes(frame) for frame in codec.encode(message)]))

    first = _person(0, [3, 9], [[10, 20, 30, 50], [12, 20, 32, 50]])
    send(messages.Progress(stage="people", fraction=0.5))
    send(first)
    send(_person(1, [9], [[100, 20, 120, 50]]))
    # A rerun sends all again.
    send(first)
    assert len(receiver.people) == 1 and receiver.people[0].box == (10, 20, 30, 50)
    assert receiver.people[0].boxes[9] == (12, 20, 32, 50)
    send(messages.JobDone(image_size=(640, 360), n_frames=5))
    assert receiver.image_size == (640, 360) and receiver.n_frames == 5
    assert receiver.progress.fraction == 0.5


def test_a_click_takes_the_nearest_face(addon: Addon) -> None:
    hit = addon("people.receiver").hit
    boxes = [(10.0, 10.0, 50.0, 60.0), (55.0, 10.0, 95.0, 60.0)]
    assert hit(boxes, 20, 20) == 0 and hit(boxes, 80, 50) == 1
    # Hair and chin are outside of the box, and a place between two is the nearer one's.
    assert hit(boxes, 30, 70) == 0 and hit(boxes, 51, 30) == 0 and hit(boxes, 54, 30) == 1
    assert hit(boxes, 300, 30) is None and hit([], 20, 20) is None


def test_who_is_found_again_is_the_same(addon: Addon) -> None:
    is_same = addon("people.receiver").is_same
    one = {10: (10.0, 10.0, 50.0, 60.0), 40: (200.0, 10.0, 240.0, 60.0)}
    assert is_same(one, {12: (14.0, 10.0, 54.0, 60.0)})
    assert is_same(one, {40: (198.0, 12.0, 238.0, 62.0), 300: (0.0, 0.0, 9.0, 9.0)})
    assert not is_same(one, {40: (10.0, 10.0, 50.0, 60.0)})
    assert not is_same(one, {80: (200.0, 10.0, 240.0, 60.0)})
    assert not is_same(one, {})


def test_a_job_is_the_same_after_the_file(addon: Addon) -> None:
    snapshot, jobs = addon("queue.snapshot"), addon("shared.messages")
    job = jobs.TrackJob(
        clip="/clips/ä b.mp4", start=3, end=9, subject=(10.25, 3.0), subject_frame=4,
        lens=jobs.Lens(distortion=(-0.1, 0.02, 0.0)), focal_mode="fixed", focal_px=1234.5678,
    )  # fmt: skip
    assert snapshot.job_from_text(snapshot.job_to_text(job)) == job
    assert snapshot.describe_job(job, 101) == "frames 104 to 110, final"
    assert snapshot.describe_job(jobs.TrackJob(clip="/a"), 1) == "all frames, final"
    for text in ("", "{}", "[1", '{"type": "people", "clip": "/a"}', "\ud800"):
        with pytest.raises(ValueError, match="add it again"):
            snapshot.job_from_text(text)
