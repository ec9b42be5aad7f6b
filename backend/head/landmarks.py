"""Landmark layouts: named points on the head's surface, as barycentric points of its triangles."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from backend.errors import BadInputError

LAYOUTS = ("ibug68", "dense320", "dense703", "all")
HEAD_FILE = Path(__file__).parent / "assets" / "head.npz"


@dataclass(frozen=True)
class LandmarkLayout:
    """Points on the surface; the layouts are nested (68 in 320 in 703)."""

    name: str
    names: tuple[str, ...]
    """One name a point, such as ``ibug68/36`` or ``dense320/101``."""
    triangles: np.ndarray
    """(L,) int64 index into the head's faces."""
    barycentric: np.ndarray
    """(L,3) float64 weights of the triangle's corners."""
    vertices: np.ndarray
    """(L,3) int64 vertex indices of the triangle's corners."""
    mirror: np.ndarray
    """(L,) int64 index of the point on the other side."""

    def __len__(self) -> int:
        return len(self.triangles)


@lru_cache(maxsize=8)
def layout(name: str, path: Path = HEAD_FILE) -> LandmarkLayout:
    """A layout of the shipped head by name.

    Raises: BadInputError for an unknown name.
    """
    if name not in LAYOUTS:
        raise BadInputError(f"unknown landmark layout {name!r}; choose one of {', '.join(LAYOUTS)}")
    with np.load(path) as data:
        faces = data["faces"].astype(np.int64)
        triangle = data["landmark_triangle"].astype(np.int64)
        barycentric = data["landmark_barycentric"].astype(np.float64)
        mirror = data["landmark_mirror"].astype(np.int64)
        if name == "all":
            return _every_vertex(faces, data["mirror"].astype(np.int64))
    count = int(name[-3:]) if name != "ibug68" else 68
    names = tuple(
        f"ibug68/{i}" if i < 68 else f"dense320/{i}" if i < 320 else f"dense703/{i}"
        for i in range(count)
    )
    triangle, barycentric = triangle[:count], barycentric[:count]
    return LandmarkLayout(name, names, triangle, barycentric, faces[triangle], mirror[:count])


def _every_vertex(faces: np.ndarray, mirror: np.ndarray) -> LandmarkLayout:
    count = int(faces.max()) + 1
    triangle = np.zeros(count, dtype=np.int64)
    corner = np.zeros(count, dtype=np.int64)
    for k in (2, 1, 0):
        triangle[faces[:, k]] = np.arange(len(faces))
        corner[faces[:, k]] = k
    names = tuple(f"vertex/{i}" for i in range(count))
    return LandmarkLayout("all", names, triangle, np.eye(3)[corner], faces[triangle], mirror)
