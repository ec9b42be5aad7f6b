"""Blender's own importers read the files, and the head is where the track has it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from backend.export import export_track
from backend.export.corners import split_corners
from backend.track import Track
from shared.conventions import points_to_blender

pytest.importorskip("bpy")

# In a process of its own: `bpy` brings another USD than usd-core.
PROGRAM = """
import sys
import bpy
import numpy as np

source, target, first, count, rate = sys.argv[1:]
bpy.ops.wm.read_factory_settings(use_empty=True)
scene = bpy.context.scene
scene.render.fps = int(rate)
if source.endswith(".glb"):
    bpy.ops.import_scene.gltf(filepath=source)
else:
    bpy.ops.wm.usd_import(filepath=source)
(head,) = [o for o in scene.objects if o.type == "MESH" and len(o.data.vertices) > 1000]
(camera,) = [o for o in scene.objects if o.type == "CAMERA"]
vertices, lenses = [], []
for frame in range(int(first), int(first) + int(count)):
    scene.frame_set(frame)
    graph = bpy.context.evaluated_depsgraph_get()
    posed = head.evaluated_get(graph)
    mesh = posed.to_mesh()
    points = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.vertices.foreach_get("co", points)
    matrix = np.array(posed.matrix_world)
    vertices.append(points.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3])
    data = camera.evaluated_get(graph).data
    lenses.append(data.lens / data.sensor_width)
keys = head.data.shape_keys
np.savez(
    target,
    vertices=np.stack(vertices),
    lenses=lenses,
    camera=np.array(camera.matrix_world),
    keys=[] if keys is None else [block.name for block in keys.key_blocks],
    images=[list(image.size) for image in bpy.data.images if image.size[0]],
    attributes=list(head.data.attributes.keys()),
)
"""


def imported(track: Track, path: Path) -> dict[str, np.ndarray]:
    """Export a track, import it in Blender, and return what came of it."""
    export_track(track, path)
    target = path.with_suffix(".npz")
    frames = [str(track.frame_index[0]), str(track.n_frames), str(track.frame_rate[0])]
    command = [sys.executable, "-c", PROGRAM, str(path), str(target), *frames]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert target.exists(), (done.stdout + done.stderr)[-4000:]
    with np.load(target) as file:
        return dict(file)


@pytest.mark.parametrize("suffix", [".usdc", ".glb"])
def test_positions_agree_with_the_track(moving_track: Track, tmp_path: Path, suffix: str) -> None:
    scene = imported(moving_track, tmp_path / f"shot{suffix}")
    truth = points_to_blender(moving_track.vertices)
    if suffix == ".glb":
        truth = truth[:, split_corners(moving_track.faces, moving_track.uv).vertices]
        assert scene["keys"].tolist() == ["Basis", *moving_track.expression_names]
    else:
        assert {"visible", "st"} <= set(scene["attributes"].tolist())
        width = moving_track.image_size[0]
        np.testing.assert_allclose(scene["lenses"], moving_track.focal_px / width, rtol=1e-4)
    assert np.abs(scene["vertices"] - truth).max() < 1e-4
    # The camera stands at the origin, looks along y, and has its top up.
    np.testing.assert_allclose(
        scene["camera"], [[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]], atol=1e-6
    )
    assert scene["images"].tolist() == [[64, 32]]
