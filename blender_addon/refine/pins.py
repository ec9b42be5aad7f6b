# SPDX-License-Identifier: GPL-3.0-or-later
"""Pins: set one, find what is under the mouse, and what is being dragged."""

from __future__ import annotations

from dataclasses import dataclass

import bpy
import numpy as np

from ..scene.solve import load_solve
from ..translations import rpt
from .layout import is_name, landmarks
from .picture import landmark_pixels, shown_count, to_shown, view_of
from .view import NEAR_PX, nearest

MOST_PINS = 512
"""All travel in one message."""


@dataclass
class Drag:
    """The pin that is being dragged."""

    collection_uid: int
    landmark: str
    start: tuple[float, float]
    """Pixels of the footage where it began."""
    pixel: tuple[float, float]
    """Where it is now."""


_drag: list[Drag] = []


def current_drag() -> Drag | None:
    """Return what is being dragged."""
    return _drag[0] if _drag else None


def drag_from(collection: bpy.types.Collection, landmark: str, pixel: tuple[float, float]) -> None:
    """Begin to drag a landmark."""
    _drag[:] = [Drag(collection.session_uid, landmark, pixel, pixel)]


def end_drag() -> None:
    """Drag nothing any more."""
    _drag.clear()


def set_pin(
    collection: bpy.types.Collection, landmark: str, frame: int, pixel: tuple[float, float],
    sigma: float | None = None, camera: int = 0,
) -> None:  # fmt: skip
    """Pin a landmark in a frame of the scene, or move its pin there. Raises ValueError."""
    refine, solve = collection.mien_refine, load_solve(collection)
    if not is_name(landmark):
        raise ValueError(
            rpt(
                '{landmark!r} is no landmark: "ibug68/30", "dense320/101", "vertex/12".',
                landmark=landmark,
            )
        )
    if solve is None or frame not in solve.frames:
        raise ValueError(
            rpt("Frame {frame} is not among the frames that were tracked.", frame=frame)
        )
    number = refine.pin_at(landmark, frame, camera)
    if number is None:
        if len(refine.pins) >= MOST_PINS:
            raise ValueError(rpt("There can be {most} pins at most.", most=MOST_PINS))
        number = len(refine.pins)
        pin = refine.pins.add()
        pin.landmark, pin.frame, pin.camera, pin.sigma = landmark, frame, camera, refine.pin_sigma
    pin = refine.pins[number]
    pin.x, pin.y = pixel
    if sigma is not None:
        pin.sigma = sigma
    refine.active_pin = number


def pin_under(
    context: bpy.types.Context, event: bpy.types.Event, pins_only: bool
) -> tuple[str, tuple[float, float]] | None:
    """Return the landmark under the mouse, and where it or its pin is in pixels of the footage."""
    collection, scene = context.scene.mien.collection, context.scene
    view = view_of(context) if collection is not None else None
    if view is None:
        return None
    reach = NEAR_PX * context.preferences.system.ui_scale
    mouse = (event.mouse_region_x, event.mouse_region_y)
    frame = scene.frame_current
    pins = [p for p in collection.mien_refine.pins if p.frame == frame and p.camera == 0]
    if pins:
        pixels = np.array([(p.x, p.y) for p in pins])
        found = nearest(mouse, view.to_region(to_shown(collection, context, pixels)), reach)
        if found is not None:
            return pins[found].landmark, (pins[found].x, pins[found].y)
    if pins_only:
        return None
    graph = context.evaluated_depsgraph_get()
    seen = landmark_pixels(collection, graph, shown_count(scene))
    if seen is None:
        return None
    pixels, facing = seen
    places = view.to_region(to_shown(collection, context, pixels))
    places[~facing] = np.nan
    found = nearest(mouse, places, reach)
    return None if found is None else (landmarks().names[found], tuple(pixels[found]))


def can_edit(context: bpy.types.Context) -> bool:
    """Whether pins are shown, and so can be taken with the mouse."""
    return context.scene.mien_show_pins and context.scene.mien.collection is not None
