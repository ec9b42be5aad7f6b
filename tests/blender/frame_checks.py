"""What Blender shows in which frame, told by rendering a clip through the compositor."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import bpy
import numpy as np

MODULE = "bl_ext.user_default.mien"


def _show(clip: Any) -> None:
    """Have the render be the clip alone."""
    scene = bpy.context.scene
    scene.camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    scene.collection.objects.link(scene.camera)
    scene.render.resolution_x, scene.render.resolution_y = clip.size
    scene.render.resolution_percentage = 100
    scene.render.engine, scene.cycles.samples = "CYCLES", 1
    scene.view_settings.view_transform = "Standard"
    scene.render.image_settings.file_format = "PNG"
    if hasattr(scene, "compositing_node_group"):
        tree = bpy.data.node_groups.new("Compositing", "CompositorNodeTree")
        tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
        scene.compositing_node_group = tree
        output = tree.nodes.new("NodeGroupOutput")
    else:
        scene.use_nodes = True
        tree = scene.node_tree
        tree.nodes.clear()
        output = tree.nodes.new("CompositorNodeComposite")
    source = tree.nodes.new("CompositorNodeMovieClip")
    source.clip = clip
    tree.links.new(source.outputs["Image"], output.inputs[0])


def _brightness(folder: Path, frame: int) -> list[float]:
    """Mean of the left and of the upper half of what is shown in a frame, 0 to 255."""
    scene = bpy.context.scene
    scene.frame_set(frame)
    scene.render.filepath = str(folder / f"shown_{frame}.png")
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(scene.render.filepath)
    width, height = image.size
    pixels = np.empty(width * height * 4, np.float32)
    image.pixels.foreach_get(pixels)
    rows = pixels.reshape(height, width, 4)[::-1, :, 0] * 255
    bpy.data.images.remove(image)
    return [float(rows[:, : width // 2].mean()), float(rows[: height // 2].mean())]


def shown(cases: list[dict[str, Any]], folder: str) -> list[dict[str, Any]]:
    """Return for each clip what is shown in frames, and what the add-on makes of its frames."""
    footage = importlib.import_module(f"{MODULE}.scene.footage")
    answers = []
    for number, case in enumerate(cases):
        bpy.ops.wm.read_factory_settings(use_empty=True)
        bpy.ops.preferences.addon_enable(module=MODULE)
        clip = bpy.data.movieclips.load(case["file"])
        clip.frame_start, clip.frame_offset = case["start"], case["offset"]
        _show(clip)
        place = Path(folder) / str(number)
        place.mkdir()
        rate = footage.clip_rate(clip)
        answers.append(
            {
                "source": footage.clip_source(clip),
                "index_to_frame": footage.index_to_frame(clip),
                "size": list(clip.size),
                "duration": clip.frame_duration,
                "rate": None if rate is None else [rate.numerator, rate.denominator],
                "shown": {str(f): _brightness(place, f) for f in case["frames"]},
            }
        )
    return answers
