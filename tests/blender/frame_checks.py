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


def held(track: str, clip: str, pictures: str) -> dict[str, Any]:
    """Where the head is, and what is visible, in frames that a track leaves out."""
    import scene_checks

    found = {}
    for name, file in (("movie", clip), ("sequence", pictures)):
        bpy.ops.wm.read_factory_settings(use_empty=True)
        bpy.ops.preferences.addon_enable(module=MODULE)
        bpy.ops.mien.import_track(filepath=track, clip_path=file)
        places, visible = {}, {}
        for frame in range(3, 11):
            bpy.context.scene.frame_set(frame)
            places[frame] = scene_checks._posed()[0].tolist()
            visible[frame] = float(scene_checks._attribute("mien_visible").mean())
        found[name] = [places, visible]
    return found


def lens(clip: str, connection: str, job_id: str) -> dict[str, Any]:
    """What a live job says of the lens, in the camera and in the Movie Clip's own."""
    from tracking_checks import _set_up

    settings = _set_up(clip, connection)
    bpy.ops.mien.track(job_id=job_id)
    camera = bpy.context.scene.camera.data
    own, background = settings.clip.tracking.camera, camera.background_images[0]
    focal = []
    for frame in range(3, 12):
        bpy.context.scene.frame_set(frame)
        focal.append(camera.lens / camera.sensor_width * 320)
    return {
        "model": own.distortion_model,
        "distortion": [own.k1, own.k2, own.k3],
        "straight": background.clip_user.use_render_undistorted,
        "focal_px": focal,
        "clip_focal_px": own.focal_length_pixels,
        "centre": list(own.principal_point),
    }


def lens_job(clip: str) -> dict[str, Any]:
    """The job that a Movie Clip's camera and a zoom make."""
    import msgspec

    settings = bpy.context.scene.mien
    settings.clip = bpy.data.movieclips.load(clip)
    make = importlib.import_module(f"{MODULE}.operators.track").track_job
    own = settings.clip.tracking.camera
    own.focal_length_pixels, own.k1, own.k2 = 400.0, -0.12, 0.03
    own.principal_point = (0.1, -0.2)
    jobs = {}
    for mode in ("SOLVE", "ZOOM", "CLIP"):
        settings.focal_mode = mode
        job = make(settings)
        jobs[mode] = msgspec.to_builtins(job.lens) | {"focal_px": job.focal_px}
    own.distortion_model, own.division_k1 = "DIVISION", 0.1
    try:
        make(settings)
    except ValueError as error:
        jobs["refused"] = str(error)
    return jobs
