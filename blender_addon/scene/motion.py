# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the curves of a result anew from its solve: other smoothing, other things that move."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np
from mathutils import Matrix

from ..shared.conventions import T_BLENDER_CAMERAOBJECT
from .animation import Curves, find_curve
from .camera import shown_clip
from .channels import (
    ACTIONS,
    Channel,
    expression_channels,
    lens_channels,
    lens_values,
    motion_channels,
    write_channels,
)
from .datablocks import find_object
from .footage import holds_pictures
from .solve import Applied, Solve, load_applied, load_solve, store_applied

TOLERANCE = 2e-5
"""Keys this near to what Mien wrote are Mien's own; others were edited by hand."""


def owners_of(collection: bpy.types.Collection) -> dict[str, bpy.types.ID]:
    """Return what carries the curves: rig, camera, its lens, and the shape keys."""
    owners: dict[str, bpy.types.ID] = {}
    rig, camera = find_object(collection, "rig"), find_object(collection, "camera")
    head = find_object(collection, "head")
    if rig is not None:
        owners["rig"] = rig
    if camera is not None:
        owners["camera"], owners["lens"] = camera, camera.data
    keys = None if head is None else keys_mesh(collection, head).shape_keys
    if keys is not None:
        owners["keys"] = keys
    return owners


def keys_mesh(collection: bpy.types.Collection, head: bpy.types.Object) -> bpy.types.Mesh:
    """Return the mesh with the 52 shape keys, shown at the moment or not."""
    return collection.mien_result.keys_mesh or head.data


def prepare_owners(rig: bpy.types.Object, camera: bpy.types.Object, motion: str) -> None:
    """Take the motion off what does not move in a kind of motion, and put it at rest."""
    rest = {"rig": Matrix(), "camera": Matrix(T_BLENDER_CAMERAOBJECT.tolist())}
    moving = {"OBJECT": "rig", "CAMERA": "camera"}.get(motion)
    for name, subject in (("rig", rig), ("camera", camera)):
        if name == moving:
            subject.rotation_mode = "QUATERNION"
            continue
        if find_curve(subject, "rotation_quaternion", 0) is not None:
            curves = Curves(subject, ACTIONS[name])
            curves.remove("location")
            curves.remove("rotation_quaternion")
            subject.matrix_basis = rest[name]


def all_channels(collection: bpy.types.Collection, solve: Solve, applied: Applied) -> list[Channel]:
    """Return every curve of a result as Mien would write it."""
    rig, camera = find_object(collection, "rig"), find_object(collection, "camera")
    channels = expression_channels(solve, applied.smoothing)
    if rig is not None:
        channels += motion_channels(solve, applied.smoothing, applied.motion, rig)
    if camera is not None:
        channels += lens_channels(solve, applied.smoothing, camera.data.sensor_width)
    return channels


class LostPart(ValueError):
    """Something of the result that is needed was deleted; the text says what to do."""


def update_curves(collection: bpy.types.Collection) -> bool:
    """Bring the curves to what the collection's settings say. False where there is no solve.

    Raises `LostPart` where the motion is to go to what is not there. What was edited by hand
    stays: each key moves by the difference between the old and the new smoothing, and only keys
    that Mien wrote get exactly the new value.
    """
    solve = load_solve(collection)
    if solve is None:
        return False
    settings = collection.mien_result
    before, after = load_applied(collection), Applied(settings.motion, settings.smoothing())
    owners = owners_of(collection)
    if before.motion != after.motion and not {"rig", "camera"} <= owners.keys():
        raise LostPart("The result's rig or camera was deleted: track again to get it back.")
    old = all_channels(collection, solve, before)
    new = all_channels(collection, solve, after)
    if before.motion != after.motion:
        # Edits of the motion belong to curves that go: they are written anew.
        prepare_owners(owners["rig"], owners["camera"], after.motion)
        moving = [c for c in new if c.owner in ("rig", "camera")]
        clip = shown_clip(owners["camera"].data)
        write_channels(owners, moving, solve.frames, holds_pictures(clip))
        old = [c for c in old if c.owner not in ("rig", "camera")]
        new = [c for c in new if c.owner not in ("rig", "camera")]
    for channel, target in zip(old, new, strict=True):
        if channel.owner in owners and not np.array_equal(channel.values, target.values):
            curve = find_curve(owners[channel.owner], channel.path, channel.index)
            if curve is not None:
                follow(curve, solve.frames, channel, target)
    if "keys" in owners:
        _widen(owners["keys"], new)
    camera = owners.get("camera")
    if camera is not None:
        lens = lens_values(solve, after.smoothing, camera.data.sensor_width)
        camera.data.lens = float(lens[0])
    store_applied(collection, after)
    return True


def follow(curve: bpy.types.FCurve, frames: np.ndarray, old: Channel, new: Channel) -> None:
    """Move the keys of a curve from what it was written with to new values, at frames (F,)."""
    _shift(curve, frames, old.values, _like(old, new))


def _like(old: Channel, new: Channel) -> np.ndarray:
    """Return the new values; where float32 says the same as before, exactly those."""
    same = np.float32(old.values) == np.float32(new.values)
    return np.where(same, old.values, new.values)


def _shift(curve: bpy.types.FCurve, frames: np.ndarray, old: np.ndarray, new: np.ndarray) -> None:
    """Move the keys of a curve from old values (F,) to new ones, at frames (F,)."""
    points = curve.keyframe_points
    if not len(points):
        return
    table: dict[str, np.ndarray] = {}
    for name in ("co", "handle_left", "handle_right"):
        table[name] = np.empty((len(points), 2), np.float32)
        points.foreach_get(name, table[name].ravel())
    times, values = table["co"][:, 0].astype(np.float64), table["co"][:, 1].astype(np.float64)
    was, will = np.interp(times, frames, old), np.interp(times, frames, new)
    own = np.isin(times, frames) & (np.abs(values - was) <= TOLERANCE * np.maximum(1, abs(was)))
    target = np.where(own, will, values + (will - was)).astype(np.float32)
    moved = target - table["co"][:, 1]
    for name, part in table.items():
        part[:, 1] = target if name == "co" else part[:, 1] + moved
        # A handle on its key stays on it, to the last digit.
        if name != "co":
            part[own, 1] = np.where(
                np.abs(part[own, 1] - target[own]) <= TOLERANCE, target[own], part[own, 1]
            )
        points.foreach_set(name, part.ravel())
    curve.update()


def _widen(keys: Any, channels: list[Channel]) -> None:
    """Let the sliders reach what the curves have."""
    for channel in channels:
        if channel.owner != "keys":
            continue
        block = keys.key_blocks.get(channel.path.split('"')[1])
        if block is not None:
            block.slider_min = min(block.slider_min, float(np.floor(channel.values.min())))
            block.slider_max = max(block.slider_max, float(np.ceil(channel.values.max())))
