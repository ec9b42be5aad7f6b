# SPDX-License-Identifier: GPL-3.0-or-later
"""The head's mesh: vertices, triangles, texture coordinates, shape keys and skin weights."""

from __future__ import annotations

import bpy
import numpy as np

from ..shared.conventions import points_to_blender
from ..shot import HeadModel
from .datablocks import ensure_object, find_object
from .rig import BONES

BASIS = "Basis"
UV_MAP = "UVMap"

KEYS_A_PIECE = 8
"""Expressions that are set at once: about 4 ms."""


def update_head(
    collection: bpy.types.Collection, model: HeadModel, rig: bpy.types.Object
) -> bpy.types.Object:
    """Make the head of a model in a collection, or give an earlier one its new shape.

    The mesh is in the bind pose, head frame; the rig's bones carry it into the shot. Materials,
    modifiers and whatever else was added by hand stay. `set_keys` gives it its expressions.
    """
    head = find_object(collection, "head")
    if head is None:
        head = ensure_object(collection, "head", "Mien Head", bpy.data.meshes.new("Mien Head"))
    if head.parent is None:
        head.parent = rig
    mesh = head.data
    if not _same_topology(mesh, model):
        _build_mesh(head, model)
    _set_skin(head, model, rig)
    _set_neutral(head, model)
    mesh.update()
    return head


def _same_topology(mesh: bpy.types.Mesh, model: HeadModel) -> bool:
    faces = model.faces
    if len(mesh.vertices) != len(model.neutral) or len(mesh.polygons) != len(faces):
        return False
    corners = np.empty(len(mesh.loops), np.int32)
    mesh.loops.foreach_get("vertex_index", corners)
    return np.array_equal(corners, faces.ravel())


def _build_mesh(head: bpy.types.Object, model: HeadModel) -> None:
    mesh = head.data
    if mesh.shape_keys is not None:
        head.shape_key_clear()
    mesh.clear_geometry()
    count = len(model.faces)
    mesh.vertices.add(len(model.neutral))
    mesh.loops.add(3 * count)
    mesh.polygons.add(count)
    mesh.vertices.foreach_set("co", _flat(points_to_blender(model.neutral)))
    mesh.loops.foreach_set("vertex_index", model.faces.ravel())
    mesh.polygons.foreach_set("loop_start", np.arange(0, 3 * count, 3, dtype=np.int32))
    mesh.polygons.foreach_set("use_smooth", np.ones(count, bool))
    uv_map = mesh.uv_layers.get(UV_MAP) or mesh.uv_layers.new(name=UV_MAP)
    uv_map.data.foreach_set("uv", _flat(model.uv))
    mesh.update(calc_edges=True)


def _set_skin(head: bpy.types.Object, model: HeadModel, rig: bpy.types.Object) -> None:
    armatures = [m for m in head.modifiers if m.type == "ARMATURE" and m.object in (rig, None)]
    modifier = armatures[0] if armatures else head.modifiers.new("Mien Rig", "ARMATURE")
    modifier.object = rig
    fresh = [name for name in BONES if name not in head.vertex_groups]
    if not fresh:
        return
    for joint, name in enumerate(BONES):
        group = head.vertex_groups.get(name) or head.vertex_groups.new(name=name)
        weights = model.skin_weights[:, joint]
        for weight in np.unique(weights[weights > 0]):
            vertices = np.flatnonzero(weights == weight)
            group.add(vertices.tolist(), float(weight), "REPLACE")


def _set_neutral(head: bpy.types.Object, model: HeadModel) -> None:
    neutral = _flat(points_to_blender(model.neutral))
    keys = head.data.shape_keys
    basis = keys.key_blocks[0] if keys is not None else head.shape_key_add(name=BASIS)
    basis.data.foreach_set("co", neutral)
    head.data.vertices.foreach_set("co", neutral)


def set_keys(
    head: bpy.types.Object, model: HeadModel, first: int = 0, count: int = KEYS_A_PIECE
) -> None:
    """Give a head some of the model's expressions as shape keys, from a number on."""
    blocks = head.data.shape_keys.key_blocks
    neutral = points_to_blender(model.neutral)
    offsets = points_to_blender(model.shape_keys[first : first + count])
    for name, offset in zip(model.expression_names[first:], offsets, strict=False):
        block = blocks.get(name)
        if block is None:
            block = head.shape_key_add(name=name, from_mix=False)
            block.value = 0.0
        block.data.foreach_set("co", _flat(neutral + offset))


def _flat(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, dtype=np.float32).ravel()
