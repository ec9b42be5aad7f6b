"""Characters and files take over what is in Blender's curves."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.export.live_link_csv import write
from backend.track import Track
from shared.arkit import EXPRESSION_NAMES
from shared.conventions import rotvec_to_rotmat

pytestmark = pytest.mark.blender

OFFSET, N_FRAMES = 3, 9


def test_shape_keys_of_another_spelling(blender: Any, track_file: Path) -> None:
    figures = blender.run("retarget_checks.py", "shape_keys", track=track_file, offset=OFFSET)
    assert figures["pairs"] == {
        "EyeBlink_L": "eyeBlinkLeft",
        "jaw_open": "jawOpen",
        "CTRL_expressions_mouthCornerPullL": "mouthSmileLeft",
        "brow_inner_up.L": "browInnerUp",
        "BrowInnerUp_R": "browInnerUp",
    }
    assert figures["report"].startswith("4 of 52 expressions found a shape key.")
    assert "eyeBlinkRight" in figures["report"] and "Not driven: Unrelated" in figures["report"]
    assert figures["gain"] == 2.0
    rows = {name: np.array(row) for name, row in figures["rows"].items()}
    neutral = figures["neutral"]
    for target, source, gain in (
        ("EyeBlink_L", "eyeBlinkLeft", 2.0),
        ("jaw_open", "jawOpen", 1.0),
        ("brow_inner_up.L", "browInnerUp", 1.0),
        ("BrowInnerUp_R", "browInnerUp", 1.0),
    ):
        assert neutral[source] == pytest.approx(rows[source][0], abs=1e-6)
        expected = gain * (rows[source] - neutral[source])
        assert np.abs(rows[target] - expected).max() < 1e-5
    assert rows["jawOpen"][2] == pytest.approx(0.9, abs=1e-6)
    assert not rows["CTRL_expressions_mouthCornerPullL"].any() and not rows["Unrelated"].any()
    assert figures["first"] == "Character Mien"
    assert figures["strips"] == ["Take 2"] and figures["action"] == "None"
    assert figures["kept"] == ["Character Mien", "Take 2"]
    assert np.abs(np.array(figures["again"]) - rows["jaw_open"]).max() < 1e-5
    assert "tracked head itself" in figures["refused"]


def test_bones_by_a_mapping(blender: Any, track_file: Path, tmp_path: Path) -> None:
    figures = blender.run("retarget_checks.py", "bones", track=track_file, offset=OFFSET,
                          folder=tmp_path)  # fmt: skip
    assert "none of the 52" in figures["refused"]
    assert figures["copy"]["bones"][1]["move"] == [1.0, 0.0, 0.0]
    assert figures["copy"]["joints"][1] == {"joint": "eye.L", "bone": "gaze", "pivot": "a"}
    assert len(figures["rows"]) == N_FRAMES
    for row in figures["rows"]:
        opened, left, forward = row["weights"]
        # The unit is the 0.2 between the two bones.
        place = np.array([0, 0, 1.1]) + 0.2 * (
            left * np.array([1, 0, 0]) + forward * np.array([0, -2, 0.5])
        )
        assert np.abs(np.array(row["jaw_head"]) - place).max() < 1e-5
        turned = rotvec_to_rotmat(np.array([0.5 * opened, 0, 0]))
        assert np.abs(np.array(row["jaw"]) - turned).max() < 1e-4
        assert np.abs(np.array(row["head"]) - row["source_head"]).max() < 1e-4
        w, x, y, z = row["eye"]
        angle = 2 * np.arctan2(np.linalg.norm([x, y, z]), w)
        axis = np.array([x, y, z]) / max(np.linalg.norm([x, y, z]), 1e-12)
        gaze = np.array([0.1, 0, 1.2]) + rotvec_to_rotmat(angle * axis) @ np.array([0, -0.5, 0])
        assert np.abs(np.array(row["gaze"]) - gaze).max() < 1e-4


def test_rigify_face_by_the_shipped_preset(blender: Any, track_file: Path) -> None:
    figures = blender.run("retarget_checks.py", "rigify", track=track_file, offset=OFFSET)
    if "skipped" in figures:
        pytest.skip(figures["skipped"])
    assert figures["missing"] == []
    deltas = {name: np.array(value) for name, value in figures["deltas"].items()}
    # In distances between the eyes: the lid falls, the chin falls and goes back, the corner rises.
    assert deltas["eyeBlinkLeft"][2] < -0.05
    assert deltas["jawOpen"][2] < -0.15 and deltas["jawOpen"][1] > 0.05
    assert deltas["mouthSmileLeft"][2] > 0.05 and deltas["mouthSmileLeft"][0] > 0.03


def table(text: str) -> tuple[list[str], np.ndarray, list[str]]:
    rows = list(csv.reader(io.StringIO(text)))
    return rows[0], np.array([row[1:] for row in rows[1:]], float), [row[0] for row in rows[1:]]


def test_live_link_table_is_the_backends(
    blender: Any, track_file: Path, clip: Path, tmp_path: Path
) -> None:
    write(Track.load(track_file), tmp_path / "backend.csv")
    header, values, times = table((tmp_path / "backend.csv").read_text("utf-8"))
    found = blender.run("retarget_checks.py", "csv", track=track_file, clip=clip, folder=tmp_path)
    for motion in ("head", "object", "camera"):
        own_header, own, own_times = table(found[motion])
        assert own_header == header and own_times == times
        assert len(header) == 63
        assert np.abs(own - values).max() < 2e-5
    _, edited, _ = table(found["edited"])
    column = 1 + EXPRESSION_NAMES.index("jawOpen")
    assert edited[2, column] == pytest.approx(0.875, abs=1e-6)
    changed = np.abs(edited - values) > 1e-4
    assert changed.sum() == 1


@pytest.mark.parametrize("kind", ["FBX", "GLTF", "ALEMBIC", "USD"])
def test_files_bring_the_head_back(
    blender: Any, track_file: Path, tmp_path: Path, kind: str
) -> None:
    figures = blender.run("retarget_checks.py", "exchange", track=track_file, offset=OFFSET,
                          folder=tmp_path, kind=kind)  # fmt: skip
    assert figures["moved_mm"] > 20
    assert max(figures["worst_mm"]) < 0.1
    assert figures["heads"] == 1 and figures["cameras"] == 1
    assert figures["hidden"]
    if kind in ("FBX", "GLTF"):
        assert set(EXPRESSION_NAMES) <= set(figures["keys"])


def test_a_missing_exporter_is_named(blender: Any, track_file: Path, tmp_path: Path) -> None:
    text = blender.run("retarget_checks.py", "missing_exporter", track=track_file, folder=tmp_path)
    assert "FBX" in text and "Preferences > Add-ons" in text
