"""Constraints from options and files: what is understood, what is refused and how it is said."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from backend.constraints import (
    FIRM_RANGE,
    ConstraintSettings,
    check_constraints,
    check_for_shot,
    firm,
    fit_constraints,
    frame_ranges,
    from_text,
    limit_of,
    naming_what_hides,
    ranges_outside,
    read_pins,
    to_text,
)
from backend.errors import BadInputError, NoFaceError
from backend.fit import FitSettings
from backend.footage import Footage
from backend.head import Head
from backend.masks import hidden_again, masked_sigma
from backend.picture_file import write_picture
from backend.rig_file import read_rig
from shared.jobs import ExpressionLimit, PinnedPoint, ShotConstraints

PIN = {"frame": 12, "point": "ibug68/30", "x": 640.5, "y": 360}


def test_options_become_a_message(tmp_path: Path) -> None:
    pins = tmp_path / "pins.json"
    pins.write_text(json.dumps({"pins": [PIN]}))
    settings = ConstraintSettings(
        pins=pins, ignore_frames="10-12, 35", limit=("jawOpen=0:0.3",), neutral=4
    )
    read = settings.read()
    assert read == ShotConstraints(
        pins=[PinnedPoint(frame=12, point="ibug68/30", x=640.5, y=360.0)],
        ignore_frames=[(10, 12), (35, 35)],
        limits=[ExpressionLimit(name="jawOpen", low=0.0, high=0.3)],
        neutral=4,
    )
    assert from_text(to_text(read)) == read
    assert to_text(ShotConstraints()) == "" and from_text("") == ShotConstraints()


def test_rows_are_those_of_the_shot() -> None:
    """A range of a clip that starts at frame 10, with frame 13 missing."""
    frames = np.array([10, 11, 12, 14, 15])
    constraints = ShotConstraints(
        pins=[PinnedPoint(frame=14, point="vertex/3", x=1.0, y=2.0, camera=1)],
        ignore_frames=[(0, 10), (13, 14)],
        neutral=12,
    )
    rows = fit_constraints(constraints, frames)
    assert (rows.pins[0].frame, rows.pins[0].position, rows.pins[0].camera) == (3, (1.0, 2.0), 1)
    assert sorted(rows.ignored_frames) == [0, 3] and rows.neutral_frames == (2,)
    assert firm(FitSettings(), constraints).range_weight == FIRM_RANGE * FitSettings().range_weight
    assert firm(FitSettings(), ShotConstraints()) == FitSettings()
    for outside in (
        ShotConstraints(pins=[PinnedPoint(frame=13, point="vertex/3", x=1.0, y=2.0)]),
        ShotConstraints(neutral=9),
    ):
        with pytest.raises(BadInputError, match="10 to 15"):
            fit_constraints(outside, frames)


@pytest.mark.parametrize("text", ["", "a", "5-", "9-3", "1,,2", "-4"])
def test_frames_that_are_none(text: str) -> None:
    with pytest.raises(BadInputError, match="10-20,35"):
        frame_ranges(text)


@pytest.mark.parametrize("text", ["jawOpen", "jawOpen=1", "jawOpen=a:b"])
def test_limits_that_are_none(text: str) -> None:
    with pytest.raises(BadInputError, match=r"jawOpen=0:0\.3"):
        limit_of(text)


@pytest.mark.parametrize(
    "constraints",
    [
        ShotConstraints(limits=[ExpressionLimit(name="grin", low=0.0, high=1.0)]),
        ShotConstraints(limits=[ExpressionLimit(name="jawOpen", low=0.4, high=0.1)]),
        ShotConstraints(ignore_frames=[(5, 4)]),
    ],
)
def test_what_no_shot_can_keep_to(constraints: ShotConstraints) -> None:
    with pytest.raises(BadInputError):
        check_constraints(constraints)


@pytest.mark.parametrize(
    "content",
    [b"", b"[", b"{}", b"[1]", b'[{"frame": -1, "point": "vertex/3", "x": 1, "y": 2}]', b"\xff"],
)
def test_pins_that_are_none_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "pins.json"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"pins\.json: is not a list of pins"):
        read_pins(path)
    with pytest.raises(BadInputError, match=r"gone\.json: cannot be read"):
        read_pins(tmp_path / "gone.json")


def test_a_picture_masks_all_frames_and_a_sequence_its_own(tmp_path: Path) -> None:
    """Masks of half the footage's size; white on the left half."""
    left = np.zeros((50, 100, 3), np.uint8)
    left[:, :50] = 255
    points = np.array([[[20.0, 50.0], [99.0, 50.0], [101.0, 50.0], [-30.0, 50.0]]] * 3, np.float32)
    points[2, 0] = np.nan
    sigma, frames, size = np.ones((3, 4), np.float32), np.array([0, 1, 2]), (200, 100)
    write_picture(tmp_path / "mask.png", left)
    hidden = np.isinf(masked_sigma(points, sigma, frames, tmp_path / "mask.png", size))
    assert hidden.tolist() == [[True, True, False, False]] * 2 + [[False, True, False, False]]
    folder = tmp_path / "masks"
    folder.mkdir()
    for number in range(3):
        write_picture(folder / f"m.{number:04d}.png", left * (number == 1))
    hidden = np.isinf(masked_sigma(points, sigma, frames, folder, size))
    assert hidden.any(1).tolist() == [False, True, False]
    with pytest.raises(BadInputError, match="no picture for frame 3"):
        masked_sigma(points, sigma, frames + 2, folder, size)
    with pytest.raises(BadInputError, match="gone"):
        masked_sigma(points, sigma, frames, tmp_path / "gone.png", size)


