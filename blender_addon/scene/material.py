# SPDX-License-Identifier: GPL-3.0-or-later
"""The head's material: the texture as filmed or under the scene's lights, and visibility."""

from __future__ import annotations

import bpy
import numpy as np
from numpy.typing import NDArray

from .datablocks import ROLE
from .images import update_image
from .visibility import SEEN, VISIBLE

TEXTURE_NODE = "Mien Texture"
RELIGHT_NODE = "Mien Relight"
SKIN_COLOUR = (0.55, 0.36, 0.28, 1.0)


def ensure_material(head: bpy.types.Object) -> bpy.types.Material | None:
    """Return Mien's material on a head, made where the head has no material at all."""
    mesh = head.data
    for material in mesh.materials:
        if material is not None and material.get(ROLE) == "material":
            return material
    if len(mesh.materials):
        return None
    material = bpy.data.materials.new("Mien Head")
    material[ROLE] = "material"
    material.diffuse_color = SKIN_COLOUR
    if material.node_tree is None:
        material.use_nodes = True
    _build_nodes(material.node_tree)
    mesh.materials.append(material)
    return material


def set_texture(head: bpy.types.Object, texture: NDArray[np.uint8]) -> bpy.types.Image | None:
    """Show a texture (H, W, 4), first row at the top, on the head."""
    material = ensure_material(head)
    if material is None:
        return None
    nodes = material.node_tree.nodes
    node = nodes.get(TEXTURE_NODE)
    if node is None:
        return None
    is_first = node.image is None
    node.image = update_image(node.image, "Mien Texture", texture, is_data=False)
    node.image[ROLE] = "texture"
    if is_first:
        shader = nodes["Principled BSDF"]
        material.node_tree.links.new(node.outputs["Color"], shader.inputs["Base Color"])
        material.node_tree.links.new(node.outputs["Color"], nodes["Emission"].inputs["Color"])
        nodes[RELIGHT_NODE].outputs[0].default_value = 0.0
    return node.image


def find_relight(head: bpy.types.Object) -> bpy.types.NodeSocket | None:
    """Return the value that goes from as filmed (0) to the scene's lights (1)."""
    for material in head.data.materials:
        if material is not None and material.get(ROLE) == "material":
            node = material.node_tree.nodes.get(RELIGHT_NODE)
            return node.outputs[0] if node is not None else None
    return None


def _build_nodes(tree: bpy.types.NodeTree) -> None:
    nodes, links = tree.nodes, tree.links
    nodes.clear()

    def add(kind: str, name: str, x: float, y: float, label: str = "") -> bpy.types.Node:
        node = nodes.new(kind)
        node.name, node.label, node.location = name, label, (x, y)
        return node

    add("ShaderNodeTexImage", TEXTURE_NODE, -700, 200, "Texture merged from the clip")
    relight = add("ShaderNodeValue", RELIGHT_NODE, -300, 420, "Relight: 0 as filmed, 1 by lights")
    # Until there is a texture, a plain skin under the scene's lights shows the shape.
    relight.outputs[0].default_value = 1.0
    emission = add("ShaderNodeEmission", "Emission", -300, 320, "As filmed")
    shader = add("ShaderNodeBsdfPrincipled", "Principled BSDF", -300, 160)
    shader.inputs["Base Color"].default_value = SKIN_COLOUR
    shader.inputs["Roughness"].default_value = 0.55
    mix = add("ShaderNodeMixShader", "Mien Mix", 60, 320)
    output = add("ShaderNodeOutputMaterial", "Material Output", 260, 320)
    for name, label, y in (
        (SEEN, "Share of frames in which it was seen", -120),
        (VISIBLE, "Visible in this frame", -320),
    ):
        attribute = add("ShaderNodeAttribute", name, -700, y, label)
        attribute.attribute_type = "GEOMETRY"
        attribute.attribute_name = name
    links.new(relight.outputs[0], mix.inputs[0])
    links.new(emission.outputs[0], mix.inputs[1])
    links.new(shader.outputs[0], mix.inputs[2])
    links.new(mix.outputs[0], output.inputs["Surface"])
