# SPDX-License-Identifier: GPL-3.0-or-later
"""The further cameras of a rig, each with its own clip behind it."""

from __future__ import annotations

import os

import bpy
import numpy as np
from mathutils import Matrix

from ..cameras import CameraView
from ..shared.conventions import (
    T_BLENDER_CV,
    T_CAMERAOBJECT_CV,
    focal_px_to_mm,
    principal_point_to_shift,
)
from .camera import DEFAULT_SENSOR_MM, set_background, set_clip_centre, set_clip_focal
from .datablocks import ROLE, ensure_object
from .footage import clip_source


def role_of(number: int) -> str:
    """The role of a further camera, counted from 1."""
    return f"camera.{number}"


def update_cameras(
    collection: bpy.types.Collection,
    parent: bpy.types.Object,
    cameras: tuple[CameraView, ...],
    first_clip: bpy.types.MovieClip | None,
) -> list[bpy.types.Object]:
    """Make or update the cameras of a rig at an empty; those of an earlier run that are gone go."""
    wanted = {role_of(camera.number) for camera in cameras}
    for found in list(collection.all_objects):
        if str(found.get(ROLE, "")).startswith("camera.") and found[ROLE] not in wanted:
            bpy.data.objects.remove(found)
    return [_update(collection, parent, camera, first_clip) for camera in cameras]


def _update(
    collection: bpy.types.Collection,
    parent: bpy.types.Object,
    view: CameraView,
    first_clip: bpy.types.MovieClip | None,
) -> bpy.types.Object:
    role, name = role_of(view.number), f"Mien Camera {view.number + 1}"
    data = bpy.data.cameras.new(name)
    camera = ensure_object(collection, role, name, data)
    if camera.data != data:
        bpy.data.cameras.remove(data)
        data = camera.data
    else:
        data.clip_start, data.clip_end = 0.01, 100.0
        data.show_background_images = True
        data.passepartout_alpha = 1.0
        camera.parent = parent
    # Axes of the first camera become Blender's world under the empty.
    T_first_camera = np.linalg.inv(view.T_camera_first)
    camera.matrix_basis = Matrix((T_BLENDER_CV @ T_first_camera @ T_CAMERAOBJECT_CV).tolist())
    clip = _clip_of(view, first_clip)
    sensor_mm = DEFAULT_SENSOR_MM if clip is None else clip.tracking.camera.sensor_width
    data.sensor_fit, data.sensor_width = "AUTO", sensor_mm
    focal_px = float(view.K[0, 0])
    data.lens = focal_px_to_mm(focal_px, view.image_size, sensor_mm)
    centre = float(view.K[0, 2]), float(view.K[1, 2])
    data.shift_x, data.shift_y = principal_point_to_shift(centre, view.image_size)
    if clip is not None:
        set_background(data, clip)
        set_clip_focal(clip, focal_px, view.image_size)
        set_clip_centre(clip, centre, view.image_size)
    return camera


def _clip_of(
    view: CameraView, first_clip: bpy.types.MovieClip | None
) -> bpy.types.MovieClip | None:
    """The movie clip of a camera, shifted to the first one's time; None where its file is gone."""
    clip = next((c for c in bpy.data.movieclips if clip_source(c) == view.clip), None)
    if clip is None and os.path.isfile(view.clip):
        try:
            clip = bpy.data.movieclips.load(view.clip, check_existing=True)
        except RuntimeError:
            return None
    if clip is None or clip == first_clip:
        return clip
    # Blender shifts clips by whole frames.
    start = 1 if first_clip is None else first_clip.frame_start
    clip.frame_start = start - round(view.offset)
    return clip
