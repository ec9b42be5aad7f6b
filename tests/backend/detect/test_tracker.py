"""A followed person stays the same one: through crossings, absences and cuts.

Two faces are cut out of real frames and moved over photographs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray

from backend.detect import DenseDetector, FaceTracker
from backend.detect.appearance import AppearanceMemory, describe, distance
from backend.detect.people import find_people
from backend.detect.windows import roi
from backend.footage import Frame, open_footage
from backend.samples import PERFORMANCE

SIZE = (480, 320)
HEAD_SIDE = 190
"""Pixels of the square that a cut-out head fills."""


@dataclass(frozen=True)
class CutOut:
    """A head to be laid over pictures."""

    image: NDArray[np.uint8]
    """(S,S,3) RGB."""
    cover: NDArray[np.float32]
    """(S,S,1) 0 to 1."""
    face: NDArray[np.float64]
    """(2,) px of the face's middle."""


@pytest.fixture(scope="module")
def detector() -> DenseDetector:
    detector = DenseDetector.load()
    # No face here is small: searches need not go on to small windows.
    detector.settings = replace(detector.settings, smallest=0.4, last_resort=())
    return detector


@pytest.fixture(scope="module")
def astronaut(detector: DenseDetector) -> CutOut:
    return _cut_out(detector, skimage.data.astronaut())


@pytest.fixture(scope="module")
def actor(detector: DenseDetector) -> CutOut:
    """The head of the embedded performance."""
    return _cut_out(detector, next(iter(open_footage(PERFORMANCE))).image)


@pytest.fixture(scope="module")
def room() -> NDArray[np.uint8]:
    return cv2.resize(skimage.data.coffee(), SIZE)


def _cut_out(detector: DenseDetector, picture: NDArray[np.uint8]) -> CutOut:
    window = roi(detector.find(picture)[0].landmarks_2d)
    scale = HEAD_SIDE / (1.35 * window.side)
    # Without the roll: faces stand as upright as in their picture.
    middle = np.array([window.x, window.y - 0.1 * window.side])
    shift = (HEAD_SIDE - 1) / 2 - scale * middle
    matrix = np.hstack([scale * np.eye(2), shift[:, None]])
    image = cv2.warpAffine(picture, matrix, (HEAD_SIDE, HEAD_SIDE), borderMode=cv2.BORDER_REPLICATE)
    y, x = np.mgrid[-1 : 1 : HEAD_SIDE * 1j, -1 : 1 : HEAD_SIDE * 1j]
    radius = np.hypot(x / 0.85, y)
    cover = np.clip((1 - radius) / 0.06, 0, 1).astype(np.float32)[..., None]
    return CutOut(image, cover, scale * np.array([window.x, window.y]) + shift)


def _show(
    room: NDArray[np.uint8], *people: tuple[CutOut, tuple[float, float]]
) -> NDArray[np.uint8]:
    """People with their faces at places (x, y) px, the last in front."""
    frame = room.astype(np.float32)
    for head, place in people:
        shift = np.asarray(place) - head.face
        matrix = np.hstack([np.eye(2), shift[:, None]])
        cover = cv2.warpAffine(head.cover, matrix, SIZE)[..., None]
        frame += cover * (cv2.warpAffine(head.image, matrix, SIZE).astype(np.float32) - frame)
    return frame.astype(np.uint8)


def _place(tracker: FaceTracker, frame: NDArray[np.uint8]) -> NDArray[np.float64] | None:
    face = tracker.step(frame)
    if face is None:
        return None
    window = roi(face.landmarks_2d)
    return np.array([window.x, window.y])


def _crossing() -> Iterator[tuple[tuple[float, float], tuple[float, float]]]:
    """Places of one who walks to the right, behind, and one to the left, in front."""
    for x in np.linspace(0, 1, 25):
        yield (100 + 280 * x, 175.0), (380 - 280 * x, 170.0)


