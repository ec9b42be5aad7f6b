# SPDX-License-Identifier: GPL-3.0-or-later
"""The camera that films the head, with the clip behind it, and the Movie Clip's own camera."""

from __future__ import annotations

import bpy
import numpy as np
from mathutils import Matrix

from ..shared.conventions import T_BLENDER_CAMERAOBJECT, principal_point_to_shift
from ..smoothing import NO_SMOOTHING
from .animation import Curves, find_curve
from .channels import ACTIONS, is_zoom, lens_values
from .datablocks import ensure_object, find_object
from .solve import Solve

DEFAULT_SENSOR_MM = 36.0


def update_camera(
    scene: bpy.types.Scene,
    collection: bpy.types.Collection,
    parent: bpy.types.Object,
    clip: bpy.types.MovieClip | None,
    is_main: bool = True,
) -> bpy.types.Object:
    """Make the camera in a collection, or find it, with the clip as its background.

    is_main: a new one becomes the scene's camera, even where there is one.
    """
    camera = find_object(collection, "camera")
    if camera is None:
        data = bpy.data.cameras.new("Mien Camera")
        data.clip_start, data.clip_end = 0.01, 100.0
        data.show_background_images = True
        data.passepartout_alpha = 1.0
        camera = ensure_object(collection, "camera", "Mien Camera", data)
        camera.parent = parent
        camera.matrix_basis = Matrix(T_BLENDER_CAMERAOBJECT.tolist())
        if is_main:
            scene.camera = camera
    if scene.camera is None:
        scene.camera = camera
    if clip is not None:
        set_background(camera.data, clip)
    return camera


def set_intrinsics(
    camera: bpy.types.Object,
    solve: Solve,
    clip: bpy.types.MovieClip | None,
    distortion: tuple[float, ...] = (),
) -> None:
    """Give camera and clip the focal length, principal point and distortion of a solve.

    A focal length that changes has a curve besides (channels.py); here it is the first frame's.
    """
    data, size = camera.data, (int(solve.image_size[0]), int(solve.image_size[1]))
    sensor_mm = DEFAULT_SENSOR_MM if clip is None else clip.tracking.camera.sensor_width
    data.sensor_fit, data.sensor_width = "AUTO", sensor_mm
    principal_point = float(solve.K[0, 2]), float(solve.K[1, 2])
    data.shift_x, data.shift_y = principal_point_to_shift(principal_point, size)
    if not is_zoom(solve) and find_curve(data, "lens") is not None:
        Curves(data, ACTIONS["lens"]).remove("lens")
    data.lens = float(lens_values(solve, NO_SMOOTHING, sensor_mm)[0])
    if clip is not None:
        set_clip_focal(clip, float(np.median(solve.focal_px)), size)
        set_clip_centre(clip, principal_point, size)
        if any(distortion):
            _set_distortion(data, clip, distortion)
        elif distortion:
            # The lens that was solved does not bend: the clip is shown as it is.
            _straighten(data, clip, False)


def set_clip_focal(clip: bpy.types.MovieClip, focal_px: float, image_size: tuple[int, int]) -> None:
    """Write a focal length, in pixels of image_size (W, H), into a Movie Clip's own camera."""
    # Both are lengths in units of the picture's width, whatever size Blender shows it at.
    scale = clip.size[0] / image_size[0] if clip.size[0] else 1.0
    clip.tracking.camera.focal_length_pixels = focal_px * scale


def set_clip_centre(
    clip: bpy.types.MovieClip, principal_point: tuple[float, float], image_size: tuple[int, int]
) -> None:
    """Write a principal point, in pixels of image_size (W, H), into a Movie Clip's own camera."""
    width, height = image_size
    # From the middle of the picture, in halves of its width and height, y up.
    x = (principal_point[0] + 0.5) / width * 2.0 - 1.0
    y = 1.0 - (principal_point[1] + 0.5) / height * 2.0
    clip.tracking.camera.principal_point = (x, y)


def _set_distortion(
    data: bpy.types.Camera, clip: bpy.types.MovieClip, distortion: tuple[float, ...]
) -> None:
    """Give a Movie Clip the lens's K1, K2, K3, and show it behind the head without distortion.

    The camera itself has none: Blender's cannot bend, so the clip is straightened instead.
    """
    lens = clip.tracking.camera
    lens.distortion_model = "POLYNOMIAL"
    for name, value in zip(("k1", "k2", "k3"), (*distortion, 0.0, 0.0, 0.0), strict=False):
        setattr(lens, name, value)
    _straighten(data, clip, True)


def _straighten(data: bpy.types.Camera, clip: bpy.types.MovieClip, is_straight: bool) -> None:
    for image in data.background_images:
        if image.source == "MOVIE_CLIP" and image.clip == clip:
            image.clip_user.use_render_undistorted = is_straight


def clip_focal_px(clip: bpy.types.MovieClip) -> float:
    """Return the focal length of a Movie Clip's camera in pixels of the clip."""
    return float(clip.tracking.camera.focal_length_pixels)


def shown_clip(data: bpy.types.Camera) -> bpy.types.MovieClip | None:
    """Return the clip behind what a camera sees."""
    clips = (i.clip for i in data.background_images if i.source == "MOVIE_CLIP")
    return next(clips, None)


def set_background(data: bpy.types.Camera, clip: bpy.types.MovieClip) -> None:
    """Show a clip behind what a camera sees."""
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
