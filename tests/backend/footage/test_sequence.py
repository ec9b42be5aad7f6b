"""Image sequences and single pictures: order, holes, patterns, orientation."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend.footage import FootageError, open_footage


def write_pictures(folder: Path, numbers: list[int], name: str = "shot.{:04d}.png") -> None:
    folder.mkdir(exist_ok=True)
    for number in numbers:
        Image.new("RGB", (32, 24), (number % 256, 7, 9)).save(folder / name.format(number))


@pytest.mark.parametrize("pattern", ["", "shot.####.png", "shot.%04d.png"])
def test_folder_and_patterns(tmp_path: Path, pattern: str) -> None:
    write_pictures(tmp_path / "seq", [8, 9, 10, 11])
    footage = open_footage(tmp_path / "seq" / pattern, frame_rate=Fraction(25))
    frames = list(footage)
    assert footage.image_size == (32, 24) and footage.n_frames == 4
    assert [(f.index, int(f.image[0, 0, 0])) for f in frames] == [(0, 8), (1, 9), (2, 10), (3, 11)]
    assert [f.timestamp for f in frames] == [0, 0.04, 0.08, 0.12]
    assert footage.warnings == []


def test_unpadded_numbers_are_ordered_as_numbers(tmp_path: Path) -> None:
    write_pictures(tmp_path / "seq", [9, 10, 11], "f{}.png")
    assert [int(f.image[0, 0, 0]) for f in open_footage(tmp_path / "seq")] == [9, 10, 11]


def test_holes_are_named_and_keep_their_place(tmp_path: Path) -> None:
    write_pictures(tmp_path / "seq", [101, 102, 105])
    footage = open_footage(tmp_path / "seq")
    assert [f.index for f in footage] == [0, 1, 4]
    assert any("103, 104" in warning for warning in footage.warnings)


def test_range_of_a_sequence(tmp_path: Path) -> None:
    write_pictures(tmp_path / "seq", list(range(1001, 1011)))
    frames = list(open_footage(tmp_path / "seq", start=3, end=5))
    assert [f.index for f in frames] == [3, 4, 5]
    assert [int(f.image[0, 0, 0]) for f in frames] == [n % 256 for n in (1004, 1005, 1006)]


def test_several_sequences_in_a_folder_are_an_error(tmp_path: Path) -> None:
    write_pictures(tmp_path / "seq", [1, 2])
    write_pictures(tmp_path / "seq", [1, 2], "matte_{:03d}.png")
    with pytest.raises(FootageError, match="several sequences"):
        open_footage(tmp_path / "seq")
    assert open_footage(tmp_path / "seq" / "matte_###.png").n_frames == 2


def test_a_numbered_picture_alone_is_one_frame(tmp_path: Path) -> None:
    write_pictures(tmp_path / "seq", [1, 2, 3])
    assert [f.index for f in open_footage(tmp_path / "seq" / "shot.0002.png")] == [0]


def test_sizes_that_change_are_an_error(tmp_path: Path) -> None:
    write_pictures(tmp_path / "seq", [1, 2])
    Image.new("RGB", (30, 24)).save(tmp_path / "seq" / "shot.0003.png")
    with pytest.raises(FootageError, match=r"shot\.0003\.png"):
        list(open_footage(tmp_path / "seq"))


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tiff", "webp"])
def test_picture_formats_match_pillow(tmp_path: Path, suffix: str) -> None:
    ramp = np.zeros((24, 32, 3), np.uint8)
    ramp[..., 0] = np.arange(32) * 7
    ramp[..., 1] = np.arange(24)[:, None] * 9
    path = tmp_path / f"picture.{suffix}"
    Image.fromarray(ramp).save(path, **({"quality": 95} if suffix in ("jpg", "webp") else {}))
    image = next(iter(open_footage(path))).image
    expected = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert np.abs(image - expected).mean() < 2.5


@pytest.mark.parametrize(("orientation", "turns"), [(3, 2), (6, -1), (8, 1)])
def test_a_phone_photograph_is_turned_upright(tmp_path: Path, orientation: int, turns: int) -> None:
    stored = np.zeros((24, 32, 3), np.uint8)
    stored[:12, :16] = 255
    exif = Image.Exif()
    exif[0x112] = orientation
    path = tmp_path / "phone.jpg"
    Image.fromarray(stored).save(path, exif=exif, quality=95)
    image = next(iter(open_footage(path))).image
    assert np.abs(image.astype(int) - np.rot90(stored, turns)).mean() < 5


def test_a_picture_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    Image.new("RGB", (4000, 4000)).save(path)
    with pytest.raises(FootageError, match=r"bomb\.png.*pixels"):
        open_footage(path, max_pixels=1_000_000)


def test_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FootageError, match="no pictures"):
        open_footage(tmp_path)
