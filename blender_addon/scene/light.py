# SPDX-License-Identifier: GPL-3.0-or-later
"""The shot's light as a world of the scene."""

from __future__ import annotations

import bpy
import numpy as np
from numpy.typing import NDArray

from ..light import environment
from .datablocks import ROLE

LIGHTING = "mien_lighting"


def store_lighting(head: bpy.types.Object, lighting: NDArray[np.float32]) -> None:
    """Keep the shot's light (9, 3) with the head."""
    head[LIGHTING] = np.asarray(lighting, np.float64).ravel().tolist()


def has_lighting(head: bpy.types.Object) -> bool:
    """Whether the light of the shot is known."""
    return len(head.get(LIGHTING, ())) == 27


def use_lighting(scene: bpy.types.Scene, head: bpy.types.Object) -> bpy.types.World:
    """Light the scene as the shot was: a world with an environment picture. The old world stays."""
    shading = np.array(head[LIGHTING][:], np.float32).reshape(9, 3)
    pixels = environment(shading)
    height, width = pixels.shape[:2]
    world = next((w for w in bpy.data.worlds if w.get(ROLE) == "light"), None)
    if world is None:
        world = bpy.data.worlds.new("Mien Light")
        world[ROLE] = "light"
        if world.node_tree is None:
            world.use_nodes = True
        tree = world.node_tree
        tree.nodes.clear()
        texture = tree.nodes.new("ShaderNodeTexEnvironment")
        background = tree.nodes.new("ShaderNodeBackground")
        output = tree.nodes.new("ShaderNodeOutputWorld")
        texture.name, texture.location = "Mien Light", (-300, 0)
        output.location = (220, 0)
        tree.links.new(texture.outputs["Color"], background.inputs["Color"])
        tree.links.new(background.outputs[0], output.inputs["Surface"])
    node = world.node_tree.nodes["Mien Light"]
    if node.image is None:
        node.image = bpy.data.images.new("Mien Light", width, height, float_buffer=True)
        # Linear light, by the name that Blender 4 and 5 both know.
        node.image.colorspace_settings.name = "Linear Rec.709"
    node.image.pixels.foreach_set(pixels.ravel())
    node.image.update()
    node.image.pack()
    scene.world = world
    return world
