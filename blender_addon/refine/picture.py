# SPDX-License-Identifier: GPL-3.0-or-later
"""Where landmarks are in the footage, and where the editors show the footage."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np
from bpy_extras.view3d_utils import location_3d_to_region_2d
from mathutils import Vector

from ..scene.datablocks import find_object
from ..scene.footage import is_shown_rotated
from ..scene.solve import load_solve
from ..shared.conventions import focal_mm_to_px, shift_to_principal_point
from .layout import FEW, landmarks
from .view import Array, Lens, PictureView


def picture_size(collection: bpy.types.Collection) -> tuple[int, int]:
    """Return width and height of the footage's upright picture; (0, 0) where it is not known."""
    mark = hash(collection.get("mien_solve"))
    if _sizes.get("mark") != mark:
        solve = load_solve(collection)
        size = (0, 0) if solve is None else tuple(int(v) for v in solve.image_size)
        _sizes.update(mark=mark, size=size)
    return _sizes["size"]


_sizes: dict[str, Any] = {}
"""The last answer: every drawing asks, and the solve need not be unpacked each time."""


def lens_of(collection: bpy.types.Collection, camera: bpy.types.Object) -> Lens:
    """Return the lens that Mien's camera has in the current frame."""
    data, size = camera.data, picture_size(collection)
    return Lens(
        focal_mm_to_px(data.lens, size, data.sensor_width),
        shift_to_principal_point((data.shift_x, data.shift_y), size),
        tuple(collection.mien_refine.distortion),
    )


def landmark_pixels(
    collection: bpy.types.Collection, graph: bpy.types.Depsgraph, count: int | None = None
) -> tuple[Array, np.ndarray] | None:
    """Return pixels (L, 2) of the footage where the landmarks are, and (L,) which face the camera.

    As the head is shown in the current frame: shape keys, bones, edits and smoothing are in it.
    count: only so many. None where there is no head that has these landmarks.
    """
    head, camera = find_object(collection, "head"), find_object(collection, "camera")
    table = landmarks()
    if head is None or camera is None or not picture_size(collection)[0]:
        return None
    shown = head.evaluated_get(graph)
    mesh = shown.data
    if len(mesh.vertices) != table.n_vertices:
        return None
    vertices = np.empty((len(mesh.vertices), 3), np.float32)
    mesh.vertices.foreach_get("co", vertices.ravel())
    place = camera.evaluated_get(graph).matrix_world.normalized().inverted() @ shown.matrix_world
    matrix = np.array(place)
    # A camera object looks along its own -z with y up: OpenCV's y and z are the other way.
    turn = np.diag((1.0, -1.0, -1.0)) @ matrix[:3, :3]
    shift = matrix[:3, 3] * (1.0, -1.0, -1.0)
    points = table.points(vertices) @ turn.T + shift
    facing = (table.normals(vertices) @ turn.T * points).sum(-1) < 0.0
    lens = lens_of(collection, camera)
    pixels = lens.bend(lens.project(points))
    return pixels[:count], facing[:count]


def shown_count(scene: bpy.types.Scene) -> int | None:
    """Return how many landmarks are shown."""
    return FEW if scene.mien_pin_layout == "68" else None


def clip_view(context: bpy.types.Context) -> PictureView | None:
    """Return where the Movie Clip Editor shows the scene's clip; None where it does not."""
    space, settings = context.space_data, context.scene.mien
    collection = settings.collection
    if collection is None or space.clip is None or space.clip != settings.clip:
        return None
    size = picture_size(collection)
    if not size[0] or is_shown_rotated(space.clip, size) or _is_stabilised(space):
        return None
    view = context.region.view2d
    # Its unit square is the picture. Places come as whole pixels: from far apart they are exact.
    far = 1000
    low = np.array(view.view_to_region(-far, -far, clip=False), np.float64)
    high = np.array(view.view_to_region(far, far, clip=False), np.float64)
    width, height = (high - low) / (2 * far)
    left, bottom = (low + high) / 2
    if width <= 0 or height <= 0:
        return None
    return PictureView(float(left), float(bottom), float(width), float(height), size)


def _is_stabilised(space: bpy.types.Space) -> bool:
    """Whether the clip is shown shifted and turned: how, Blender does not tell scripts."""
    stabilisation = space.clip.tracking.stabilization
    return bool(space.show_stable and stabilisation.use_2d_stabilization)


def camera_view(context: bpy.types.Context) -> PictureView | None:
    """Return where a 3D view shows Mien's camera's picture; None where it looks through no such."""
    collection, space, region_3d = context.scene.mien.collection, context.space_data, None
    if collection is not None:
        region_3d = space.region_3d
    if region_3d is None or region_3d.view_perspective != "CAMERA":
        return None
    camera = find_object(collection, "camera")
    seen = space.camera if space.use_local_camera else context.scene.camera
    size = picture_size(collection)
    if camera is None or seen != camera or not size[0]:
        return None
    lens = lens_of(collection, camera)
    matrix, corners = camera.matrix_world.normalized(), []
    for pixel in ((-0.5, size[1] - 0.5), (size[0] - 0.5, -0.5)):
        x, y = (np.array(pixel) - lens.centre) / lens.focal_px
        # As far away as the head is, so that the view's clipping does not matter.
        corner = matrix @ Vector((float(x), -float(y), -1.0))
        place = location_3d_to_region_2d(context.region, region_3d, corner)
        if place is None:
            return None
        corners.append(place)
    (left, bottom), (right, top) = corners
    return PictureView(left, bottom, right - left, top - bottom, size)


def view_of(context: bpy.types.Context) -> PictureView | None:
    """Return where the editor of a context shows the picture; None where it does not."""
    space, region = context.space_data, context.region
    if space is None or region is None or region.type != "WINDOW":
        return None
    if space.type == "CLIP_EDITOR":
        return clip_view(context)
    return camera_view(context) if space.type == "VIEW_3D" else None


def is_straight(context: bpy.types.Context) -> bool:
    """Whether the editor shows the picture without the lens's distortion."""
    space = context.space_data
    if space.type == "VIEW_3D":
        return True
    return bool(space.clip_user.use_render_undistorted)


def to_shown(collection: bpy.types.Collection, context: bpy.types.Context, pixels: Array) -> Array:
    """Return pixels of the footage as pixels of what the editor shows."""
    camera = find_object(collection, "camera")
    if camera is None or not is_straight(context):
        return pixels
    return lens_of(collection, camera).straighten(pixels)


def from_shown(collection: bpy.types.Collection, context: bpy.types.Context, pixels: Array
) -> Array:  # fmt: skip
    """Inverse of `to_shown`."""
    camera = find_object(collection, "camera")
    if camera is None or not is_straight(context):
        return pixels
    return lens_of(collection, camera).bend(pixels)
