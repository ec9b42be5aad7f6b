"""A rig in Blender: cameras with their clips, and what the panel's list asks for."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from backend.track import Track
from shared.conventions import intrinsics

pytestmark = pytest.mark.blender

TURN = Rotation.from_euler("yx", [35, -10], degrees=True).as_matrix()
MOVE = np.array([-0.3, 0.05, 0.1])
SIZE, FOCAL_PX, CENTRE = (640, 400), 700.0, (330.0, 190.0)


@pytest.fixture(scope="module")
def other_clip(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("other") / "B.mp4"
    shutil.copy(clip, path)
    return path


@pytest.fixture(scope="module")
def rig_track(
    track_file: Path, clip: Path, other_clip: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The track with a second camera."""
    folder = tmp_path_factory.mktemp("rig")
    track = Track.load(track_file)
    frames, count = track.n_frames, 320
    K = intrinsics(FOCAL_PX, SIZE, CENTRE)
    replace(
        track,
        rig_clips=(str(clip), str(other_clip)),
        rig_rotation=np.stack([np.eye(3), TURN]),
        rig_translation=np.stack([np.zeros(3), MOVE]),
        rig_K=np.stack([track.K[0], K]),
        rig_image_size=np.array([track.image_size, SIZE], np.int64),
        rig_offset=np.array([0.0, 3.2]),
        rig_given=np.zeros(2, np.uint8),
        rig_landmarks_2d=np.zeros((2, frames, count, 2), np.float32),
        rig_landmark_sigma=np.ones((2, frames, count), np.float32),
    ).save(folder / "rig.npz")
    np.save(folder / "points.npy", track.vertices[0, ::500])
    return folder / "rig.npz"


def test_every_camera_has_its_place_and_its_clip(
    blender: Any, rig_track: Path, track_file: Path, clip: Path
) -> None:
    found = blender.run(
        "rig_checks.py", "import_rig", track=rig_track, clip=clip, single=track_file
    )
    points = np.load(rig_track.with_name("points.npy"))
    local = points @ TURN.T + MOVE
    expected = FOCAL_PX * local[:, :2] / local[:, 2:] + CENTRE
    np.testing.assert_allclose(found["pixels"], expected, atol=0.02)
    names = ["Mien", "Mien Camera", "Mien Camera 2", "Mien Head", "Mien Rig"]
    assert found["names"] == found["again"] == names
    assert found["single"] == [name for name in names if name != "Mien Camera 2"]
    assert (found["background"], found["first_background"]) == ("B.mp4", "clip.mp4")
    # Its frames are 3.2 ahead: it starts 3 frames earlier in the scene.
    assert found["frame_start"] == 1 - 3
    assert found["parent"] == "Mien"


def test_the_list_of_clips_becomes_a_job(
    blender: Any, clip: Path, other_clip: Path, tmp_path: Path
) -> None:
    rig = tmp_path / "rig.json"
    eye = np.eye(3).tolist()
    rig.write_text(
        json.dumps(
            {
                "cameras": [
                    {"clip": "clip.mp4", "R": eye, "T": [0, 0, 0], "f": 410.0},
                    {"clip": "B.mp4", "R": TURN.tolist(), "T": MOVE.tolist(), "f": 700.0},
                ]
            }
        )
    )
    found = blender.run(
        "rig_checks.py", "job", clip=clip, other=other_clip, rig_file=rig,
        person=tmp_path / "anna.npz",
    )  # fmt: skip
    assert found["off"] == 0
    assert found["unknown"] == [str(other_clip), None, None, None]
    offset, rotation, translation, focal_px = found["known"]
    assert (offset, focal_px) == (-2.5, 700.0)
    np.testing.assert_allclose(rotation, TURN)
    np.testing.assert_allclose(translation, MOVE)
    assert found["first"] == ["fixed", 410.0]
    assert found["person"] == str(tmp_path / "anna.npz")
    assert "clip.mp4: is not a rig" in found["refused"]
    assert found["left"] == 0
