"""Clips: frame numbers, times, ranges, rotation, colour, damage."""

from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from backend.footage import FootageError, open_footage
from backend.footage.colour import upright_rgb

WriteClip = Callable[..., Path]


def levels(path: Path, **range_: int) -> list[tuple[int, int]]:
    return [
        (f.index, round((float(f.image.mean()) - 20) / 5)) for f in open_footage(path, **range_)
    ]


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.avi", "clip.mov"])
def test_frames_come_in_order_with_true_times(write_clip: WriteClip, name: str) -> None:
    path = write_clip(name)
    footage = open_footage(path)
    frames = list(footage)
    assert abs(float(footage.frame_rate) - 24000 / 1001) < 0.01
    assert footage.image_size == (64, 48)
    assert footage.n_frames == len(frames) == 30
    assert levels(path) == [(i, i) for i in range(30)]
    np.testing.assert_allclose(
        [f.timestamp for f in frames], np.arange(30) * 1001 / 24000, atol=1e-3
    )
    assert footage.warnings == []


@pytest.mark.parametrize(("start", "end"), [(0, 0), (13, 20), (29, 29), (None, 3), (25, None)])
def test_any_range_equals_the_same_part_of_the_whole(
    write_clip: WriteClip, start: int | None, end: int | None
) -> None:
    path = write_clip()
    expected = [(i, i) for i in range(start or 0, 30 if end is None else end + 1)]
    assert levels(path, start=start, end=end) == expected


def test_footage_can_be_read_twice(write_clip: WriteClip) -> None:
    footage = open_footage(write_clip(n_frames=5))
    first, second = list(footage), list(footage)
    assert all((a.image == b.image).all() for a, b in zip(first, second, strict=True))


def test_frame_rate_is_an_exact_fraction(write_clip: WriteClip) -> None:
    assert open_footage(write_clip()).frame_rate == Fraction(24000, 1001)


def test_variable_frame_rate_leaves_holes_in_the_numbers(write_clip: WriteClip) -> None:
    times = [*range(12), 13, 15, 17, 19, *range(20, 34)]
    path = write_clip(n_frames=30, times=times, rate=Fraction(30))
    footage = open_footage(path)
    indices = [frame.index for frame in footage]
    rate = float(footage.frame_rate)
    np.testing.assert_allclose(np.array(indices) / rate, np.array(times) / 30, atol=0.6 / rate)
    assert indices == sorted(set(indices))
    assert any("variable frame rate" in warning for warning in footage.warnings)


def test_gif(write_clip: WriteClip) -> None:
    path = write_clip("clip.gif", n_frames=6, codec="gif", rate=Fraction(10))
    footage = open_footage(path)
    frames = list(footage)
    assert footage.frame_rate == 10
    assert [f.index for f in frames] == list(range(6))
    means = [float(f.image.mean()) for f in frames]
    assert frames[0].image.shape == (48, 64, 3) and means == sorted(means)


@pytest.mark.parametrize(("degrees", "size"), [(90, (48, 64)), (180, (64, 48)), (270, (48, 64))])
def test_rotation_flag_is_applied(tmp_path: Path, degrees: int, size: tuple[int, int]) -> None:
    path = tmp_path / "phone.mp4"
    rgb = np.zeros((48, 64, 3), np.uint8)
    rgb[:24, :32] = 255  # the stored top left corner is white
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(2):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode())
    # The 3x3 matrix of the track header, as a phone writes it: the picture turns clockwise.
    cos, sin = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    matrix = struct.pack(">9i", *(v << 16 for v in (cos, sin, 0, -sin, cos, 0, 0, 0)), 1 << 30)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    data[at : at + 36] = matrix
    path.write_bytes(data)
    footage = open_footage(path)
    image = next(iter(footage)).image
    assert footage.image_size == (image.shape[1], image.shape[0]) == size
    expected = np.rot90(rgb, -degrees // 90)
    assert np.abs(image.astype(int) - expected).mean() < 5


@pytest.mark.parametrize(("height", "expected"), [(1080, (250, 90, 40)), (480, (235, 76, 44))])
def test_untagged_hd_is_bt709_and_untagged_sd_bt601(
    height: int, expected: tuple[int, int, int]
) -> None:
    frame = av.VideoFrame(height * 4 // 3, height, "yuv420p")
    for plane, value in zip(frame.planes, (120, 90, 200), strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    # ITU-R BT.709 and BT.601 by hand: limited range Y 120, Cb 90, Cr 200.
    np.testing.assert_allclose(upright_rgb(frame)[10, 10], expected, atol=2)


def test_truncated_clip_is_warned_about(write_clip: WriteClip) -> None:
    path = write_clip(n_frames=40, size=(320, 240), options={"movflags": "faststart"})
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    footage = open_footage(path)
    assert 0 < len(list(footage)) < 40
    assert any("cut off" in warning for warning in footage.warnings)


def test_damaged_frames_are_flagged(write_clip: WriteClip) -> None:
    path = write_clip("clip.mkv", n_frames=40, size=(320, 240))
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(3)
    for at in rng.integers(len(data) // 3, len(data) * 2 // 3, 60):
        data[at] ^= 0xFF
    path.write_bytes(data)
    footage = open_footage(path)
    frames = list(footage)
    assert frames
    assert any(f.corrupt for f in frames) or any("damaged" in w for w in footage.warnings)
    assert footage.warnings


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("gone.mp4", None, "no such file"),
        ("empty.mp4", b"", "empty"),
        ("text.mp4", b"not a video at all" * 50, "damaged, incomplete or not a video"),
        ("list.mp4", b"ffconcat version 1.0\nfile 'clip.mp4'\n", "cannot be decoded|damaged"),
        ("list.m3u8", b"#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:1,\nclip.mp4\n", "decoded|damaged"),
    ],
)
def test_unusable_files_are_named(
    tmp_path: Path, write_clip: WriteClip, name: str, content: bytes | None, says: str
) -> None:
    write_clip("clip.mp4", n_frames=3)
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FootageError, match=says) as caught:
        open_footage(path)
    assert name in str(caught.value)
    assert caught.value.exit_code == 2


def test_damaged_metadata_does_not_matter(write_clip: WriteClip) -> None:
    path = write_clip(n_frames=3)
    data = path.read_bytes()
    assert b"Lavf" in data
    path.write_bytes(data.replace(b"Lavf", b"\xff\xfeav"))
    assert len(list(open_footage(path))) == 3


def test_clip_without_its_index_is_an_error(write_clip: WriteClip) -> None:
    path = write_clip(n_frames=40, size=(320, 240))
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(FootageError, match=r"clip\.mp4"):
        list(open_footage(path))


def test_max_pixels_refuses_a_large_clip(write_clip: WriteClip) -> None:
    path = write_clip(n_frames=3)
    with pytest.raises(FootageError, match="pixels"):
        open_footage(path, max_pixels=64 * 48 - 1)
    assert len(list(open_footage(path, max_pixels=64 * 48 + 16 * 64))) == 3


def test_range_outside_the_clip_is_an_error(write_clip: WriteClip) -> None:
    path = write_clip(n_frames=5)
    with pytest.raises(FootageError, match="0 to 4"):
        open_footage(path, start=5, end=9)
    with pytest.raises(FootageError, match="before it starts"):
        open_footage(path, start=3, end=2)
