"""Checks of a rig's cameras and of the list of clips, run inside Blender."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from bpy_extras.object_utils import world_to_camera_view
from mathutils import Vector


def _objects() -> dict[str, Any]:
    collection = bpy.context.scene.mien.collection
    return {o["mien_role"]: o for o in collection.all_objects if "mien_role" in o}


def import_rig(track: str, clip: str, single: str) -> dict[str, Any]:
    """Import a track of two cameras: where the second one projects points of the first frame."""
    assert bpy.ops.mien.import_track(filepath=track, clip_path=clip) == {"FINISHED"}
    objects, scene = _objects(), bpy.context.scene
    camera = objects["camera.1"]
    points = np.load(Path(track).with_name("points.npy"))
    scene.render.resolution_x, scene.render.resolution_y = 640, 400
    bpy.context.view_layer.update()
    pixels = []
    for point in points:
        # The first camera's axes in Blender's world.
        world = Vector((point[0], point[2], -point[1]))
        x, y, _ = world_to_camera_view(scene, camera, world)
        pixels.append([x * 640 - 0.5, (1.0 - y) * 400 - 0.5])
    background = camera.data.background_images[0].clip
    result = {
        "names": sorted(o.name for o in objects.values()),
        "pixels": pixels,
        "background": background.name,
        "frame_start": background.frame_start,
        "first_background": objects["camera"].data.background_images[0].clip.name,
        "parent": camera.parent.name,
    }
    assert bpy.ops.mien.import_track(filepath=track, clip_path=clip) == {"FINISHED"}
    result["again"] = sorted(o.name for o in _objects().values())
    assert bpy.ops.mien.import_track(filepath=single, clip_path=clip) == {"FINISHED"}
    result["single"] = sorted(o.name for o in _objects().values())
    return result


def job(clip: str, other: str, rig_file: str, person: str) -> dict[str, Any]:
    """What the panel's list asks the backend for."""
    module = importlib.import_module("bl_ext.user_default.mien.operators.track")
    settings = bpy.context.scene.mien
    settings.clip = bpy.data.movieclips.load(clip)
    second = bpy.data.movieclips.load(other)
    assert bpy.ops.mien.add_rig_clip() == {"FINISHED"}
    assert settings.rig_clips[0].clip == second
    found: dict[str, Any] = {"off": len(module.track_job(settings).cameras)}
    settings.use_rig = True
    (camera,) = module.track_job(settings).cameras
    found["unknown"] = [camera.clip, camera.offset, camera.rotation, camera.focal_px]
    settings.rig_clips[0].use_offset = True
    settings.rig_clips[0].offset = -2.5
    settings.rig_file, settings.person = rig_file, person
    known = module.track_job(settings)
    (camera,) = known.cameras
    found["known"] = [camera.offset, camera.rotation, camera.translation, camera.focal_px]
    found["first"] = [known.focal_mode, known.focal_px]
    found["person"] = known.person
    settings.rig_file = clip
    try:
        module.track_job(settings)
    except ValueError as error:
        found["refused"] = str(error)
    assert bpy.ops.mien.remove_rig_clip(index=0) == {"FINISHED"}
    found["left"] = len(settings.rig_clips)
    return found
