# SPDX-License-Identifier: GPL-3.0-or-later
"""The head's material: the texture as filmed or under the scene's lights, and visibility."""

from __future__ import annotations

import bpy

from .datablocks import ROLE
from .visibility import SEEN, VISIBLE

TEXTURE_NODE = "Mien Texture"
ALBEDO_NODE = "Mien Albedo"
SEQUENCE_NODE = "Mien Sequence"
RELIGHT_NODE = "Mien Relight"
USE_ALBEDO_NODE = "Mien Use Albedo"
USE_SEQUENCE_NODE = "Mien Use Sequence"
SHOW_ALPHA_NODE = "Mien Show Alpha"
SHOW_VISIBLE_NODE = "Mien Show Visible"
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


def image_node(head: bpy.types.Object, name: str) -> bpy.types.ShaderNodeTexImage | None:
    """Return the image node of a name, such as TEXTURE_NODE, of Mien's material on a head."""
    material = ensure_material(head)
    return None if material is None else material.node_tree.nodes.get(name)


def set_texture(head: bpy.types.Object, image: bpy.types.Image) -> None:
    """Show a texture, which has alpha, on the head."""
    node = image_node(head, TEXTURE_NODE)
    if node is None:
        return
    nodes = node.id_data.nodes
    is_first = node.image is None
    node.image = image
    image[ROLE] = "texture"
    if is_first and RELIGHT_NODE in nodes:
        nodes[RELIGHT_NODE].outputs[0].default_value = 0.0
        if "Mien Base" in nodes:
            base = nodes["Principled BSDF"].inputs["Base Color"]
            node.id_data.links.new(_socket(nodes["Mien Base"].outputs, "Result_Color"), base)


def set_albedo(head: bpy.types.Object, image: bpy.types.Image | None) -> None:
    """Use another texture under the scene's lights, one without the shot's shading.

    None where there is none: the texture serves for both.
    """
    node = image_node(head, ALBEDO_NODE)
    use = None if node is None else node.id_data.nodes.get(USE_ALBEDO_NODE)
    if node is None or use is None:
        return
    use.outputs[0].default_value = 0.0 if image is None else 1.0
    if image is not None:
        node.image = image
        image[ROLE] = "albedo"


def set_sequence(head: bpy.types.Object, first_file: str, first: int, count: int) -> bool:
    """Show the texture of every frame: files that `mien bake --sequence` has written.

    first_file: path of the first, first: its number, which is the scene's frame; count: how many
    follow without a gap. Returns False where the material has no place for them.
    """
    material = ensure_material(head)
    node = None if material is None else material.node_tree.nodes.get(SEQUENCE_NODE)
    if material is None or node is None:
        return False
    image = bpy.data.images.load(first_file, check_existing=True)
    image.source = "SEQUENCE"
    image.alpha_mode = "CHANNEL_PACKED"
    image[ROLE] = "sequence"
    node.image = image
    user = node.image_user
    # The file's number is the frame's: number = frame - frame_start + 1 + frame_offset.
    user.frame_start, user.frame_offset, user.frame_duration = first, first - 1, count
    user.use_auto_refresh = True
    material.node_tree.nodes[USE_SEQUENCE_NODE].outputs[0].default_value = 1.0
    return True


def find_value(head: bpy.types.Object, name: str) -> bpy.types.NodeSocket | None:
    """Return the value of one of the material's value nodes, by the node's name."""
    for material in head.data.materials:
        if material is not None and material.get(ROLE) == "material":
            node = material.node_tree.nodes.get(name)
            return node.outputs[0] if node is not None else None
    return None


def find_relight(head: bpy.types.Object) -> bpy.types.NodeSocket | None:
    """Return the value that goes from as filmed (0) to the scene's lights (1)."""
    return find_value(head, RELIGHT_NODE)


def _socket(sockets: bpy.types.bpy_prop_collection, identifier: str) -> bpy.types.NodeSocket:
    """Return a socket by its identifier; several of a mix node have the same name."""
    return next(socket for socket in sockets if socket.identifier == identifier)


