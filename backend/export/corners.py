"""Meshes for formats that know one texture coordinate a vertex."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class SplitMesh:
    """A mesh whose vertices are doubled along the texture's seams."""

    vertices: NDArray[np.int64]
    """(M,) the vertex that each is a copy of; the first N are those of the mesh, in order."""
    uv: NDArray[np.float32]
    """(M, 2) texture coordinate of each."""
    faces: NDArray[np.int64]
    """(T, 3) triangles of them, in the old order."""


def split_corners(faces: NDArray[np.int32], uv: NDArray[np.float32]) -> SplitMesh:
    """Split the vertices that have more than one texture coordinate.

    faces (T, 3) vertex numbers, all of 0 to N - 1 among them; uv (T, 3, 2) of each corner.
    """
    corners = faces.ravel().astype(np.int64)
    keys = np.column_stack([corners, uv.reshape(-1, 2).view(np.int32)])
    unique, first, place = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    vertices = unique[:, 0]
    is_first = np.concatenate([[True], vertices[1:] != vertices[:-1]])
    # Each vertex's first copy keeps its number, the others follow behind.
    order = np.concatenate([np.flatnonzero(is_first), np.flatnonzero(~is_first)])
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))
    return SplitMesh(
        vertices=vertices[order],
        uv=uv.reshape(-1, 2)[first[order]],
        faces=number[place.ravel()].reshape(-1, 3),
    )


def vertex_normals(vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> NDArray[np.float32]:
    """Unit normals (N, 3) of vertices (N, 3), weighted by the area of the triangles (T, 3)."""
    a, b, c = (vertices[faces[:, corner]].astype(np.float64) for corner in range(3))
    across = np.cross(b - a, c - a)
    normals = np.zeros(vertices.shape)
    for corner in range(3):
        np.add.at(normals, faces[:, corner], across)
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    up = np.array([0.0, -1.0, 0.0])
    unit = np.where(lengths > 0, normals / np.where(lengths > 0, lengths, 1.0), up)
    return unit.astype(np.float32)