@pytest.mark.parametrize("name", ["masks", "masks/m.####.png", "masks/m.0000.png"])
def test_a_mask_that_is_painted_anew_is_read_anew(tmp_path: Path, name: str) -> None:
    (tmp_path / "masks").mkdir()
    points, frames, size = np.full((2, 1, 2), 5.0, np.float32), np.array([0, 1]), (10, 10)
    for second, white in enumerate((0, 255, 0)):
        for number in range(2):
            path = tmp_path / "masks" / f"m.{number:04d}.png"
            write_picture(path, np.full((10, 10, 3), white, np.uint8))
            os.utime(path, (1000 + second, 1000 + second))
        hidden = hidden_again(points, frames, tmp_path / name, size)
        assert hidden.tolist() == [[white > 0]] * 2
        assert hidden_again(points, frames, tmp_path / name, size) is hidden


def test_files_of_windows_editors_are_read(tmp_path: Path) -> None:
    mark = b"\xef\xbb\xbf"
    (tmp_path / "pins.json").write_bytes(mark + json.dumps([PIN]).encode())
    assert [pin.frame for pin in read_pins(tmp_path / "pins.json")] == [12]
    cameras = [{"clip": "A.mp4", "f": 900.0}, {"clip": "B.mp4", "f": 800.0}]
    (tmp_path / "rig.json").write_bytes(mark + json.dumps({"cameras": cameras}).encode())
    known = read_rig(tmp_path / "rig.json", [Path("B.mp4")])
    assert [camera.focal_px for camera in known] == [800.0]


class Numbered(Footage):
    """Frames 3 to 6, which nobody may look at."""

    path, image_size, n_frames, warnings = Path("a.mp4"), (20, 10), 4, []

    def __iter__(self):  # type: ignore[no-untyped-def]
        raise AssertionError("nothing is to be decoded for this")

    def frame_numbers(self) -> list[int]:
        return [3, 4, 5, 6]


def test_what_the_fit_would_refuse_is_refused_before_anything_is_looked_at(tmp_path: Path) -> None:
    head, black = Head.load(), np.zeros((5, 10, 3), np.uint8)
    (tmp_path / "masks").mkdir()
    for number in range(6):
        write_picture(tmp_path / "masks" / f"m{number}.png", black)
    write_picture(tmp_path / "one.png", black)

    def pin(frame: int, point: str, camera: int = 0) -> ShotConstraints:
        return ShotConstraints(
            pins=[PinnedPoint(frame=frame, point=point, x=1.0, y=2.0, camera=camera)]
        )

    for fine in (
        ShotConstraints(),
        ShotConstraints(mask=str(tmp_path / "one.png"), neutral=3),
        pin(6, "dense320/101", 1),
        pin(3, "vertex/123"),
    ):
        check_for_shot(fine, Numbered(), head, 2)
    for wrong, says in (
        (pin(4, "ibug68/68"), "pin in frame 4: 'ibug68/68' is no point"),
        (pin(4, "vertex/999999"), "vertex/999999"),
        (pin(4, "nose"), "nose"),
        (pin(2, "ibug68/30"), "frame 2: the shot has frames 3 to 6"),
        (pin(4, "ibug68/30", 2), "camera 2: there are 2"),
        (ShotConstraints(neutral=7), "neutral frame 7"),
        (ShotConstraints(mask=str(tmp_path / "gone.png")), r"gone\.png: no such file"),
        (ShotConstraints(mask=str(tmp_path / "masks")), "masks: has no picture for frame 6. Give"),
    ):
        with pytest.raises(BadInputError, match=says):
            check_for_shot(wrong, Numbered(), head, 2)


def test_ranges_that_somebody_has_counted_otherwise_are_said() -> None:
    ignored = ShotConstraints(ignore_frames=[(2, 3), (0, 2), (6, 90), (1001, 1004)])
    said = ranges_outside(ignored, [5, 4, 3, 6])
    assert len(said) == 2 and said[0].startswith("the ignored frames 0 to 2 are none of the shot's")
    assert "1001 to 1004" in said[1] and "3 to 6" in said[1]


def test_what_hides_every_face_is_named() -> None:
    hidden = ShotConstraints(mask="/masks/all.png", ignore_frames=[(0, 9)])
    for constraints, says in (
        (hidden, r"the mask /masks/all\.png .*white.* and the ignored frames"),
        (
            ShotConstraints(ignore_frames=[(0, 9)]),
            "Nothing is left to fit: all is hidden by the ignored frames",
        ),
    ):
        with pytest.raises(BadInputError, match=says), naming_what_hides(constraints):
            raise NoFaceError("no frame has a face to fit")
    with pytest.raises(NoFaceError), naming_what_hides(ShotConstraints()):
        raise NoFaceError("no frame has a face to fit")
