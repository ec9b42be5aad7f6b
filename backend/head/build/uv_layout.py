"""A head-only UV layout: the body layout's islands, each moved whole into its own box."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from .source import HEAD_GROUPS, Source

# Boxes (u0, v0, u1, v1) with v up. The face gets most of the square; what is seldom seen, little.
BOXES = {
    "head": (0.006, 0.006, 0.994, 0.620),
    "neck": (0.010, 0.632, 0.400, 0.800),
    "mouth": (0.415, 0.632, 0.580, 0.760),
    "socket.L": (0.595, 0.632, 0.675, 0.740),
    "socket.R": (0.690, 0.632, 0.770, 0.740),
    "eye.L": (0.010, 0.820, 0.180, 0.990),
    "eye.R": (0.195, 0.820, 0.365, 0.990),
    "eye_back.L": (0.595, 0.752, 0.655, 0.812),
    "eye_back.R": (0.670, 0.752, 0.730, 0.812),
    "teeth_upper": (0.380, 0.900, 0.620, 0.990),
    "teeth_lower": (0.380, 0.800, 0.580, 0.890),
    "tongue": (0.640, 0.825, 0.740, 0.990),
    "lashes_lower.L": (0.760, 0.820, 0.990, 0.870),
    "lashes_upper.L": (0.760, 0.880, 0.990, 0.930),
    "lashes_lower.R": (0.790, 0.632, 0.990, 0.680),
    "lashes_upper.R": (0.790, 0.700, 0.990, 0.750),
}


def _islands(triangles_uv: np.ndarray, n_uv: int) -> np.ndarray:
    edges = np.concatenate([triangles_uv[:, [0, 1]], triangles_uv[:, [1, 2]]])
    graph = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(n_uv, n_uv))
    return connected_components(graph, directed=False)[1]


def island_names(
    source: Source, vertices: np.ndarray, triangles: np.ndarray, triangles_uv: np.ndarray
) -> np.ndarray:
    """(T,) the box name of every triangle, told from its group, its size and where it sits."""
    labels = _islands(triangles_uv, len(source.uv))[triangles_uv[:, 0]]
    group_of = np.full(len(source.vertices), "", dtype=object)
    for name in HEAD_GROUPS:
        group_of[source.groups[name][0]] = name
    names = np.full(len(triangles), "", dtype=object)
    for label in np.unique(labels):
        rows = labels == label
        group = group_of[triangles[rows][0, 0]]
        centre = vertices[triangles[rows]].mean(axis=(0, 1))
        names[rows] = _island_name(group, int(rows.sum()), centre)
    # An eyeball is two discs: the one nearer to the camera carries the iris.
    for side in ("L", "R"):
        rows = np.flatnonzero(names == f"eyeball.{side}")
        depth = vertices[triangles[rows]].mean(axis=1)[:, 2]
        by_label = {x: depth[labels[rows] == x].mean() for x in np.unique(labels[rows])}
        front = min(by_label, key=by_label.get)  # type: ignore[arg-type]
        names[rows] = np.where(labels[rows] == front, f"eye.{side}", f"eye_back.{side}")
    return names


def _island_name(group: str, size: int, centre: np.ndarray) -> str:
    side = "L" if centre[0] > 0 else "R"
    if group.startswith("helper-") and "eyelashes" in group:
        return f"lashes_{'upper' if group.endswith('2') else 'lower'}.{side}"
    if group in ("helper-l-eye", "helper-r-eye"):
        return f"eyeball.{side}"
    if group in ("helper-upper-teeth", "helper-lower-teeth"):
        return "teeth_upper" if "upper" in group else "teeth_lower"
    if group == "helper-tongue":
        return "tongue"
    if size > 4000:
        return "head"
    if abs(centre[0]) > 0.01:
        return f"socket.{side}"
    return "mouth" if centre[1] < -0.62 else "neck"


def pack(
    source: Source, triangles_uv: np.ndarray, names: np.ndarray
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Move every island into its box.

    Returns: uv (V,2) float, face_uv (T,3) index into it, and for each island the 2x3 affine map
    from the body layout to ours (training skins are carried over with it).
    """
    uv_out: list[np.ndarray] = []
    face_uv = np.zeros_like(triangles_uv)
    affine: dict[str, np.ndarray] = {}
    offset = 0
    for name, box in BOXES.items():
        rows = np.flatnonzero(names == name)
        used, inverse = np.unique(triangles_uv[rows], return_inverse=True)
        source_uv = source.uv[used]
        # The head lies on its side in the body's layout: a quarter turn puts the chin down.
        turn = np.array([[0.0, 1.0], [-1.0, 0.0]]) if name == "head" else np.eye(2)
        turned = source_uv @ turn.T
        low, high = turned.min(axis=0), turned.max(axis=0)
        scale = (np.array(box[2:]) - np.array(box[:2])) / (high - low)
        if name not in ("head",):
            scale[:] = scale.min()
        placed = (turned - low) * scale + np.array(box[:2])
        linear = np.diag(scale) @ turn
        affine[name] = np.column_stack([linear, np.array(box[:2]) - low * scale])
        uv_out.append(placed)
        face_uv[rows] = inverse.reshape(-1, 3) + offset
        offset += len(used)
    return np.concatenate(uv_out), face_uv, affine