@pytest.mark.parametrize("in_front", ["actor", "astronaut"])
@pytest.mark.parametrize("follow_front", [True, False])
def test_people_who_cross_keep_their_identity(
    detector: DenseDetector,
    astronaut: CutOut,
    actor: CutOut,
    room: NDArray[np.uint8],
    in_front: str,
    follow_front: bool,
) -> None:
    back, front = (astronaut, actor) if in_front == "actor" else (actor, astronaut)
    ways = list(_crossing())
    tracker = FaceTracker(detector, subject=ways[0][1 if follow_front else 0])
    found, wrong = [], 0
    for of_back, of_front in ways:
        place = _place(tracker, _show(room, (back, of_back), (front, of_front)))
        own, other = (of_front, of_back) if follow_front else (of_back, of_front)
        found.append(place is not None)
        if place is not None:
            to_own, to_other = np.hypot(*(place - own)), np.hypot(*(place - other))
            wrong += bool(to_other < to_own and to_own > 15)
    assert wrong == 0
    # In front everything is seen; behind, all but the frames in which the other covers the face.
    assert all(found) if follow_front else all(found[:7]) and all(found[-7:])


def test_who_enters_does_not_take_over_from_who_left(
    detector: DenseDetector, astronaut: CutOut, actor: CutOut, room: NDArray[np.uint8]
) -> None:
    """Nobody was chosen: whoever was followed is the one; and they are found when they return."""
    tracker = FaceTracker(detector)
    for x in (200, 204, 208, 212, 216):
        assert _place(tracker, _show(room, (astronaut, (x, 170)))) is not None
    assert _place(tracker, room) is None
    for x in (212, 206, 200):
        assert _place(tracker, _show(room, (actor, (x, 170)))) is None
    both = _show(room, (actor, (120, 170)), (astronaut, (350, 180)))
    place = _place(tracker, both)
    assert place is not None
    np.testing.assert_allclose(place, (350, 180), atol=8)


def test_what_comes_before_a_face_does_not_end_it(
    detector: DenseDetector, actor: CutOut, room: NDArray[np.uint8]
) -> None:
    """Half the face changes its looks from one frame to the next, and back; nobody else is near."""
    tracker = FaceTracker(detector)
    for number in range(18):
        x = 180 + 3 * number
        frame = _show(room, (actor, (x, 170)))
        if 6 <= number < 12:
            cv2.rectangle(frame, (x + 8, 90), (x + 60, 165), (30, 40, 220), -1)
        place = _place(tracker, frame)
        assert place is not None, number
        assert np.hypot(*(place - (x, 170))) < 15


def test_a_cut_to_elsewhere(
    detector: DenseDetector, astronaut: CutOut, actor: CutOut, room: NDArray[np.uint8]
) -> None:
    """After a cut the person is found in the same frame, though another is where they were."""
    tracker = FaceTracker(detector)
    for x in (120, 122, 124, 126):
        assert _place(tracker, _show(room, (actor, (x, 170)))) is not None
    other = cv2.resize(255 - skimage.data.rocket(), SIZE)
    place = _place(tracker, _show(other, (astronaut, (128, 170)), (actor, (360, 165))))
    assert place is not None
    np.testing.assert_allclose(place, (360, 165), atol=8)


def test_looks_tell_people_apart(
    detector: DenseDetector, astronaut: CutOut, actor: CutOut, room: NDArray[np.uint8]
) -> None:
    """Light and place leave a person's looks nearer to themselves than to another's."""
    bright = _show(room, (astronaut, (120, 170)), (actor, (360, 170)))
    dark = 255 * (_show(room, (astronaut, (130, 160)), (actor, (350, 175))) / 255.0) ** 1.3 * 0.85
    looks = []
    for frame in (bright, dark.astype(np.uint8)):
        faces = sorted(detector.find(frame, 2), key=lambda face: roi(face.landmarks_2d).x)
        assert len(faces) == 2
        looks.append([describe(frame, face) for face in faces])
    memory = AppearanceMemory()
    memory.learn(looks[0][0])
    assert memory.distance(looks[1][0]) < memory.settings.strict
    assert memory.distance(looks[1][1]) > memory.settings.same
    assert distance(looks[0][0], looks[0][0]) == pytest.approx(0, abs=1e-5)
    assert distance(looks[0][0], looks[1][1]) == pytest.approx(distance(looks[1][1], looks[0][0]))


