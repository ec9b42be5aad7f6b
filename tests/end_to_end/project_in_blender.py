"""Runs inside Blender's Python: where Blender's own camera sees the vertices of a .blend's head.

Arguments: FILE.blend OUT.npz. Writes `pixels` (F, N, 2), pixel centres at integers, for every
frame of the scene's range, and what the scene is set to.
"""

from __future__ import annotations

import sys

import bpy
import numpy as np
from bpy_extras.object_utils import world_to_camera_view


def main(blend: str, output: str) -> None:
    """Open the file, go through its frames and write what the camera sees."""
    bpy.ops.wm.open_mainfile(filepath=blend)
    scene = bpy.context.scene
    width = scene.render.resolution_x * scene.render.resolution_percentage / 100
    height = scene.render.resolution_y * scene.render.resolution_percentage / 100
    head = max((o for o in scene.objects if o.type == "MESH"), key=lambda o: len(o.data.vertices))
    frames = []
    for number in range(scene.frame_start, scene.frame_end + 1):
        scene.frame_set(number)
        evaluated = head.evaluated_get(bpy.context.evaluated_depsgraph_get())
        matrix = evaluated.matrix_world
        seen = [
            world_to_camera_view(scene, scene.camera, matrix @ vertex.co)
            for vertex in evaluated.data.vertices
        ]
        unit = np.array([(v.x, v.y) for v in seen])
        # Blender's picture spans 0 to 1 from the lower left corner of the first pixel.
        frames.append(unit * (width, -height) + (-0.5, height - 0.5))
    np.savez(
        output,
        pixels=np.stack(frames),
        size=(width, height),
        frame_rate=scene.render.fps / scene.render.fps_base,
        shape_keys=np.array([key.name for key in head.data.shape_keys.key_blocks]),
        images=np.array([image.name for image in bpy.data.images]),
        clips=np.array([clip.filepath for clip in bpy.data.movieclips]),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
