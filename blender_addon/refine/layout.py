# SPDX-License-Identifier: GPL-3.0-or-later
"""The landmarks that can be pinned: their names and where they are on the mesh; knows no bpy."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..translations import iface

FILE = Path(__file__).with_name("landmarks.json")
"""Written by scripts/addon_landmarks.py."""

FEW = 68
"""The first ones of the layout, which have names: iBUG's."""

_ENDS = (17, 22, 27, 31, 36, 42, 48, 60, 68)
"""Number after the last landmark of each part."""

_NAMES = (
    "Jaw", "Right Brow", "Left Brow", "Nose", "Nostrils", "Right Eye", "Left Eye", "Outer Lip",
    "Inner Lip",
)  # fmt: skip
"""The parts; left and right are the person's own."""


_POINTS = {8: "Chin", 30: "Nose Tip", 27: "Nose Bridge", 36: "Right Eye, Outer Corner",
           39: "Right Eye, Inner Corner", 42: "Left Eye, Inner Corner",
           45: "Left Eye, Outer Corner", 48: "Right Mouth Corner", 51: "Upper Lip",
           54: "Left Mouth Corner", 57: "Lower Lip"}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Layout:
    """L landmarks as points of triangles of the mesh."""

    names: tuple[str, ...]
    """As the backend calls them, such as "ibug68/30"."""
    vertices: NDArray[np.int64]
    """(L, 3) corners."""
    weights: NDArray[np.float64]
    """(L, 3) barycentric weights of the corners."""
    n_vertices: int
    """Of the mesh."""

    def points(self, vertices: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the landmarks (L, 3) of a mesh's vertices (N, 3)."""
        return np.einsum("lc,lcx->lx", self.weights, vertices[self.vertices].astype(np.float64))

    def normals(self, vertices: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the normals (L, 3), of any length, of the triangles, outwards."""
        a, b, c = np.moveaxis(vertices[self.vertices].astype(np.float64), 1, 0)
        return np.cross(b - a, c - a)


@lru_cache(maxsize=1)
def landmarks() -> Layout:
    """Return all landmarks."""
    table = json.loads(FILE.read_text("utf-8"))
    return Layout(
        tuple(table["names"]),
        np.array(table["vertices"], np.int64),
        np.array(table["weights"], np.float64),
        int(table["n_vertices"]),
    )


def label(name: str) -> str:
    """Return a landmark's name for a person: "Nose Tip" for "ibug68/30"."""
    kind, _, digits = name.partition("/")
    number = int(digits) if digits.isdigit() else -1
    if kind == "vertex":
        return iface("Vertex {number}", number=digits)
    if kind != "ibug68":
        return iface("Point {number}", number=digits)
    if number in _POINTS:
        return iface(_POINTS[number])
    place = next((n for n, end in enumerate(_ENDS) if 0 <= number < end), None)
    if place is None:
        return iface("Point {number}", number=digits)
    return f"{iface(_NAMES[place])} {number}"


def is_name(name: str) -> bool:
    """Whether a pin can be of this point: a landmark, or a vertex such as "vertex/123"."""
    kind, _, digits = name.partition("/")
    if kind == "vertex":
        return digits.isdigit() and int(digits) < landmarks().n_vertices
    return name in landmarks().names
