"""The local library of training assets: meshes bound to the MakeHuman base mesh, skins, light.

One compressed npz file that `python -m backend.train.assets_build` writes and that is never
committed. Images stay encoded inside the file and are decoded on request.

Frames: bound meshes follow whatever frame the caller's base vertices are in; their offsets are
stored in the frame of PyPI `anny` (metres, x to the subject's left, face toward -y, z up), which
is 0.1 * (x, -z, y) of the MakeHuman obj in decimetres. UVs have v up and lie in [0, 1]; the first
row of an image is v = 1.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

FORMAT_VERSION = 1
N_BASE_VERTICES = 19158
CATEGORIES = (
    "hair", "eyebrows", "eyelashes", "beard", "glasses", "hat", "clothes", "eyes", "teeth",
    "tongue", "body",
)  # fmt: skip
# Expressions move these; everything else is rigid enough to be placed on the neutral face.
FOLLOWS_EXPRESSION = frozenset({"eyebrows", "eyelashes", "beard", "eyes", "teeth", "tongue"})
# Pairs of base vertices whose distances size the offsets of a bound mesh along obj x, y and z
# (MakeHuman's x_scale, y_scale, z_scale). The y pair runs from the nose bridge to the crown
# instead of from under the chin, so that an opening jaw does not grow a hat.
HEAD_SCALE_PAIRS = np.array([[5399, 11998], [131, 881], [962, 5320]], dtype=np.int64)
# Columns: obj x, y, z expressed in anny's frame (obj y is anny z, obj z is anny -y).
# What glasses are placed by: eyeballs, nose bridge, sides of the brow, ear tops (left, right).
EYE_VERTICES = (np.arange(14598, 14670), np.arange(14670, 14742))
BRIDGE_VERTEX = 132
TEMPLE_VERTICES = np.array([7033, 264], dtype=np.int64)
EAR_VERTICES = np.array([7577, 872], dtype=np.int64)
ANNY_FROM_OBJ = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])

Array = NDArray[Any]


def anny_from_obj(points: Array) -> Array:
    """Points of the MakeHuman obj in anny's frame.

    points (..., 3): decimetres, y up, face toward +z. Returns (..., 3) metres, z up, face
    toward -y.
    """
    metres: Array = 0.1 * (np.asarray(points) @ ANNY_FROM_OBJ.T)
    return metres


@dataclass(frozen=True)
class Picture:
    """An encoded image with a name."""

    name: str
    encoded: Array = field(repr=False)  # (n,) uint8, PNG, JPEG or WebP

    def decode(self, max_size: int | None = None) -> Array:
        """The image as (H, W, 3) RGB or (H, W, 4) RGBA uint8, its longer side at most max_size.

        Raises ValueError if the bytes are no image.
        """
        image = cv2.imdecode(self.encoded, cv2.IMREAD_UNCHANGED)
        if image is None:
            raise ValueError(f"picture {self.name!r} does not decode")
        if image.ndim == 2:
            image = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
        elif image.shape[2] == 3:
            image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        else:
            image = cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA)
        scale = 1.0 if max_size is None else max_size / max(image.shape[:2])
        if scale < 1.0:
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray(image)


@dataclass(frozen=True)
class BoundMesh:
    """A textured mesh whose vertices hang on triples of base-mesh vertices.

    vertex = sum_k weights[k] * base[reference[k]] + rotation @ (scale * offset). Vertices are
    split along UV seams: `uv` is per vertex and one index buffer serves both; `source_vertex`
    joins the copies again (for smooth normals).
    """

    name: str
    category: str
    tags: tuple[str, ...]
    notice: str  # key of AssetLibrary.notices
    reference: Array = field(repr=False)  # (n, 3) int64 into the library's compact base vertices
    base_reference: Array = field(repr=False)  # (n, 3) int64 into the 19,158 base vertices
    weights: Array = field(repr=False)  # (n, 3) float32, rows sum to 1
    offsets: Array = field(repr=False)  # (n, 3) float32 metres, anny's frame
    triangles: Array = field(repr=False)  # (t, 3) int64, counter-clockwise seen from outside
    uv: Array = field(repr=False)  # (n, 2) float32, v up
    source_vertex: Array = field(repr=False)  # (n,) int64 index of the unsplit vertex
    textures: tuple[Picture, ...]  # interchangeable colourings
    scale_pairs: Array = field(repr=False)  # (3, 2) int64 compact indices, obj x, y, z
    scale_template: Array = field(repr=False)  # (3,) metres: those distances on the template
    hides: Array = field(repr=False)  # (h,) int64 base vertices (of 19,158) covered by the mesh

    @property
    def follows_expression(self) -> bool:
        """Whether to place the mesh on the expressive face rather than on the neutral one."""
        return self.category in FOLLOWS_EXPRESSION

    def offset_scale(self, base_vertices: Array) -> Array:
        """Size of a head against the template along anny's axes.

        base_vertices (..., M, 3): compact base vertices, metres. Returns (..., 3).
        """
        ends = base_vertices[..., self.scale_pairs, :]
        lengths = np.linalg.norm(ends[..., 0, :] - ends[..., 1, :], axis=-1)
        ratio: Array = (lengths / self.scale_template)[..., [0, 2, 1]]
        return ratio

    def visible_triangles(self, worn: tuple[BoundMesh, ...]) -> Array:
        """Triangles (t, 3) of this mesh that stay when other meshes cover it.

        Meant for the body under clothes: a triangle goes when all its corners hang on vertices
        that a worn mesh hides, which keeps skin from poking through cloth.
        """
        hidden = np.zeros(N_BASE_VERTICES, dtype=bool)
        for mesh in worn:
            hidden[mesh.hides] = True
        covered = hidden[self.base_reference[:, 0]][self.triangles].all(axis=1)
        left: Array = self.triangles[~covered]
        return left

    def positions(self, base_vertices: Array, rotation: Array | None = None) -> Array:
        """Vertices of the mesh on the given heads.

        base_vertices (..., M, 3): metres, the rows of `required_base_vertices()` in their order,
        in any frame. rotation (..., 3, 3): turns anny's frame into that frame; None when the
        base vertices are in anny's frame. Returns (..., n, 3) metres in the same frame.
        """
        base_vertices = np.asarray(base_vertices)
        if base_vertices.shape[-1] != 3:
            raise ValueError(f"base_vertices must be (..., M, 3), not {base_vertices.shape}")
        corners = base_vertices[..., self.reference, :]
        points = np.einsum("...nkc,nk->...nc", corners, self.weights)
        offsets = self.offsets * self.offset_scale(base_vertices)[..., None, :]
        if rotation is not None:
            offsets = offsets @ np.swapaxes(np.asarray(rotation), -1, -2)
        placed: Array = points + offsets
        return placed


@dataclass(frozen=True)
class Environment:
    """Light from all directions.

    Equirectangular in the camera's axes (x right, y down, z forward): column u in [0, 1] is the
    azimuth (u - 0.5) * 2 pi from +z toward +x, row v in [0, 1] the elevation (0.5 - v) * pi.
    """

    name: str
    radiance: Array = field(repr=False)  # (32, 64, 3) float16 linear, mean luminance 1
    sh: Array = field(repr=False)  # (9, 3) float32, real spherical harmonics, bands 0 to 2
    background: Picture  # 256 x 128 sRGB


@dataclass(frozen=True)
class AssetLibrary:
    """Everything that a renderer of training faces needs, read from one file."""

    meshes: tuple[BoundMesh, ...]
    skins: tuple[Picture, ...]  # in MakeHuman's body UV layout
    environments: tuple[Environment, ...]
    backgrounds: tuple[Picture, ...]  # photographs and textures without a face
    notices: dict[str, str]
    _base_indices: Array = field(repr=False)

    def required_base_vertices(self) -> Array:
        """Indices (M,) int64, sorted, into the 19,158 base vertices that the meshes hang on."""
        return self._base_indices

    def compact_index(self, base_indices: Array) -> Array:
        """Rows of the compact base vertices for indices into the 19,158; same shape.

        Raises KeyError for a vertex that is not among the required ones.
        """
        wanted = np.asarray(base_indices)
        rows = np.searchsorted(self._base_indices, wanted)
        rows = np.minimum(rows, len(self._base_indices) - 1)
        if (self._base_indices[rows] != wanted).any():
            raise KeyError("a base vertex is not among the required ones")
        return rows

    def of(self, category: str) -> tuple[BoundMesh, ...]:
        """All meshes of a category; raises ValueError for a category that does not exist."""
        if category not in CATEGORIES:
            raise ValueError(f"unknown category {category!r}; known: {', '.join(CATEGORIES)}")
        return tuple(mesh for mesh in self.meshes if mesh.category == category)

    def mesh(self, name: str) -> BoundMesh:
        """The mesh with this name; raises KeyError."""
        for mesh in self.meshes:
            if mesh.name == name:
                return mesh
        raise KeyError(name)

    @classmethod
    def load(cls, path: Path | str) -> AssetLibrary:
        """Read a library.

        Raises FileNotFoundError, and ValueError for a file of another kind or version.
        """
        with np.load(path) as archive:
            if "manifest" not in archive:
                raise ValueError(f"{path} is no asset library")
            manifest = json.loads(archive["manifest"].tobytes())
            if manifest["version"] != FORMAT_VERSION:
                raise ValueError(f"{path} has version {manifest['version']}, not {FORMAT_VERSION}")
            arrays = {key: archive[key] for key in archive.files if key != "manifest"}
        return _assemble(manifest, arrays)


def _assemble(manifest: dict[str, Any], arrays: dict[str, Array]) -> AssetLibrary:
    pictures = {
        key: Picture(name, arrays["bytes"][start:end])
        for key, (name, start, end) in manifest["pictures"].items()
    }
    used = [arrays[f"mesh.{i}.reference"].ravel() for i in range(len(manifest["meshes"]))]
    places = [HEAD_SCALE_PAIRS.ravel(), *EYE_VERTICES, [BRIDGE_VERTEX], TEMPLE_VERTICES]
    indices = np.unique(np.concatenate([*used, *places, EAR_VERTICES])).astype(np.int64)
    compact = np.full(N_BASE_VERTICES, -1, dtype=np.int64)
    compact[indices] = np.arange(len(indices))
    meshes = []
    for i, entry in enumerate(manifest["meshes"]):
        reference = arrays[f"mesh.{i}.reference"].astype(np.int64)
        meshes.append(
            BoundMesh(
                name=entry["name"],
                category=entry["category"],
                tags=tuple(entry["tags"]),
                notice=entry["notice"],
                reference=compact[reference],
                base_reference=reference,
                weights=arrays[f"mesh.{i}.weights"].astype(np.float32),
                offsets=arrays[f"mesh.{i}.offsets"].astype(np.float32),
                triangles=arrays[f"mesh.{i}.triangles"].astype(np.int64),
                uv=arrays[f"mesh.{i}.uv"].astype(np.float32),
                source_vertex=arrays[f"mesh.{i}.source_vertex"].astype(np.int64),
                textures=tuple(pictures[key] for key in entry["textures"]),
                scale_pairs=compact[HEAD_SCALE_PAIRS],
                scale_template=np.asarray(manifest["scale_template"], dtype=np.float32),
                hides=np.asarray(entry.get("hides", []), dtype=np.int64),
            )
        )
    environments = tuple(
        Environment(e["name"], arrays[f"env.{i}"], arrays["env.sh"][i], pictures[e["background"]])
        for i, e in enumerate(manifest["environments"])
    )
    return AssetLibrary(
        meshes=tuple(meshes),
        skins=tuple(pictures[key] for key in manifest["skins"]),
        environments=environments,
        backgrounds=tuple(pictures[key] for key in manifest["backgrounds"]),
        notices=dict(manifest["notices"]),
        _base_indices=indices,
    )


def without(library: AssetLibrary, names: frozenset[str]) -> AssetLibrary:
    """The library less the meshes with these names (the base index stays as it is)."""
    return replace(library, meshes=tuple(m for m in library.meshes if m.name not in names))


def sh_basis(directions: Array) -> Array:
    """Real spherical harmonics of bands 0 to 2.

    directions (..., 3): unit vectors. Returns (..., 9) in the order 1; y, z, x; xy, yz,
    3z^2 - 1, xz, x^2 - y^2 (Ramamoorthi and Hanrahan 2001, equation 3).
    """
    x, y, z = np.moveaxis(np.asarray(directions), -1, 0)
    return np.stack(
        [
            np.full_like(x, 0.282095),
            0.488603 * y,
            0.488603 * z,
            0.488603 * x,
            1.092548 * x * y,
            1.092548 * y * z,
            0.315392 * (3.0 * z * z - 1.0),
            1.092548 * x * z,
            0.546274 * (x * x - y * y),
        ],
        axis=-1,
    )


# Convolution with the clamped cosine divided by pi (Ramamoorthi and Hanrahan 2001, equation 8).
IRRADIANCE_BAND = np.array([1.0, *[2.0 / 3.0] * 3, *[0.25] * 5])


def irradiance(normals: Array, sh: Array) -> Array:
    """Diffuse light that reaches surfaces, divided by pi (1 under uniform radiance 1).

    normals (..., 3): unit vectors, environment frame. sh (9, 3). Returns (..., 3), not negative.
    """
    return np.maximum(sh_basis(normals) @ (IRRADIANCE_BAND[:, None] * sh), 0.0)


def environment_directions(height: int, width: int) -> tuple[Array, Array]:
    """Directions (H, W, 3) and solid angles (H, W) of an equirectangular image's pixels."""
    elevation = (0.5 - (np.arange(height) + 0.5) / height) * np.pi
    azimuth = ((np.arange(width) + 0.5) / width - 0.5) * 2.0 * np.pi
    theta, phi = np.meshgrid(elevation, azimuth, indexing="ij")
    directions = np.stack(
        [np.sin(phi) * np.cos(theta), -np.sin(theta), np.cos(phi) * np.cos(theta)], axis=-1
    )
    solid = np.cos(theta) * (np.pi / height) * (2.0 * np.pi / width)
    return directions, solid
