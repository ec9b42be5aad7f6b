# SPDX-License-Identifier: GPL-3.0-or-later
"""Named landmarks of the head's mesh, and empties that follow them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import bpy
import numpy as np
from mathutils import Vector

from ..translations import rpt
from .datablocks import ROLE

N_VERTICES = 5091
"""The mesh that the numbers below are of."""

PREFIX = "landmark:"
SIZE_M = 0.008


@dataclass(frozen=True)
class Landmark:
    """A point of the surface."""

    vertices: tuple[int, int, int]
    """Corners of its triangle."""
    weights: tuple[float, float, float]
    """Barycentric weights of the corners."""


LANDMARKS = {
    "nose_tip": Landmark((294, 1479, 3609), (0.0, 1.0, 0.0)),
    "nose_bridge": Landmark((132, 2351, 2350), (1.0, 0.0, 0.0)),
    "chin": Landmark((3058, 1721, 732), (0.0015, 0.6247, 0.3737)),
    "lip_upper": Landmark((455, 466, 2662), (0.0, 1.0, 0.0)),
    "lip_lower": Landmark((2681, 492, 1762), (0.0, 1.0, 0.0)),
    "brow_inner.L": Landmark((2383, 2397, 2424), (0.2071, 0.2035, 0.5894)),
    "brow_inner.R": Landmark((166, 209, 181), (0.2071, 0.5894, 0.2035)),
    "brow_middle.L": Landmark((2421, 2419, 2392), (0.0171, 0.5388, 0.4441)),
    "brow_middle.R": Landmark((206, 176, 204), (0.0171, 0.4441, 0.5388)),
    "brow_outer.L": Landmark((2426, 2427, 2406), (0.064, 0.6673, 0.2687)),
    "brow_outer.R": Landmark((211, 190, 212), (0.064, 0.2687, 0.6673)),
    "eye_inner.L": Landmark((3259, 3232, 3233), (0.0, 1.0, 0.0)),
    "eye_inner.R": Landmark((1126, 1099, 1125), (0.0, 1.0, 0.0)),
    "eye_outer.L": Landmark((3244, 3219, 3218), (0.0, 0.0, 1.0)),
    "eye_outer.R": Landmark((1111, 1085, 1086), (0.0, 1.0, 0.0)),
    "mouth_corner.L": Landmark((2624, 3540, 3541), (0.3514, 0.097, 0.5516)),
    "mouth_corner.R": Landmark((424, 1408, 1407), (0.3514, 0.5516, 0.097)),
    "ear.L": Landmark((3961, 3955, 3977), (0.0, 0.0, 1.0)),
    "ear.R": Landmark((1848, 1870, 1864), (0.0, 0.0, 1.0)),
}
"""By name; left and right are the subject's own."""


def update_landmarks(
    collection: bpy.types.Collection, head: bpy.types.Object, names: Iterable[str]
) -> list[bpy.types.Object]:
    """Have an empty on each of these landmarks, and none on the others; returns them.

    An empty is a child of the mesh by the three corners of its triangle, so that it follows
    shape keys and bones and turns with the skin; nothing is keyed. Raises ValueError for a name
    that is none, and for another mesh.
    """
    wanted = list(names)
    unknown = [name for name in wanted if name not in LANDMARKS]
    if unknown:
        raise ValueError(
            rpt(
                "There is no landmark {first}; there are {names}.",
                first=unknown[0],
                names=", ".join(LANDMARKS),
            )
        )
    if len(head.data.vertices) != N_VERTICES:
        raise ValueError("The landmarks of this head are not known: its mesh was changed.")
    there = {o[ROLE]: o for o in collection.objects if str(o.get(ROLE, "")).startswith(PREFIX)}
    for role, empty in there.items():
        if role.removeprefix(PREFIX) not in wanted:
            bpy.data.objects.remove(empty)
    empties = []
    for name in wanted:
        empty = there.get(PREFIX + name)
        if empty is None:
            empty = bpy.data.objects.new(f"Mien {name}", None)
            empty[ROLE] = PREFIX + name
            empty.empty_display_type, empty.empty_display_size = "SPHERE", SIZE_M
            collection.objects.link(empty)
        empty.parent, empty.parent_type = head, "VERTEX_3"
        empty.parent_vertices = LANDMARKS[name].vertices
        empty.matrix_parent_inverse.identity()
        empty.matrix_basis.identity()
        empties.append(empty)
    _place(head, dict(zip(wanted, empties, strict=True)))
    return empties


def _place(head: bpy.types.Object, empties: dict[str, bpy.types.Object]) -> None:
    """Move each empty from the origin of its triangle to its own point on it."""
    bpy.context.view_layer.update()
    graph = bpy.context.evaluated_depsgraph_get()
    shown = head.evaluated_get(graph)
    vertices, matrix = shown.data.vertices, shown.matrix_world
    for name, empty in empties.items():
        landmark = LANDMARKS[name]
        corners = np.array([vertices[number].co for number in landmark.vertices])
        point = matrix @ Vector(np.array(landmark.weights) @ corners)
        empty.location = empty.evaluated_get(graph).matrix_world.inverted() @ point
