"""What can be chosen after the track: motion, smoothing, exact shape, landmarks, confidence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.blender

OFFSET, N_FRAMES, LOST = 3, 9, 3


def test_bones_object_or_camera_move_with_the_same_picture(blender: Any, track_file: Path) -> None:
    figures = blender.run("result_checks.py", "motions", track=track_file, offset=OFFSET)
    for motion in ("OBJECT", "CAMERA", "HEAD"):
        assert figures[motion]["landmarks_px"] < 0.05
    assert figures["OBJECT"]["rig"] > 0.05 and figures["OBJECT"]["camera"] == 0.0
    assert figures["CAMERA"]["camera"] > 0.05 and figures["CAMERA"]["rig"] == 0.0
    # Rotations are keyed in single precision.
    assert figures["CAMERA"]["skull"] < 5e-5
    assert figures["HEAD"]["rig"] == figures["HEAD"]["camera"] == 0.0
    assert figures["HEAD"]["skull"] > 0.05
    assert figures["as_before"]


def test_smoothing_goes_back_to_the_solve_and_keeps_edits(
    blender: Any, track_file: Path, tmp_path: Path
) -> None:
    figures = blender.run("result_checks.py", "smoothing", track=track_file, offset=OFFSET,
                          blend=tmp_path / "shot.blend")  # fmt: skip
    assert figures["exact"]
    # 52 keys, 16 components of bones, 3 of a place; what is zero throughout stays so.
    assert figures["changed"] >= 52 + 7
    assert figures["bend"][1] < 0.9 * figures["bend"][0]
    raw, smooth, edited, again = (np.array(row) for row in figures["jaw"])
    kept = np.delete(np.arange(N_FRAMES), 6)
    others = np.delete(np.arange(N_FRAMES - 1), 4)
    assert len(edited) == len(again) == N_FRAMES - 1
    assert np.array_equal(again[others], raw[kept][others])
    assert again[4] == pytest.approx(0.95, abs=1e-6)
    assert np.allclose(edited[others], smooth[kept][others], atol=1e-6)
    assert edited[4] - 0.95 == pytest.approx(smooth[4] - raw[4], abs=1e-5)
    assert figures["others"]


def test_a_scene_in_pieces_is_the_same_and_survives_a_loss(blender: Any, track_file: Path) -> None:
    figures = blender.run("result_checks.py", "pieces", track=track_file, offset=OFFSET)
    assert figures["steps"] > 12
    for name in ("alignment", "mended"):
        assert figures[name]["vertices_mm"] < 0.01 and figures[name]["landmarks_px"] < 0.05
        assert figures[name]["weights"] < 1e-6 and figures[name]["visible"] == 0.0
    assert figures["gone"] == "head"


def test_one_undo_for_each_choice(blender: Any, track_file: Path) -> None:
    figures = blender.run("result_checks.py", "undo", track=track_file)
    assert len({str(state) for state in figures["forward"]}) == 5
    assert figures["backward"] == figures["forward"]


def test_the_clips_camera_has_the_lens(
    blender: Any, track_file: Path, clip: Path, tmp_path: Path
) -> None:
    with np.load(track_file) as file:
        arrays = dict(file)
    arrays["distortion"] = np.array([-0.1, 0.02, 0.003])
    arrays["K"][:, 0, 2] += 12.0
    np.savez(tmp_path / "bent.npz", **arrays)
    figures = blender.run("result_checks.py", "lens", track=tmp_path / "bent.npz", clip=clip)
    assert figures["model"] == "POLYNOMIAL"
    assert figures["k"] == pytest.approx([-0.1, 0.02, 0.003])
    assert figures["straight"]
    assert figures["centre"] == pytest.approx([160 + 12, 90], abs=1e-3)


def test_exact_shape_as_keys_or_cache(
    blender: Any, track_file: Path, other_track_file: Path, tmp_path: Path
) -> None:
    figures = blender.run("result_checks.py", "shapes", track=track_file, other=other_track_file,
                          offset=OFFSET, folder=tmp_path)  # fmt: skip
    for to in ("ABSOLUTE", "CACHE", "KEYS"):
        assert figures[to] < 0.01
        assert figures[f"{to} is"] == to
    assert figures["ABSOLUTE meshes"] == 2 and figures["CACHE meshes"] == 1
    assert "Save the .blend file first" in figures["refused"]
    assert figures["again"]["vertices_mm"] < 0.01
    assert figures["meshes"] == 1


def test_empties_follow_landmarks(blender: Any, track_file: Path) -> None:
    figures = blender.run("result_checks.py", "landmarks", track=track_file, offset=OFFSET)
    # The point is fixed in its triangle's frame; all 52 expressions at once stretch that.
    assert figures["worst_mm"] < 1.0
    assert figures["count"] == 19 + 1
    assert figures["left"] == ["Mien", "Mien chin"]


def test_strip_shows_the_lost_frame(blender: Any, track_file: Path) -> None:
    figures = blender.run("result_checks.py", "confidence", track=track_file)
    assert [run[:2] for run in figures["runs"]] == [
        [OFFSET - 0.5, OFFSET + LOST - 0.5],
        [OFFSET + LOST - 0.5, OFFSET + LOST + 0.5],
        [OFFSET + LOST + 0.5, OFFSET + N_FRAMES - 0.5],
    ]
    assert figures["places"][0] == [10.0 + 2.0 * (OFFSET - 0.5), 0.0]
    assert figures["colours"] == len(figures["places"]) == 18
    assert figures["frame"] == OFFSET + LOST
    assert figures["cached"]
