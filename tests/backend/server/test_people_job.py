"""People of a clip at a real service, and tracking the one who was picked."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import skimage.data

from backend.errors import BadInputError, NoFaceError
from backend.footage import open_footage
from backend.samples import PERFORMANCE
from shared import messages as m

N_FRAMES = 10
SIDE = 256


@pytest.fixture(scope="module")
def clip(service: Any) -> Path:
    """The embedded performance on the left, and a still photograph on the right from frame 3 on."""
    path: Path = service.clips / "two.mp4"
    portrait = cv2.resize(skimage.data.astronaut()[:300, 60:360], (SIDE, SIDE))
    frames = open_footage(PERFORMANCE, end=N_FRAMES - 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = 2 * SIDE, SIDE, "yuv420p"
        stream.options = {"crf": "12"}
        for frame in frames:
            height, width = frame.image.shape[:2]
            side = min(height, width)
            left = (width - side) // 2
            actor = cv2.resize(frame.image[:side, left : left + side], (SIDE, SIDE))
            other = portrait if frame.index >= 3 else np.full_like(portrait, 90)
            image = np.ascontiguousarray(np.hstack([actor, other]))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def people(service: Any, job: m.PeopleJob) -> list[m.PersonResult]:
    events: list[Any] = []
    done = service.track(job, events.append)
    assert done.image_size == (2 * SIDE, SIDE)
    return [event for event in events if isinstance(event, m.PersonResult)]


def test_people_of_a_clip_and_of_a_frame(service: Any, clip: Path) -> None:
    found = people(service, m.PeopleJob(clip=str(clip), samples=5))
    assert len(found) == 2 and [person.number for person in found] == [0, 1]
    by_place = sorted(found, key=lambda person: person.place[0])
    assert by_place[0].place[0] < SIDE < by_place[1].place[0]
    assert by_place[0].frames.tolist() == [1, 3, 5, 7, 9]
    assert by_place[1].frames.tolist() == [3, 5, 7, 9]
    for person in by_place:
        row = person.frames.tolist().index(person.frame_index)
        left, top, right, bottom = person.boxes[row]
        assert left < person.place[0] < right and top < person.place[1] < bottom
    alone = people(service, m.PeopleJob(clip=str(clip), start=1, end=1))
    assert len(alone) == 1 and alone[0].frames.tolist() == [1]


def test_nobody_in_a_clip(service: Any) -> None:
    path = service.clips / "empty.png"
    cv2.imwrite(str(path), np.full((200, 300, 3), 100, np.uint8))
    with pytest.raises(NoFaceError, match=r"empty\.png"):
        service.track(m.PeopleJob(clip=str(path)), lambda event: None)


@pytest.mark.parametrize("who", [0, 1])
def test_the_picked_person_is_tracked(service: Any, clip: Path, who: int) -> None:
    """Each of the two, one of whom is not there at first and whom the other must not replace."""
    place = sorted(
        person.place for person in people(service, m.PeopleJob(clip=str(clip), start=6, end=6))
    )[who]
    events: list[Any] = []
    job = m.TrackJob(clip=str(clip), subject=place, subject_frame=6, quality="preview")
    done = service.track(job, events.append)
    assert done.n_frames == N_FRAMES and done.distortion == (0.0, 0.0, 0.0)
    last = {e.frame_index: e for e in events if isinstance(e, m.FrameResult) and e.found}
    assert sorted(last) == list(range(3 * who, N_FRAMES))
    for frame in last.values():
        assert frame.landmarks_2d is not None
        x = float(frame.landmarks_2d[:, 0].mean())
        assert (x > SIDE) == bool(who), frame.frame_index


def test_nobody_is_there_to_be_picked(service: Any, clip: Path) -> None:
    job = m.TrackJob(clip=str(clip), subject=(400.0, 120.0), subject_frame=0, quality="preview")
    with pytest.raises(BadInputError, match="no face at 400, 120 in frame 0"):
        service.track(job, lambda event: None)
    with pytest.raises(BadInputError, match="--subject"):
        service.track(m.TrackJob(clip=str(clip), subject_frame=2), lambda event: None)
