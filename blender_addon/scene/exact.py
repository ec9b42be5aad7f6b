# SPDX-License-Identifier: GPL-3.0-or-later
"""The exact shape of every frame: absolute keys in the file, or a cache beside it.

Both are made of the 52 keys and their curves as they are at that moment, edits by hand included,
and take the keys' place until the switch is turned back; the rig still moves the head. Absolute
keys sit on a mesh of their own, which the head object shows; the cache is a PC2 file behind a Mesh
Cache modifier ahead of all others.
"""

from __future__ import annotations

import struct
from pathlib import Path

import bpy
import numpy as np
from numpy.typing import NDArray

from .animation import Curves, curves_of
from .datablocks import ROLE
from .footage import kept_path
from .motion import LostPart

MODIFIER = "Mien Exact Shape"
KEY_STEP = 10.0
"""Blender puts the absolute keys of a mesh this far apart."""


def exact_shapes(mesh: bpy.types.Mesh, frames: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the shape (F, N, 3) of a mesh with relative keys at frames, by its curves.

    Raises `LostPart` where the mesh has no keys any more.
    """
    if mesh.shape_keys is None:
        raise LostPart("The head's shape keys were deleted: track again to get them back.")
    blocks = mesh.shape_keys.key_blocks
    count = len(mesh.vertices)
    basis = np.empty(3 * count, np.float32)
    blocks[0].data.foreach_get("co", basis)
    curves = {curve.data_path: curve for curve in curves_of(mesh.shape_keys)}
    weights = np.empty((len(frames), len(blocks) - 1), np.float32)
    offsets = np.empty((len(blocks) - 1, 3 * count), np.float32)
    for number, block in enumerate(blocks[1:]):
        block.data.foreach_get("co", offsets[number])
        offsets[number] -= basis
        curve = curves.get(f'key_blocks["{block.name}"].value')
        if block.mute:
            weights[:, number] = 0.0
        elif curve is None or curve.mute:
            weights[:, number] = block.value
        else:
            weights[:, number] = [curve.evaluate(float(frame)) for frame in frames]
        np.clip(weights[:, number], block.slider_min, block.slider_max, out=weights[:, number])
    return (basis + weights @ offsets).reshape(len(frames), count, 3)


def show_keys(collection: bpy.types.Collection, head: bpy.types.Object) -> None:
    """Show the 52 keys again; what was baked goes."""
    settings = collection.mien_result
    mesh = settings.keys_mesh
    if mesh is not None and head.data != mesh:
        baked, head.data = head.data, mesh
        if baked.users == 0 and baked.get(ROLE) == "exact":
            bpy.data.meshes.remove(baked)
    settings.keys_mesh = None
    modifier = head.modifiers.get(MODIFIER)
    if modifier is not None:
        head.modifiers.remove(modifier)
    settings.shape = "KEYS"


def show_absolute(
    collection: bpy.types.Collection, head: bpy.types.Object, frames: NDArray[np.int64]
) -> None:
    """Bake an absolute key for every frame into a mesh of its own, and show that."""
    show_keys(collection, head)
    source = head.data
    shapes = exact_shapes(source, frames)
    mesh = source.copy()
    mesh.name, mesh[ROLE] = f"{source.name} Exact", "exact"
    collection.mien_result.keys_mesh = source
    head.data = mesh
    head.shape_key_clear()
    for frame, shape in zip(frames.tolist(), shapes, strict=True):
        block = head.shape_key_add(name=f"Frame {frame}", from_mix=False)
        block.interpolation = "KEY_LINEAR"
        block.data.foreach_set("co", np.ascontiguousarray(shape).ravel())
    mesh.vertices.foreach_set("co", np.ascontiguousarray(shapes[0]).ravel())
    keys = mesh.shape_keys
    keys.use_relative = False
    times = KEY_STEP * np.arange(len(frames), dtype=np.float64)
    Curves(keys, "Mien Exact Shape").fill("eval_time", 0, frames, times, "Shape")
    collection.mien_result.shape = "ABSOLUTE"


def show_cache(
    collection: bpy.types.Collection,
    head: bpy.types.Object,
    frames: NDArray[np.int64],
    path: Path,
) -> None:
    """Bake a PC2 file, and show it by a modifier. Raises OSError where it cannot be written."""
    show_keys(collection, head)
    first, last = int(frames[0]), int(frames[-1])
    # The file has every frame; the modifier counts from its first one.
    every = np.arange(first, last + 1)
    write_pc2(path, exact_shapes(head.data, every))
    modifier = head.modifiers.new(MODIFIER, "MESH_CACHE")
    head.modifiers.move(len(head.modifiers) - 1, 0)
    modifier.cache_format, modifier.deform_mode = "PC2", "OVERWRITE"
    modifier.interpolation, modifier.time_mode = "LINEAR", "FRAME"
    modifier.play_mode = "SCENE"
    modifier.frame_start = float(first)
    modifier.filepath = kept_path(str(path))
    collection.mien_result.shape = "CACHE"


def write_pc2(path: Path, shapes: NDArray[np.float32]) -> None:
    """Write shapes (F, N, 3) as a PC2 point cache, whole or not at all."""
    partial = path.with_name(f"{path.name}.part")
    header = b"POINTCACHE2\0" + struct.pack("<iiffi", 1, shapes.shape[1], 0.0, 1.0, len(shapes))
    try:
        with open(partial, "wb") as file:
            file.write(header)
            file.write(np.ascontiguousarray(shapes, "<f4").data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
