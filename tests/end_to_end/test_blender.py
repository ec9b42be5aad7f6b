"""The last step of the way: Blender's own camera puts the mesh where the landmarks are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from backend.head.landmarks import layout
from backend.samples import PERFORMANCE
from backend.track import Track

REPOSITORY = Path(__file__).parents[2]

pytestmark = pytest.mark.blender


@pytest.fixture(scope="module")
def seen_by_blender(performance_result: Path) -> dict[str, np.ndarray]:
    """What project_in_blender.py finds in the .blend that the add-on makes of the result."""
    blend, output = performance_result.with_suffix(".blend"), performance_result.with_name("p.npz")
    for script, *arguments in (
        (REPOSITORY / "scripts" / "blend_file.py", performance_result, PERFORMANCE, blend),
        (Path(__file__).with_name("project_in_blender.py"), blend, output),
    ):
        command = [sys.executable, str(script), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    with np.load(output) as file:
        return dict(file)


def test_the_camera_puts_the_mesh_where_the_landmarks_are(
    seen_by_blender: dict[str, np.ndarray], performance_track: Track
) -> None:
    dense = layout("dense320")
    corners = seen_by_blender["pixels"][:, dense.vertices]
    on_mesh = (corners * dense.barycentric[..., None]).sum(2)
    error = np.linalg.norm(on_mesh - performance_track.landmarks_2d, axis=-1)
    assert error.shape == (performance_track.n_frames, 320)
    assert np.median(error) < 2


def test_the_camera_sees_every_vertex_where_the_track_says(
    seen_by_blender: dict[str, np.ndarray], performance_track: Track
) -> None:
    track = performance_track
    points = track.vertices.astype(np.float64) @ track.K.transpose(0, 2, 1)
    error = np.linalg.norm(points[..., :2] / points[..., 2:] - seen_by_blender["pixels"], axis=-1)
    assert error.max() < 0.05


def test_the_scene_is_set_up_for_the_clip(
    seen_by_blender: dict[str, np.ndarray], performance_track: Track
) -> None:
    track = performance_track
    assert seen_by_blender["size"].tolist() == track.image_size.tolist()
    rate = track.frame_rate[0] / track.frame_rate[1]
    assert float(seen_by_blender["frame_rate"]) == pytest.approx(rate)
    assert set(track.expression_names) <= set(seen_by_blender["shape_keys"].tolist())
    assert [Path(clip).name for clip in seen_by_blender["clips"]] == [PERFORMANCE.name]
