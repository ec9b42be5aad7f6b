"""A frame of the backend is the frame that Blender shows, whatever the clip counts on."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from backend.footage import open_footage

pytestmark = pytest.mark.blender

SIZE = (32, 24)
N_FRAMES = 12
RATES = ("24000/1001", "24", "25", "30000/1001", "30", "50", "60000/1001", "60")
UNEVEN = [0, 1, 2, 4, 5, 8, 9, 10, 13, 14, 15, 16]
"""Times of a clip of variable frame rate, in frames of its rate."""


def level(number: int) -> int:
    """Brightness that marks a frame."""
    return 24 + 14 * number


def picture(number: int) -> np.ndarray:
    """A frame: its level, a little darker on the right."""
    rows = np.full((SIZE[1], SIZE[0], 3), level(number), np.uint8)
    rows[:, SIZE[0] // 2 :] -= 20
    return rows


def write_clip(
    path: Path,
    rate: Fraction,
    times: list[int] | None = None,
    codec: str = "libx264",
    turn: int = 0,
) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        if codec == "libx264":
            # Frames that are stored in another order than they are shown.
            stream.options = {"g": "6", "bf": "2", "crf": "1"}
        for number in range(N_FRAMES):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            frame.pts = number if times is None else times[number]
            frame.time_base = 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    if turn:
        # The matrix of the track header: a quarter turn, as phones write it.
        data = path.read_bytes()
        one, zero, last = b"\0\1\0\0", bytes(4), b"\x40\0\0\0"
        plain = one + zero * 3 + one + zero * 3 + last
        turned = zero + one + zero + b"\xff\xff\0\0" + zero * 4 + last
        at = data.index(plain, data.index(b"tkhd"))
        path.write_bytes(data[:at] + turned + data[at + len(plain) :])
    return path


def backend_levels(source: str) -> dict[int, float]:
    """The left half's brightness of every frame of the backend, by index."""
    return {
        frame.index: float(frame.image[:, : frame.image.shape[1] // 2].mean())
        for frame in open_footage(source)
    }


def case(file: Path, frames: range, start: int = 1, offset: int = 0) -> dict[str, Any]:
    return {"file": str(file), "start": start, "offset": offset, "frames": list(frames)}


def assert_same_frames(answer: dict[str, Any], at_least: int) -> None:
    """Wherever the backend has a frame, Blender shows that one there."""
    levels, compared = backend_levels(answer["source"]), 0
    for index, expected in levels.items():
        shown = answer["shown"].get(str(index + answer["index_to_frame"]))
        if shown is not None:
            assert abs(shown[0] - expected) < 6, (index, shown[0], expected)
            compared += 1
    assert compared >= at_least


def test_every_rate_lands_on_its_frames(blender: Any, tmp_path: Path) -> None:
    cases = [
        case(write_clip(tmp_path / f"{number}.mp4", Fraction(rate)), range(1, N_FRAMES + 1))
        for number, rate in enumerate(RATES)
    ]
    answers = blender.run("frame_checks.py", "shown", cases=cases, folder=tmp_path)
    for rate, answer in zip(RATES, answers, strict=True):
        assert Fraction(*answer["rate"]) == Fraction(rate)
        assert answer["duration"] == N_FRAMES
        assert_same_frames(answer, N_FRAMES)


def test_any_start_frame(blender: Any, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", Fraction(25))
    cases = [
        case(clip, range(101, 113), start=101),
        case(clip, range(1, 9), offset=4),
        case(clip, range(1, 13), offset=-3),
        case(clip, range(-20, -8), start=-20, offset=2),
    ]
    answers = blender.run("frame_checks.py", "shown", cases=cases, folder=tmp_path)
    for answer, at_least in zip(answers, (12, 8, 9, 10), strict=True):
        assert_same_frames(answer, at_least)


def test_image_sequences(blender: Any, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(N_FRAMES):
        Image.fromarray(picture(number)).save(folder / f"shot_v2.{number + 995:04d}.png")
    first, middle = folder / "shot_v2.0995.png", folder / "shot_v2.0999.png"
    cases = [
        case(first, range(1, 13)),
        case(middle, range(1, 9)),
        case(middle, range(995, 1007), start=995, offset=1),
        case(first, range(50, 62), start=50, offset=-2),
    ]
    answers = blender.run("frame_checks.py", "shown", cases=cases, folder=tmp_path)
    for answer, at_least in zip(answers, (12, 8, 7, 10), strict=True):
        assert answer["source"] == str(folder / "shot_v2.####.png") and answer["rate"] is None
        assert_same_frames(answer, at_least)


def test_other_containers_and_uneven_times(blender: Any, tmp_path: Path) -> None:
    late = [number + 40 for number in range(N_FRAMES)]
    files = [
        write_clip(tmp_path / "late.mkv", Fraction(25), late),
        write_clip(tmp_path / "late.mov", Fraction(24), late),
        write_clip(tmp_path / "stream.ts", Fraction(25)),
        write_clip(tmp_path / "old.avi", Fraction(25), codec="mpeg4"),
        write_clip(tmp_path / "uneven.mp4", Fraction(25), UNEVEN),
        write_clip(tmp_path / "uneven.mkv", Fraction(30), UNEVEN),
    ]
    cases = [case(file, range(1, 18)) for file in files]
    answers = blender.run("frame_checks.py", "shown", cases=cases, folder=tmp_path)
    for file, answer in zip(files, answers, strict=True):
        print(file.name, answer, backend_levels(answer["source"]))
    for answer in answers:
        assert_same_frames(answer, N_FRAMES)


def test_a_rotated_phone_clip(blender: Any, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "phone.mov", Fraction(30), turn=90)
    (answer,) = blender.run(
        "frame_checks.py", "shown", cases=[case(clip, range(1, 13))], folder=tmp_path
    )
    footage = open_footage(clip)
    assert footage.image_size == (SIZE[1], SIZE[0])
    upright = tuple(answer["size"]) == footage.image_size
    for frame in footage:
        left, upper = answer["shown"][str(frame.index + 1)]
        if upright:
            half = frame.image.shape[0] // 2
            assert abs(upper - float(frame.image[:half].mean())) < 6
        else:
            # Blender 4.2 does not turn it: the left half is the same frame's all the same.
            assert abs(left - level(frame.index)) < 6
