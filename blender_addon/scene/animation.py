# SPDX-License-Identifier: GPL-3.0-or-later
"""Fill animation curves at once, in Blender 4.2 (curves in actions) to 5.x (in channel bags)."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np
from numpy.typing import ArrayLike

CONSTANT, LINEAR = 0, 1
"""Numbers of a keyframe's interpolations, as foreach_set takes them."""


class Curves:
    """The animation curves of one data-block, in an action of its own."""

    def __init__(self, owner: bpy.types.ID, action_name: str) -> None:
        """owner gets an action called action_name unless it has one already."""
        animation = owner.animation_data or owner.animation_data_create()
        action = animation.action
        if action is None or not action.is_editable:
            action = bpy.data.actions.new(action_name)
            animation.action = action
        self._container: Any = _container(action, animation, owner)

    def fill(
        self, data_path: str, index: int, frames: ArrayLike, values: ArrayLike, group: str,
        holds: bool = False,
    ) -> None:  # fmt: skip
        """Make a curve have exactly these keys: frames (F,) ascending and values (F,).

        holds: between keys that are more than a frame apart the value stays.
        """
        curves = self._container.fcurves
        curve = curves.find(data_path, index=index)
        if curve is None:
            curve = curves.new(data_path, index=index)
            curve.group = self._group(group)
        keys = np.empty((np.size(frames), 2), np.float32)
        keys[:, 0], keys[:, 1] = frames, values
        points = curve.keyframe_points
        if len(points) != len(keys):
            points.clear()
            points.add(len(keys))
        # Handles on the keys themselves: a stale handle would bend a curve made Bezier later.
        for name in ("co", "handle_left", "handle_right"):
            points.foreach_set(name, keys.ravel())
        kinds = np.full(len(keys), LINEAR, np.int32)
        if holds:
            kinds[:-1][np.diff(np.asarray(frames)) > 1] = CONSTANT
        points.foreach_set("interpolation", kinds)
        curve.update()

    def remove(self, data_path: str) -> None:
        """Remove the curves of a property, if there are any."""
        for curve in [c for c in self._container.fcurves if c.data_path == data_path]:
            self._container.fcurves.remove(curve)

    def _group(self, name: str) -> Any:
        return self._container.groups.get(name) or self._container.groups.new(name)


def find_curve(owner: bpy.types.ID, data_path: str, index: int = 0) -> bpy.types.FCurve | None:
    """Return a data-block's animation curve, if there is one."""
    for curve in curves_of(owner):
        if curve.data_path == data_path and curve.array_index == index:
            return curve
    return None


def curves_of(owner: bpy.types.ID) -> list[bpy.types.FCurve]:
    """Return all curves of a data-block's own action; none where it has no action."""
    animation = owner.animation_data
    action = None if animation is None else animation.action
    if action is None:
        return []
    if not hasattr(action, "slots"):
        return list(action.fcurves)
    slot = animation.action_slot
    return [
        curve
        for layer in action.layers
        for strip in layer.strips
        if slot is not None and (bag := strip.channelbag(slot)) is not None
        for curve in bag.fcurves
    ]


def _container(action: bpy.types.Action, animation: Any, owner: bpy.types.ID) -> Any:
    """Return what holds fcurves and groups: the action, or from 4.4 on its channel bag."""
    if not hasattr(action, "slots"):
        return action
    slot = animation.action_slot
    if slot is None:
        slot = action.slots.new(id_type=owner.id_type, name=owner.name)
        animation.action_slot = slot
    layer = action.layers[0] if action.layers else action.layers.new("Layer")
    strip = layer.strips[0] if layer.strips else layer.strips.new(type="KEYFRAME")
    return strip.channelbag(slot, ensure=True)


def continuous_quaternions(quaternions: np.ndarray) -> np.ndarray:
    """Choose the signs of quaternions (F, ..., 4) so that neighbouring frames are close."""
    dots = np.sum(quaternions[1:] * quaternions[:-1], axis=-1)
    signs = np.cumprod(np.where(dots < 0.0, -1.0, 1.0), axis=0)
    result = quaternions.copy()
    result[1:] *= signs[..., None]
    return result
