# SPDX-License-Identifier: GPL-3.0-or-later
"""The camera that films the head, with the clip behind it, and the Movie Clip's own camera."""

from __future__ import annotations

import bpy
import numpy as np
from mathutils import Matrix

from ..shared.conventions import (
    T_BLENDER_CAMERAOBJECT,
    focal_px_to_mm,
    principal_point_to_shift,
)
from ..shot import Shot
from .animation import Curves
from .datablocks import ensure_object, find_object

DEFAULT_SENSOR_MM = 36.0


def update_camera(
    scene: bpy.types.Scene,
    collection: bpy.types.Collection,
    parent: bpy.types.Object,
    clip: bpy.types.MovieClip | None,
) -> bpy.types.Object:
    """Make the camera in a collection, or find it, with the clip as its background."""
    camera = find_object(collection, "camera")
    if camera is None:
        data = bpy.data.cameras.new("Mien Camera")
        data.clip_start, data.clip_end = 0.01, 100.0
        data.show_background_images = True
        data.passepartout_alpha = 1.0
        camera = ensure_object(collection, "camera", "Mien Camera", data)
        camera.parent = parent
        camera.matrix_basis = Matrix(T_BLENDER_CAMERAOBJECT.tolist())
        scene.camera = camera
    elif scene.camera is None:
        scene.camera = camera
    if clip is not None:
        _set_background(camera.data, clip)
    return camera


def animate_camera(
    camera: bpy.types.Object, shot: Shot, clip: bpy.types.MovieClip | None, frames: np.ndarray
) -> None:
    """Give camera and clip the focal length; curves where it changes. frames (F,) of the scene."""
    data, size = camera.data, shot.image_size
    sensor_mm = DEFAULT_SENSOR_MM if clip is None else clip.tracking.camera.sensor_width
    data.sensor_fit, data.sensor_width = "AUTO", sensor_mm
    principal_point = float(shot.K[0, 2]), float(shot.K[1, 2])
    data.shift_x, data.shift_y = principal_point_to_shift(principal_point, size)
    focal_px = shot.motion.focal_px
    lens = np.array([focal_px_to_mm(float(focal), size, sensor_mm) for focal in focal_px])
    if np.ptp(focal_px) > 1e-6 * focal_px[0]:
        Curves(data, "Mien Camera").fill("lens", 0, frames, lens, "Camera")
    elif data.animation_data is not None and data.animation_data.action is not None:
        Curves(data, "Mien Camera").remove("lens")
    data.lens = float(lens[0])
    if clip is not None:
        set_clip_focal(clip, float(np.median(focal_px)), size)


def set_clip_focal(clip: bpy.types.MovieClip, focal_px: float, image_size: tuple[int, int]) -> None:
    """Write a focal length, in pixels of image_size (W, H), into a Movie Clip's own camera."""
    # Both are lengths in units of the picture's width, whatever size Blender shows it at.
    scale = clip.size[0] / image_size[0] if clip.size[0] else 1.0
    clip.tracking.camera.focal_length_pixels = focal_px * scale


def clip_focal_px(clip: bpy.types.MovieClip) -> float:
    """Return the focal length of a Movie Clip's camera in pixels of the clip."""
    return float(clip.tracking.camera.focal_length_pixels)


def _set_background(data: bpy.types.Camera, clip: bpy.types.MovieClip) -> None:
    images = data.background_images
    image = next((i for i in images if i.source == "MOVIE_CLIP"), None)
    if image is None:
        image = images.new()
        image.source = "MOVIE_CLIP"
        image.alpha = 1.0
        image.display_depth = "BACK"
        image.frame_method = "FIT"
    if image.clip != clip:
        image.clip = clip
