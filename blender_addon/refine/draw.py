# SPDX-License-Identifier: GPL-3.0-or-later
"""Landmarks and pins over the clip: in the Movie Clip Editor and in the 3D view's camera."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np

from .layout import label, landmarks
from .picture import landmark_pixels, shown_count, to_shown, view_of
from .pins import current_drag
from .view import Array, PictureView

LANDMARK = (0.25, 0.85, 1.0, 0.9)
HIDDEN = (0.25, 0.85, 1.0, 0.2)
PIN = (1.0, 0.75, 0.1, 1.0)
DRAG = (1.0, 1.0, 1.0, 1.0)
PULL = (1.0, 0.75, 0.1, 0.6)

_handlers: list[tuple[Any, Any]] = []


def diamonds(places: Array, colours: Array, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Return two triangles for each place (L, 2): corners (6 L, 3) and colours (6 L, 4)."""
    corners = np.array(((-1, 0), (0, -1), (1, 0), (-1, 0), (1, 0), (0, 1)), np.float64) * radius
    points = np.zeros((len(places), 6, 3), np.float32)
    points[..., :2] = np.asarray(places)[:, None] + corners
    shades = np.repeat(np.asarray(colours, np.float32)[:, None], 6, axis=1)
    return points.reshape(-1, 3), shades.reshape(-1, 4)


def draw() -> None:
    """Draw them where the picture is."""
    context = bpy.context
    scene = context.scene
    if scene is None or not scene.mien_show_pins or scene.mien.collection is None:
        return
    view = view_of(context)
    if view is not None:
        _draw(context, view)


def _draw(context: bpy.types.Context, view: PictureView) -> None:
    scene, scale = context.scene, context.preferences.system.ui_scale
    collection, drag = scene.mien.collection, current_drag()
    places: dict[str, Array] = {}
    seen = landmark_pixels(collection, context.evaluated_depsgraph_get(), None)
    if seen is not None:
        pixels, facing = seen
        shown = view.to_region(to_shown(collection, context, pixels))
        places = dict(zip(landmarks().names, shown, strict=True))
        few = slice(0, shown_count(scene))
        colours = np.where(facing[few, None], LANDMARK, HIDDEN)
        is_there = np.isfinite(shown[few]).all(-1)
        _triangles(*diamonds(shown[few][is_there], colours[is_there], 3.0 * scale))
    pins = [
        pin
        for pin in collection.mien_refine.pins
        if pin.frame == scene.frame_current and pin.camera == 0
        and (drag is None or pin.landmark != drag.landmark)
    ]  # fmt: skip
    marks = [(pin.landmark, (pin.x, pin.y), PIN) for pin in pins]
    if drag is not None:
        marks.append((drag.landmark, drag.pixel, DRAG))
    if not marks:
        return
    pixels = to_shown(collection, context, np.array([pixel for _, pixel, _ in marks]))
    shown = view.to_region(pixels)
    for (name, _, _), place in zip(marks, shown, strict=True):
        start = places.get(name)
        if start is not None and np.isfinite(start).all():
            _line(start, place)
    _triangles(*diamonds(shown, np.array([c for _, _, c in marks]), 6.0 * scale))
    for (name, _, colour), place in zip(marks, shown, strict=True):
        _text(label(name), place + (9.0 * scale, 5.0 * scale), colour, scale)


def _triangles(points: np.ndarray, colours: np.ndarray) -> None:
    import gpu
    from gpu_extras.batch import batch_for_shader

    if not len(points):
        return
    shader = gpu.shader.from_builtin("FLAT_COLOR")
    gpu.state.blend_set("ALPHA")
    batch_for_shader(shader, "TRIS", {"pos": points, "color": colours}).draw(shader)
    gpu.state.blend_set("NONE")


def _line(start: Array, end: Array) -> None:
    import gpu
    from gpu_extras.batch import batch_for_shader

    shader = gpu.shader.from_builtin("UNIFORM_COLOR")
    gpu.state.blend_set("ALPHA")
    shader.uniform_float("color", PULL)
    points = np.zeros((2, 3), np.float32)
    points[:, :2] = start, end
    batch_for_shader(shader, "LINES", {"pos": points}).draw(shader)
    gpu.state.blend_set("NONE")


def _text(text: str, place: Array, colour: tuple[float, ...], scale: float) -> None:
    import blf

    blf.position(0, float(place[0]), float(place[1]), 0.0)
    blf.size(0, 11.0 * scale)
    blf.color(0, *colour)
    blf.draw(0, text)


def register() -> None:
    """Draw in the Movie Clip Editor and in the 3D view."""
    for space in (bpy.types.SpaceClipEditor, bpy.types.SpaceView3D):
        handler = space.draw_handler_add(draw, (), "WINDOW", "POST_PIXEL")
        _handlers.append((space, handler))


def unregister() -> None:
    """Draw no more."""
    while _handlers:
        space, handler = _handlers.pop()
        space.draw_handler_remove(handler, "WINDOW")