def _build_nodes(tree: bpy.types.NodeTree) -> None:
    nodes, links = tree.nodes, tree.links
    nodes.clear()

    def add(kind: str, name: str, x: float, y: float, label: str = "") -> bpy.types.Node:
        node = nodes.new(kind)
        node.name, node.label, node.location = name, label, (x, y)
        return node

    def value(name: str, x: float, y: float, label: str) -> bpy.types.NodeSocket:
        output = add("ShaderNodeValue", name, x, y, label).outputs[0]
        output.default_value = 0.0
        return output

    def mix(
        name: str, x: float, y: float, factor: bpy.types.NodeSocket,
        first: bpy.types.NodeSocket, second: bpy.types.NodeSocket,
    ) -> bpy.types.NodeSocket:  # fmt: skip
        node = add("ShaderNodeMix", name, x, y)
        node.data_type = "RGBA"
        # Sockets of all types are there; these are the colour's.
        links.new(factor, _socket(node.inputs, "Factor_Float"))
        links.new(first, _socket(node.inputs, "A_Color"))
        links.new(second, _socket(node.inputs, "B_Color"))
        return _socket(node.outputs, "Result_Color")

    texture = add("ShaderNodeTexImage", TEXTURE_NODE, -1100, 200, "Texture merged from the clip")
    albedo = add("ShaderNodeTexImage", ALBEDO_NODE, -1100, -100, "Texture without the clip's light")
    sequence = add("ShaderNodeTexImage", SEQUENCE_NODE, -1100, 500, "Texture of every frame")
    relight = value(RELIGHT_NODE, -300, 420, "Relight: 0 as filmed, 1 by lights")
    # Until there is a texture, a plain skin under the scene's lights shows the shape.
    relight.default_value = 1.0
    use_sequence = value(USE_SEQUENCE_NODE, -1100, 620, "1: the texture of every frame")
    use_albedo = value(USE_ALBEDO_NODE, -1100, -420, "1: relight without the clip's light")
    filmed = mix(
        "Mien Filmed", -760, 360, use_sequence, texture.outputs["Color"], sequence.outputs["Color"]
    )
    mix("Mien Base", -540, 160, use_albedo, filmed, albedo.outputs["Color"])
    emission = add("ShaderNodeEmission", "Emission", -300, 320, "As filmed")
    links.new(filmed, emission.inputs["Color"])
    shader = add("ShaderNodeBsdfPrincipled", "Principled BSDF", -300, 160)
    shader.inputs["Base Color"].default_value = SKIN_COLOUR
    shader.inputs["Roughness"].default_value = 0.55
    lit = add("ShaderNodeMixShader", "Mien Mix", 60, 320)
    attributes = {}
    for name, label, y in (
        (SEEN, "Share of frames in which it was seen", -520),
        (VISIBLE, "Visible in this frame", -720),
    ):
        attribute = add("ShaderNodeAttribute", name, -1100, y, label)
        attribute.attribute_type = "GEOMETRY"
        attribute.attribute_name = name
        attributes[name] = attribute
    links.new(relight, lit.inputs[0])
    links.new(emission.outputs[0], lit.inputs[1])
    links.new(shader.outputs[0], lit.inputs[2])

    shown = lit.outputs[0]
    alpha = mix("Mien Which Alpha", -540, 560, use_sequence, texture.outputs["Alpha"],
                sequence.outputs["Alpha"])  # fmt: skip
    for name, label, source, x in (
        (SHOW_ALPHA_NODE, "1: white where measured, darker where completed", alpha, 260),
        (SHOW_VISIBLE_NODE, "1: white where the camera sees it", attributes[VISIBLE].outputs["Fac"],
         460),
    ):  # fmt: skip
        switch = value(name, x, 520, label)
        plain = add("ShaderNodeEmission", f"{name} Colour", x, 180)
        links.new(source, plain.inputs["Color"])
        over = add("ShaderNodeMixShader", f"{name} Mix", x + 20, 340)
        links.new(switch, over.inputs[0])
        links.new(shown, over.inputs[1])
        links.new(plain.outputs[0], over.inputs[2])
        shown = over.outputs[0]
    output = add("ShaderNodeOutputMaterial", "Material Output", 720, 320)
    links.new(shown, output.inputs["Surface"])
