# SPDX-License-Identifier: GPL-3.0-or-later
"""Which vertices the camera sees, as attributes that a material can use.

`mien_seen` is stored on the mesh: the share of frames in which a vertex was seen. `mien_visible`
is made for the current frame by a geometry nodes modifier out of an image with one column for
each vertex and one row for each frame: without Python, so that a farm renders it. The vertex group
`Mien Seen` holds what was seen in at least some share of the frames.
"""

from __future__ import annotations

import bpy
import numpy as np
from numpy.typing import NDArray

from .datablocks import ROLE

SEEN = "mien_seen"
VISIBLE = "mien_visible"
MODIFIER = "Mien Visibility"
GROUP = "Mien Seen"
PERCENT = "mien_seen_percent"
IMAGE = "mien_visibility"
"""Custom property of the head: the picture of all frames."""

MAX_ROWS = 8192
"""Frames that the image can hold, a size that every graphics card takes."""


def rows_image(head: bpy.types.Object) -> bpy.types.Image | None:
    """Return the picture of `visibility_rows` that a head has, if there is one yet."""
    modifier = head.modifiers.get(MODIFIER)
    image = None if modifier is None else _image_of(modifier.node_group)
    return image or head.get(IMAGE)


def set_rows(head: bpy.types.Object, image: bpy.types.Image) -> None:
    """Give a head the picture; the modifier that looks it up comes with `set_visibility`."""
    head[IMAGE] = image


def set_visibility(
    head: bpy.types.Object, share: NDArray[np.float32], frames: NDArray[np.int64]
) -> None:
    """Look the picture of `set_rows` up in scene frames (F,), ascending.

    share (N,): of all frames, in which each vertex was seen.
    """
    mesh = head.data
    attribute = mesh.attributes.get(SEEN)
    if attribute is None:
        attribute = mesh.attributes.new(SEEN, "FLOAT", "POINT")
    attribute.data.foreach_set("value", np.asarray(share, np.float32))
    # Blender 4.2 goes on showing the old values of an attribute unless it is told.
    mesh.update_tag()
    update_seen_group(head, float(head.get(PERCENT, 50.0)))

    modifier = head.modifiers.get(MODIFIER)
    if modifier is None:
        modifier = head.modifiers.new(MODIFIER, "NODES")
        modifier.show_expanded = False
    if modifier.node_group is None:
        modifier.node_group = bpy.data.node_groups.new("Mien Visibility", "GeometryNodeTree")
        modifier.node_group[ROLE] = "visibility"
        _build_nodes(modifier.node_group)
    nodes = modifier.node_group.nodes
    if "Image" not in nodes:
        return
    nodes["Image"].inputs["Image"].default_value = head.get(IMAGE)
    height = min(int(frames[-1] - frames[0]) + 1, MAX_ROWS)
    nodes["Column"].inputs[1].default_value = len(share)
    nodes["First Frame"].inputs[1].default_value = float(frames[0])
    nodes["Row"].inputs[1].default_value = height


def _image_of(tree: bpy.types.NodeTree | None) -> bpy.types.Image | None:
    """Return the picture that the nodes look up, if there is one yet."""
    if tree is None or "Image" not in tree.nodes:
        return None
    return tree.nodes["Image"].inputs["Image"].default_value


def update_seen_group(head: bpy.types.Object, percent: float) -> int:
    """Fill the vertex group `Mien Seen` with what was seen in at least that many of 100 frames.

    Returns how many vertices it holds; 0 where nothing is known of the visibility.
    """
    attribute = head.data.attributes.get(SEEN)
    if attribute is None:
        return 0
    share = np.empty(len(attribute.data), np.float32)
    attribute.data.foreach_get("value", share)
    head[PERCENT] = percent
    group = head.vertex_groups.get(GROUP) or head.vertex_groups.new(name=GROUP)
    group.remove(range(len(share)))
    # Half a frame of tolerance would be too much in a short shot; rounding is not.
    seen = np.flatnonzero(share >= percent / 100 - 1e-6)
    group.add(seen.tolist(), 1.0, "REPLACE")
    return len(seen)


def visibility_rows(visibility: NDArray[np.uint8], frames: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return visibility (F, N), 0 to 255, as grey pixels (rows, N): the first frame is lowest."""
    rows = np.minimum(frames - frames[0], MAX_ROWS - 1)
    pixels = np.zeros((int(rows[-1]) + 1, visibility.shape[1]), np.uint8)
    pixels[rows[-1] - rows] = visibility
    # Frames that are left out have what the one before them has.
    for row in np.setdiff1d(np.arange(len(pixels)), rows):
        pixels[rows[-1] - row] = pixels[rows[-1] - row + 1]
    return pixels


def _build_nodes(tree: bpy.types.NodeTree) -> None:
    """Build: look up column = vertex index, row = current frame, in the image."""
    nodes, links = tree.nodes, tree.links
    tree.interface.new_socket("Geometry", in_out="INPUT", socket_type="NodeSocketGeometry")
    tree.interface.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")

    def math(operation: str, name: str, x: float, y: float, value: float) -> bpy.types.Node:
        node = nodes.new("ShaderNodeMath")
        node.operation, node.name, node.label, node.location = operation, name, name, (x, y)
        node.inputs[1].default_value = value
        return node

    def add(kind: str, name: str, x: float, y: float) -> bpy.types.Node:
        node = nodes.new(kind)
        node.name, node.location = name, (x, y)
        return node

    source = add("NodeGroupInput", "Input", 200, 300)
    index = add("GeometryNodeInputIndex", "Index", -600, 100)
    time = add("GeometryNodeInputSceneTime", "Time", -800, -100)
    half_column = math("ADD", "Column Centre", -400, 100, 0.5)
    column = math("DIVIDE", "Column", -200, 100, 1.0)
    first = math("SUBTRACT", "First Frame", -600, -100, 0.0)
    half_row = math("ADD", "Row Centre", -400, -100, 0.5)
    row = math("DIVIDE", "Row", -200, -100, 1.0)
    place = add("ShaderNodeCombineXYZ", "Place", 0, 0)
    image = add("GeometryNodeImageTexture", "Image", 200, 0)
    image.interpolation, image.extension = "Closest", "EXTEND"
    store = add("GeometryNodeStoreNamedAttribute", "Store", 480, 200)
    store.data_type, store.domain = "FLOAT", "POINT"
    store.inputs["Name"].default_value = VISIBLE
    output = add("NodeGroupOutput", "Output", 700, 200)

    links.new(index.outputs[0], half_column.inputs[0])
    links.new(half_column.outputs[0], column.inputs[0])
    links.new(time.outputs["Frame"], first.inputs[0])
    links.new(first.outputs[0], half_row.inputs[0])
    links.new(half_row.outputs[0], row.inputs[0])
    links.new(column.outputs[0], place.inputs[0])
    links.new(row.outputs[0], place.inputs[1])
    links.new(place.outputs[0], image.inputs["Vector"])
    links.new(source.outputs[0], store.inputs["Geometry"])
    value = next(s for s in store.inputs if s.name == "Value" and s.enabled)
    links.new(image.outputs["Color"], value)
    links.new(store.outputs[0], output.inputs[0])