@pytest.mark.parametrize("wanted", ["astronaut", "actor"])
def test_who_was_pointed_at_later_is_followed_from_the_start(
    detector: DenseDetector, astronaut: CutOut, actor: CutOut, room: NDArray[np.uint8], wanted: str
) -> None:
    """Someone is pointed at after the two have crossed; before that they are the same one too."""
    ways = list(_crossing())
    frames = [_show(room, (astronaut, one), (actor, other)) for one, other in ways]
    own = [way[wanted == "actor"] for way in ways]
    pointed = 20
    tracker = FaceTracker(detector)
    assert tracker.meet(frames[pointed:], own[pointed])
    places = []
    for number, frame in enumerate(frames):
        face = tracker.pick(frame, own[number]) if number == pointed else tracker.step(frame)
        window = None if face is None else roi(face.landmarks_2d)
        places.append(None if window is None else (window.x, window.y))
    # In the middle the astronaut is behind the actor.
    assert all(places[:7]) and all(places[-7:])
    for number, (place, way) in enumerate(zip(places, own, strict=True)):
        if place is not None:
            assert np.hypot(*np.subtract(place, way)) < 20, number


def test_nobody_is_where_the_pointer_was(
    detector: DenseDetector, actor: CutOut, room: NDArray[np.uint8]
) -> None:
    tracker = FaceTracker(detector)
    frame = _show(room, (actor, (120, 170)))
    assert not tracker.meet([frame], (440, 40))
    assert tracker.pick(frame, (440, 40)) is None
    # Nothing was learned, and nothing is followed: the largest face is, as ever.
    assert not tracker.memory.count and _place(tracker, frame) is not None


def test_the_people_of_a_clip(
    detector: DenseDetector, astronaut: CutOut, actor: CutOut, room: NDArray[np.uint8]
) -> None:
    """Two who cross, one of whom stays after a cut to another place: they are two."""
    other = cv2.resize(255 - skimage.data.rocket(), SIZE)
    frames, truth = [], []
    for one, two in list(_crossing())[::4]:
        frames.append(_show(room, (astronaut, one), (actor, two)))
        truth.append((one, two))
    frames.append(_show(other, (astronaut, (360, 165))))
    truth.append(((360, 165), None))
    seen = find_people([Frame(9 * k, k / 25, f, False) for k, f in enumerate(frames)], detector)
    assert len(seen) == 2
    owners = []
    for person in seen:
        assert person.picture.shape == (96, 96, 3) and person.picture.std() > 20
        assert person.frames == sorted(person.frames)
        counts = []
        for who in (0, 1):
            way = {9 * k: places[who] for k, places in enumerate(truth) if places[who] is not None}
            middles = [((a + c) / 2, (b + d) / 2) for a, b, c, d in person.boxes]
            hits = [
                np.hypot(*np.subtract(m, way[f])) < 30
                for f, m in zip(person.frames, middles, strict=True)
                if f in way
            ]
            counts.append(sum(hits))
        owners.append(int(np.argmax(counts)))
        assert max(counts) >= len(person.frames) - 1
    assert sorted(owners) == [0, 1]


@pytest.mark.parametrize(("is_small", "thorough"), [(False, [0, 6]), (True, list(range(8)))])
def test_small_faces_are_looked_for_in_some_frames(
    actor: CutOut, detector: DenseDetector, is_small: bool, thorough: list[int]
) -> None:
    """All frames are searched whole as soon as there is somebody whom the quick search misses."""
    picture = _show(np.zeros((*SIZE[::-1], 3), np.uint8), (actor, (240, 160)))
    face = detector.find(picture)[0]
    share = 0.1 if is_small else 1.0
    face = replace(face, landmarks_2d=share * (face.landmarks_2d - (240, 160)) + (240, 160))

    class Recorder:
        def __init__(self) -> None:
            self.frames: list[int] = []

        def find(self, image: NDArray[np.uint8], max_faces: int = 1, quality: str = "fast") -> list:
            self.frames.append(int(image[0, 0, 0]))
            return [face]

        def is_face(self, face: object, followed: bool = False) -> bool:
            return True

    full, quick = Recorder(), Recorder()
    frames = [Frame(k, 0.0, picture.copy(), False) for k in range(8)]
    for frame in frames:
        frame.image[0, 0] = frame.index
    (person,) = find_people(frames, full, quick=quick)  # type: ignore[arg-type]
    assert person.frames == list(range(8))
    assert full.frames == thorough
    assert sorted(full.frames + quick.frames) == list(range(8))
