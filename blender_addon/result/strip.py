# SPDX-License-Identifier: GPL-3.0-or-later
"""A strip of colours over the time line: where the solve is unsure of the face."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np

from ..confidence import confidence_colours, strip_runs
from ..scene.solve import SOLVE, load_solve

HEIGHT = 9.0
"""Height of the strip in pixels at scale 1."""

Runs = list[tuple[float, float, tuple[float, ...]]]

_handlers: list[tuple[Any, Any]] = []
_cache: dict[int, tuple[int, Runs]] = {}


def strip_of(collection: bpy.types.Collection | None) -> Runs:
    """Return the runs of colour of a result; none where there is nothing to show."""
    data = None if collection is None else collection.get(SOLVE)
    if not isinstance(data, bytes):
        return []
    # Every drawing asks: the solve is unpacked only when it is another one.
    mark = hash(data)
    known = _cache.get(collection.session_uid)
    if known is not None and known[0] == mark:
        return known[1]
    solve = load_solve(collection)
    runs: Runs = []
    if solve is not None:
        runs = strip_runs(solve.frames, confidence_colours(solve.confidence, solve.found))
    _cache[collection.session_uid] = mark, runs
    return runs


def quads(
    runs: Runs, left: float, right: float, bottom: float, top: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return two triangles for each run: places (6 R, 2) and colours (6 R, 4).

    left and right: pixels of frame 0 and of frame 1.
    """
    step = right - left
    places, colours = [], []
    for start, end, colour in runs:
        # A frame that is narrower than a pixel is still to be seen.
        x0 = left + step * start
        x1 = max(left + step * end, x0 + 1.0)
        corners = (x0, bottom), (x1, bottom), (x1, top), (x0, top)
        places += [corners[k] for k in (0, 1, 2, 0, 2, 3)]
        colours += [colour] * 6
    return (
        np.array(places, np.float32).reshape(-1, 2),
        np.array(colours, np.float32).reshape(-1, 4),
    )


def draw() -> None:
    """Draw the strip at the lower edge of the editor's main region."""
    context = bpy.context
    scene, region, space = context.scene, context.region, context.space_data
    if scene is None or region is None or not scene.mien_show_strip:
        return
    runs = strip_of(scene.mien.collection)
    if not runs:
        return
    if space.type == "CLIP_EDITOR":
        # Like the line of cached frames that Blender draws there: the scene's range, edge to edge.
        count = max(1, scene.frame_end - scene.frame_start + 1)
        step = region.width / count
        left = -scene.frame_start * step + 0.5 * step
        right = left + step
    else:
        view = region.view2d
        left = view.view_to_region(0.0, 0.0, clip=False)[0]
        right = left + (view.view_to_region(10000.0, 0.0, clip=False)[0] - left) / 10000.0
    scale = context.preferences.system.ui_scale
    bottom = 20.0 * scale if space.type == "CLIP_EDITOR" else 0.0
    _draw(*quads(runs, left, right, bottom, bottom + HEIGHT * scale))


def _draw(places: np.ndarray, colours: np.ndarray) -> None:
    import gpu
    from gpu_extras.batch import batch_for_shader

    shader = gpu.shader.from_builtin("FLAT_COLOR")
    gpu.state.blend_set("ALPHA")
    points = np.concatenate((places, np.zeros((len(places), 1), np.float32)), -1)
    batch_for_shader(shader, "TRIS", {"pos": points, "color": colours}).draw(shader)
    gpu.state.blend_set("NONE")


def register() -> None:
    """Draw in the time line, the Dope Sheet, the Graph Editor and the Movie Clip Editor."""
    spaces = (bpy.types.SpaceDopeSheetEditor, bpy.types.SpaceGraphEditor, bpy.types.SpaceClipEditor)
    for space in spaces:
        handler = space.draw_handler_add(draw, (), "WINDOW", "POST_PIXEL")
        _handlers.append((space, handler))


def unregister() -> None:
    """Draw no more."""
    while _handlers:
        space, handler = _handlers.pop()
        space.draw_handler_remove(handler, "WINDOW")
    _cache.clear()
