"""What the extension builds from a track, judged by Blender's own evaluation and projection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from shared.arkit import EXPRESSION_NAMES

pytestmark = pytest.mark.blender

FIRST_INDEX, N_FRAMES, FOCAL_PX = 2, 9, 410.0
OFFSET = FIRST_INDEX + 1
"""Scene frame of the first tracked frame: a clip's frame 0 is the scene's frame 1."""


def assert_aligned(figures: dict[str, Any]) -> None:
    assert figures["vertices_mm"] < 0.01
    assert figures["landmarks_px"] < 0.05
    assert figures["weights"] < 1e-6
    assert figures["visible"] == 0.0
    assert figures["seen"] < 1e-6


@pytest.fixture(scope="module")
def imported(blender: Any, track_file: Path, clip: Path) -> Any:
    return blender.run("scene_checks.py", "import_track", track=track_file, clip=clip,
                       offset=OFFSET)  # fmt: skip


def test_mesh_lands_where_the_backend_put_it(imported: Any) -> None:
    assert_aligned(imported)


def test_one_collection_with_named_keys(imported: Any) -> None:
    assert imported["objects"] == ["Mien", "Mien Camera", "Mien Head", "Mien Rig"]
    assert imported["data_blocks"]["collections"] == 1
    assert imported["keys"] == ["Basis", *EXPRESSION_NAMES]
    assert imported["rig_bones"] == ["neck", "head", "eye.L", "eye.R"]


def test_camera_and_clip_have_the_focal_length(imported: Any) -> None:
    assert imported["lens_px"] == pytest.approx(FOCAL_PX, rel=1e-6)
    assert imported["clip_lens_px"] == [pytest.approx(FOCAL_PX, rel=1e-6)]
    assert imported["is_scene_camera"]


def test_clip_is_the_background(imported: Any) -> None:
    assert imported["backgrounds"] == ["clip.mp4"]
    assert imported["shows_background"]
    assert imported["view_transform"] == "Standard"


def test_scene_takes_rate_and_range_of_the_clip(imported: Any) -> None:
    assert imported["rate"] == pytest.approx(30000 / 1001, rel=1e-6)
    assert imported["frames"] == [1, FIRST_INDEX + N_FRAMES + 1]
    assert imported["resolution"] == [320, 180]


def test_survives_saving_and_loading(blender: Any, track_file: Path, tmp_path: Path) -> None:
    figures = blender.run("scene_checks.py", "import_without_clip", track=track_file,
                          offset=OFFSET, blend=tmp_path / "shot.blend")  # fmt: skip
    assert_aligned(figures)
    assert figures["frames"] == [OFFSET, OFFSET + N_FRAMES - 1]


def test_material_shows_the_texture(blender: Any, track_file: Path) -> None:
    figures = blender.run("scene_checks.py", "texture", track=track_file)
    assert figures["difference"] == 0.0
    assert figures["packed"]
    assert figures["feeds"] == ["BSDF_PRINCIPLED", "EMISSION"]
    assert figures["colour_space"] == "sRGB"


def test_running_again_updates(
    blender: Any, track_file: Path, other_track_file: Path, clip: Path
) -> None:
    figures = blender.run("scene_checks.py", "rerun", first=track_file, second=other_track_file,
                          clip=clip, offset=OFFSET)  # fmt: skip
    before, after = figures["before"], figures["after"]
    assert after["data_blocks"] == before["data_blocks"]
    assert after["keys"] == before["keys"]
    assert after["backgrounds"] == before["backgrounds"]
    assert after["objects"] == ["Mien", "Mien Camera", "Mien Rig", "Renamed By Hand"]
    assert after["modifiers"] == [*before["modifiers"], "SMOOTH"]
    assert figures["colour"] == [1.0, 0.0, 0.0, 1.0]
    assert_aligned(figures["alignment"])


def test_running_again_while_sculpting(
    blender: Any, track_file: Path, other_track_file: Path
) -> None:
    figures = blender.run("scene_checks.py", "rerun_in_sculpt_mode", first=track_file,
                          second=other_track_file)  # fmt: skip
    assert figures["mode"] == "SCULPT"
    assert figures["active"] == "Mien Head"
    assert figures["selected"] == ["Mien Head"]
    assert figures["rig_hidden"]
    assert_aligned(figures["alignment"])


def test_running_again_over_a_hidden_and_damaged_result(
    blender: Any, track_file: Path, other_track_file: Path
) -> None:
    figures = blender.run("scene_checks.py", "rerun_hidden", first=track_file,
                          second=other_track_file)  # fmt: skip
    assert figures["left"] == [True, True]
    assert figures["modifiers"] == ["ARMATURE", "NODES"]
    assert_aligned(figures["alignment"])


def test_results_for_a_scene_that_is_not_shown(
    blender: Any, track_file: Path, other_track_file: Path
) -> None:
    figures = blender.run("scene_checks.py", "rerun_in_other_scene", first=track_file,
                          second=other_track_file)  # fmt: skip
    assert figures["still"] and figures["objects"] == 0
    assert_aligned(figures["alignment"])


def test_upright_clip_off_its_centre(blender: Any, portrait_track_file: Path) -> None:
    figures = blender.run("scene_checks.py", "import_portrait", track=portrait_track_file)
    assert figures["resolution"] == [180, 320]
    assert figures["lens_px"] == pytest.approx(FOCAL_PX, rel=1e-6)
    assert_aligned(figures)


def test_undo_and_redo(blender: Any, track_file: Path, other_track_file: Path) -> None:
    states = blender.run("scene_checks.py", "undo", first=track_file, second=other_track_file)
    first, second = [4, N_FRAMES], [4, N_FRAMES + 4]
    assert states["states"] == [[0, 0], first, second, first, [0, 0], first]


def test_modes_change_beside_threads(blender: Any, track_file: Path) -> None:
    told = blender.run("scene_checks.py", "beside_threads", track=track_file)
    # Blender ends with a segmentation fault where an operator runs under an override meanwhile.
    assert told == {"changes": 400, "left": [], "made": 3}


def test_damaged_files_are_refused_with_their_name(
    blender: Any, track_file: Path, tmp_path: Path
) -> None:
    told = blender.run("scene_checks.py", "damaged", track=track_file, folder=tmp_path)
    for name, text in zip(("short", "text", "empty", "missing"), told, strict=True):
        assert f"{name}.npz" in text


def test_shader_sees_visibility_sequence_group_and_light(
    blender: Any, track_file: Path, tmp_path: Path
) -> None:
    with np.load(track_file) as file:
        arrays = dict(file)
    # All hidden in the first frame, all seen in the second.
    visibility = np.zeros_like(arrays["visibility"])
    visibility[1] = 1
    visibility[:, ::2] |= np.arange(len(visibility), dtype=np.uint8)[:, None] % 2
    arrays["visibility"], arrays["soft_visibility"] = visibility, visibility * np.uint8(255)
    arrays["albedo"] = np.full((64, 64, 3), 120, np.uint8)
    arrays["lighting"] = np.zeros((9, 3), np.float32)
    arrays["lighting"][0] = 1 / 0.282095
    path = tmp_path / "shot.npz"
    np.savez(path, **arrays)
    for number, color in ((OFFSET, (0, 0, 255)), (OFFSET + 1, (0, 255, 0))):
        picture = np.full((64, 64, 3), color, np.uint8)
        assert cv2.imwrite(str(tmp_path / f"texture.{number:04d}.png"), picture)
    figures = blender.run("scene_checks.py", "shading", track=path, folder=tmp_path)
    hidden, seen = figures["visible"]
    assert hidden < 0.01 and seen > 0.05
    # OpenCV writes blue, green, red.
    assert np.argmax(figures["sequence"][0]) == 0 and np.argmax(figures["sequence"][1]) == 1
    for held, expected in figures["groups"]:
        assert held == expected
    assert figures["groups"][0] != figures["groups"][1]
    assert figures["world"] == "Mien Light" and figures["light"]
    assert figures["uses_albedo"] == 1.0
