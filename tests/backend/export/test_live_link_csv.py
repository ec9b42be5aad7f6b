"""The Live Link Face table: header, times, angles, and a row for every frame."""

from __future__ import annotations

import csv
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from backend.errors import BadInputError
from backend.export import export_track
from backend.export.live_link_csv import timecode, yaw_pitch_roll
from backend.track import Track
from shared.arkit import EXPRESSION_NAMES
from shared.conventions import rotvec_to_rotmat


def read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_columns_and_values(moving_track: Track, tmp_path: Path) -> None:
    assert export_track(moving_track, tmp_path / "a.csv") == [tmp_path / "a.csv"]
    header = (tmp_path / "a.csv").read_text().splitlines()[0].split(",")
    assert header[:4] == ["Timecode", "BlendShapeCount", "EyeBlinkLeft", "EyeLookDownLeft"]
    assert header[53:57] == ["TongueOut", "HeadYaw", "HeadPitch", "HeadRoll"]
    assert header[-1] == "RightEyeRoll" and len(header) == 2 + 61 == len(set(header))
    rows = read(tmp_path / "a.csv")
    assert [row["Timecode"] for row in rows] == [f"00:00:00:{n:02d}.000" for n in range(3, 7)]
    assert {row["BlendShapeCount"] for row in rows} == {"61"}
    for name in EXPRESSION_NAMES:
        column = [float(row[name[0].upper() + name[1:]]) for row in rows]
        index = moving_track.expression_names.index(name)
        np.testing.assert_allclose(column, moving_track.expression[:, index], atol=1e-6)


def test_a_frame_without_a_face_keeps_its_row(moving_track: Track, tmp_path: Path) -> None:
    assert not moving_track.found.all()
    export_track(moving_track, tmp_path / "a.csv")
    assert len(read(tmp_path / "a.csv")) == moving_track.n_frames


def test_weights_stay_between_0_and_1(moving_track: Track, tmp_path: Path) -> None:
    wild = np.where(moving_track.expression > 0.4, 1.3, -0.1).astype(np.float32)
    export_track(replace(moving_track, expression=wild), tmp_path / "a.csv")
    assert {row["JawOpen"] for row in read(tmp_path / "a.csv")} <= {"0.00000000", "1.00000000"}


def head_angles(track: Track, rotvec_cv: tuple[float, float, float], path: Path) -> list[float]:
    """Yaw, pitch, roll in the file of a head that turned by a vector in the camera frame."""
    pose = track.head_pose.copy()
    pose[:, :3, :3] = rotvec_to_rotmat(np.array(rotvec_cv))
    export_track(replace(track, head_pose=pose), path)
    return [float(read(path)[0][name]) for name in ("HeadYaw", "HeadPitch", "HeadRoll")]


@pytest.mark.parametrize(
    ("towards", "angles"),
    [
        # Where a turn in the camera frame (x right, y down) brings the nose (-z) or the left ear.
        ((0.0, -0.3, 0.0), (0.3, 0.0, 0.0)),
        ((0.2, 0.0, 0.0), (0.0, 0.2, 0.0)),
        ((0.0, 0.0, -0.1), (0.0, 0.0, 0.1)),
    ],
    ids=["nose to the subject's left", "nose down", "left ear up"],
)
def test_signs_of_the_head_angles(
    moving_track: Track,
    tmp_path: Path,
    towards: tuple[float, float, float],
    angles: tuple[float, float, float],
) -> None:
    rotmat = rotvec_to_rotmat(np.array(towards))
    nose, left_ear = rotmat @ [0, 0, -1.0], rotmat @ [1.0, 0, 0]
    # The subject looks at the camera: his left is at the right of the picture.
    assert nose[0] > 0 if angles[0] else nose[1] > 0 if angles[1] else left_ear[1] < 0
    found = head_angles(moving_track, towards, tmp_path / "a.csv")
    np.testing.assert_allclose(found, angles, atol=1e-6)


def test_eyes_have_angles_of_their_own(moving_track: Track, tmp_path: Path) -> None:
    eyes = np.zeros_like(moving_track.eye_rotation)
    eyes[:, 0, 1], eyes[:, 1, 0] = -0.25, 0.15
    export_track(replace(moving_track, eye_rotation=eyes), tmp_path / "a.csv")
    row = read(tmp_path / "a.csv")[0]
    assert float(row["LeftEyeYaw"]) == pytest.approx(0.25, abs=1e-6)
    assert float(row["RightEyePitch"]) == pytest.approx(0.15, abs=1e-6)
    assert float(row["LeftEyePitch"]) == float(row["RightEyeYaw"]) == 0.0


def test_angles_give_the_rotation_back() -> None:
    rng = np.random.default_rng(0)
    rotmat = rotvec_to_rotmat(rng.normal(0.0, 0.6, (50, 3)))
    yaw, pitch, roll = np.moveaxis(yaw_pitch_roll(rotmat), -1, 0)
    axes = np.eye(3)
    again = (
        rotvec_to_rotmat(yaw[:, None] * axes[1])
        @ rotvec_to_rotmat(pitch[:, None] * axes[0])
        @ rotvec_to_rotmat(roll[:, None] * axes[2])
    )
    np.testing.assert_allclose(again, rotmat, atol=1e-12)


@pytest.mark.parametrize("rate", [Fraction(24), Fraction(30000, 1001), Fraction(60)])
@pytest.mark.parametrize("frame", [0, 1, 29, 30, 1798, 107892, 2589408])
def test_timecodes_are_true_times(rate: Fraction, frame: int) -> None:
    hours, minutes, seconds, frames = timecode(frame, rate).split(":")
    assert float(frames) < rate and int(seconds) < 60 and int(minutes) < 60
    time = int(hours) * 3600 + int(minutes) * 60 + int(seconds) + Fraction(frames) / rate
    assert 0 <= Fraction(frame) / rate - time < Fraction(1, 1000) / rate


def test_other_expressions_are_refused(moving_track: Track, tmp_path: Path) -> None:
    names = tuple("smile" if n == "jawOpen" else n for n in moving_track.expression_names)
    with pytest.raises(BadInputError, match="lacks jawOpen"):
        export_track(replace(moving_track, expression_names=names), tmp_path / "a.csv")
    assert list(tmp_path.iterdir()) == []
