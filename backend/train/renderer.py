"""Random labelled faces: the shipped head dressed with local training assets, in moderngl."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path

import cv2
import moderngl
import numpy as np
import torch

from backend.head import Head
from backend.head.landmarks import layout
from backend.head.model import HEAD_FILE

from .assets import AssetLibrary, BoundMesh
from .contour import ContourPaths, contour_points
from .gl_scene import Mesh, Scene, Surface
from .procedural import GlassesAnchors, GlassesSpec, make_glasses
from .sampling import Light
from .scanned import OffsetCarrier
from .skins import SkinLibrary

# anny's frame (x, y forward to -y, z up) turned into the head frame.
HEAD_FROM_ANNY = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
TEXTURES_KEPT = 200
SUPERSAMPLING = 1.6
# With the lips closed nobody sees teeth and tongue; these open them (sum of coefficients).
MOUTH_OPENERS = (
    "jawOpen",
    "mouthUpperUpLeft",
    "mouthUpperUpRight",
    "mouthLowerDownLeft",
    "mouthLowerDownRight",
    "mouthFunnel",
    "tongueOut",
    "mouthStretchLeft",
)
SKIN_ISLANDS = ("head", "neck", "mouth", "socket.L", "socket.R")


@dataclass(frozen=True)
class FaceState:
    """Geometry of one face."""

    identity: np.ndarray
    """(100,)"""
    expression: np.ndarray
    """(52,)"""
    rotations: np.ndarray
    """(4,3) rotation vectors."""
    translation: np.ndarray
    """(3,) metres."""
    offset: np.ndarray | None = None
    """(N,3) metres, what the unposed vertices have beside the coefficients: of scanned people."""


@dataclass(frozen=True)
class Wardrobe:
    """What the head wears: a mesh, its texture's number and its surface, by category."""

    skin: int
    skin_surface: Surface
    items: tuple[tuple[str, int, Surface], ...]
    glasses: tuple[GlassesSpec, Surface] | None = None


@dataclass(frozen=True)
class Labels:
    """Ground truth in the image's pixels."""

    landmarks_2d: np.ndarray
    """(703,2) dense703."""
    contour_2d: np.ndarray
    """(17,2) the visible jaw silhouette."""
    visible: np.ndarray
    """(703,) bool: inside the image and not hidden by anything drawn."""
    vertices: np.ndarray
    """(N,3) metres, camera frame."""


class FaceRenderer:
    """Renders faces of the shipped head with the asset library; one instance a process."""

    def __init__(self, assets: Path, base: Path, size: int, skins: Path | None = None) -> None:
        """assets: library by ``backend.train.assets_build``; base: ``--training-base`` of the head
        builder; size: pixels of the square image (rendered larger by SUPERSAMPLING); skins: real
        skins by ``backend.train.portraits``."""
        self.size = size
        self.library = AssetLibrary.load(assets)
        self.head = Head.load()
        self.scene = Scene(round(SUPERSAMPLING * size))
        self.skins = SkinLibrary(self.library, HEAD_FILE, skins)
        self.landmarks = layout("dense703")
        self.contour = ContourPaths.from_head(self.head)
        self._basis(base)
        self._textures: OrderedDict[tuple[str, int], moderngl.Texture] = OrderedDict()
        self._meshes: dict[str, Mesh] = {}
        self.joint_weights: dict[str, np.ndarray] = {}
        self._build_head_mesh()

    def _basis(self, base: Path) -> None:
        h = self.head
        with np.load(base) as data, np.load(HEAD_FILE) as head:
            vertex = data["base_vertex"]
            wanted = self.library.required_base_vertices()
            rows = np.searchsorted(vertex, wanted).clip(0, len(vertex) - 1)
            self._base_vertex = vertex[rows].astype(np.int64)
            # A handful of the rig's helper vertices are not in the base: their neighbours serve.
            self._base_template = data["base_template"][rows]
            self._base_identity = data["base_identity_basis"][:, rows].astype(np.float32)
            self._base_expression = data["base_expression_basis"][:, rows].astype(np.float32)
            self._base_head_weight = data["base_head_weight"][rows].astype(np.float32)
            self.makehuman_vertex = head["makehuman_vertex"].astype(np.int64)
            island = head["face_island"]
            self.island_names = [str(x) for x in head["island_names"]]
        self._island = np.array(self.island_names)[island]
        self._head_linear = np.concatenate(
            [h.identity_basis.reshape(100, -1).numpy(), h.expression_basis.reshape(52, -1).numpy()]
        )
        self._base_linear = np.concatenate(
            [self._base_identity.reshape(100, -1), self._base_expression.reshape(52, -1)]
        )

    @cached_property
    def _carrier(self) -> OffsetCarrier:
        template = self.head.template.double().numpy()
        return OffsetCarrier(
            self.makehuman_vertex, template, self._base_vertex, self._base_template
        )

    def _build_head_mesh(self) -> None:
        faces, face_uv = self.head.faces.numpy(), self.head.face_uv.numpy()
        keep = np.isin(self._island, SKIN_ISLANDS)
        faces, face_uv = faces[keep], face_uv[keep]
        used, inverse = np.unique(face_uv, return_inverse=True)
        joined = np.zeros(len(used), np.int64)
        joined[inverse.ravel()] = faces.ravel()
        self._skin_vertices = joined
        occlusion = np.ones(self.head.n_vertices, np.float32)
        seam = self.head.regions["lip_seam"]
        inside = np.setdiff1d(self.head.regions["mouth"], seam)
        occlusion[inside], occlusion[seam] = 0.25, 0.55
        for side in "LR":
            socket = np.unique(self.head.faces.numpy()[self._island == f"socket.{side}"])
            margin = np.concatenate(
                [self.head.regions[f"lid_margin_{e}.{side}"] for e in ("upper", "lower")]
            )
            occlusion[np.setdiff1d(socket, margin)] = 0.4
        self._head_mesh = self.scene.mesh(
            inverse.reshape(-1, 3), self.head.uv.numpy()[used], joined, occlusion[joined]
        )

    def place(self, state: FaceState) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Posed head vertices (N,3), unposed base vertices (M,3), joint transforms (4,4,4)."""
        coefficients = np.concatenate([state.identity, state.expression]).astype(np.float32)
        bind = self.head.template.numpy() + (coefficients @ self._head_linear).reshape(-1, 3)
        base = self._base_template + (coefficients @ self._base_linear).reshape(-1, 3)
        if state.offset is not None:
            bind = bind + state.offset
            base = base + self._carrier(state.offset)
        transforms = self.head.joint_transforms(
            torch.as_tensor(state.identity, dtype=torch.float32),
            torch.as_tensor(state.rotations, dtype=torch.float32),
            torch.as_tensor(state.translation, dtype=torch.float32),
        ).numpy()
        blended = np.einsum("nj,jab->nab", self.head.skin_weights.numpy(), transforms[:, :3])
        posed = np.einsum("nab,nb->na", blended[..., :3], bind) + blended[..., 3]
        return posed, base, transforms

    def asset_mesh(self, asset: BoundMesh, worn: tuple[BoundMesh, ...]) -> Mesh:
        """The asset's mesh, made once; of a body only what is not the head's own."""
        if asset.name not in self._meshes:
            triangles = asset.triangles
            if asset.category == "body":
                triangles = triangles[~self._in_head(asset.base_reference[:, 0][triangles])]
            self._meshes[asset.name] = self.scene.mesh(triangles, asset.uv, asset.source_vertex)
            self.joint_weights[asset.name] = self._weights(asset)
        return self._meshes[asset.name]

    def _in_head(self, triangles: np.ndarray) -> np.ndarray:
        """(t,) whether triangles of base vertices (t,3) are among the head's own."""
        # The head's triangles come in pairs, one pair a quad; the body may split it the other way.
        quads = self.makehuman_vertex[self.head.faces.numpy()].reshape(-1, 6)
        known = {t for quad in quads for t in combinations(sorted(set(quad)), 3)}
        return np.array([tuple(t) in known for t in np.sort(triangles, axis=1)])

    def _weights(self, asset: BoundMesh) -> np.ndarray:
        """(n,4) joint weights of an asset's vertices."""
        out = np.zeros((len(asset.reference), 4), np.float32)
        if asset.category == "eyes":
            left = (self._base_template[asset.reference] * asset.weights[..., None]).sum(1)[
                :, 0
            ] > 0
            out[left, 2] = out[~left, 3] = 1.0
        elif asset.category in ("clothes", "body"):
            share = (self._base_head_weight[asset.reference] * asset.weights).sum(1).clip(0, 1)
            out[:, 1], out[:, 0] = share, 1.0 - share
        else:
            out[:, 1] = 1.0
        return out

    def texture(self, asset: BoundMesh, number: int) -> moderngl.Texture:
        """One of the asset's textures, kept for the next time."""
        return self._cached(asset.name, number, lambda: asset.textures[number].decode())

    def _cached(self, name: str, number: int, load) -> moderngl.Texture:  # type: ignore[no-untyped-def]
        key = (name, number)
        if key not in self._textures:
            self._textures[key] = self.scene.texture(load())
            if len(self._textures) > TEXTURES_KEPT:
                self._textures.popitem(last=False)[1].release()
        self._textures.move_to_end(key)
        return self._textures[key]

    def render(
        self, state: FaceState, wardrobe: Wardrobe, camera: tuple[float, float, float], light: Light
    ) -> tuple[np.ndarray, Labels]:
        """One face on a transparent ground.

        Args: camera focal_px, cx, cy in pixels of the final image.
        Returns: (S,S,4) u8 sRGB with coverage, and the labels.
        """
        posed, base, transforms = self.place(state)
        skin = self._cached("skin", wardrobe.skin, lambda: self.skins.image(wardrobe.skin))
        self._head_mesh.update(posed[self._skin_vertices])
        drawn = [(self._head_mesh, skin, wardrobe.skin_surface)]
        worn = tuple(self.library.mesh(name) for name, _, _ in wardrobe.items)
        names = self.head.expression_names
        closed = sum(state.expression[names.index(n)] for n in MOUTH_OPENERS) < 0.05
        for asset, (_, number, surface) in zip(worn, wardrobe.items, strict=True):
            if closed and asset.category in ("teeth", "tongue"):
                continue
            mesh = self.asset_mesh(asset, worn)
            bind = asset.positions(base, HEAD_FROM_ANNY)
            blended = np.einsum("nj,jab->nab", self.joint_weights[asset.name], transforms[:, :3])
            mesh.update(np.einsum("nab,nb->na", blended[..., :3], bind) + blended[..., 3])
            texture = (
                self._cached("body_skin", wardrobe.skin,
                             lambda: self.skins.body_image(wardrobe.skin))
                if asset.category == "body" else self.texture(asset, number)
            )  # fmt: skip
            drawn.append((mesh, texture, surface))
        made: list[tuple[Mesh, moderngl.Texture]] = []
        if wardrobe.glasses is not None:
            made.append(self._glasses(wardrobe.glasses[0], state, transforms[1]))
            drawn.append((*made[0], wardrobe.glasses[1]))
        k, half = SUPERSAMPLING, 0.5 * (SUPERSAMPLING - 1.0)
        double = (k * camera[0], k * camera[1] + half, k * camera[2] + half)
        centre = transforms[1, :3, :3] @ np.array([0.0, 0.05, 0.05]) + transforms[1, :3, 3]
        image, depth = self.scene.draw(drawn, double, light, centre)
        for mesh, texture in made:
            mesh.release()
            texture.release()
        small = cv2.resize(image, (self.size, self.size), interpolation=cv2.INTER_AREA)
        return small, self.labels(posed, camera, double, depth)

    def _glasses(
        self, spec: GlassesSpec, state: FaceState, head_transform: np.ndarray
    ) -> tuple[Mesh, moderngl.Texture]:
        coefficients = np.concatenate([state.identity, np.zeros(52)]).astype(np.float32)
        bind = self.head.template.numpy() + (coefficients @ self._head_linear).reshape(-1, 3)
        if state.offset is not None:
            bind = bind + state.offset
        lay = self.landmarks
        points = (bind[lay.vertices[:68]] * lay.barycentric[:68, :, None]).sum(1)
        joints = self.head.joints(torch.as_tensor(state.identity, dtype=torch.float32)).numpy()
        anchors = GlassesAnchors(
            eyes=joints[2:4], bridge=points[27], temples=points[[26, 17]], ears=points[[16, 0]]
        )
        made = make_glasses(spec, anchors)
        mesh = self.scene.mesh(made.triangles, made.uv, np.arange(len(made.positions)))
        mesh.update(made.positions @ head_transform[:3, :3].T + head_transform[:3, 3])
        return mesh, self.scene.texture(made.texture)

    def labels(
        self, posed: np.ndarray, camera: tuple[float, float, float],
        double: tuple[float, float, float], depth: np.ndarray,
    ) -> Labels:  # fmt: skip
        """Ground truth of posed vertices (N,3): camera in the image's pixels, double in depth's."""
        lay = self.landmarks
        points = (posed[lay.vertices] * lay.barycentric[..., None]).sum(1)
        pixels = points[:, :2] / points[:, 2:] * camera[0] + np.array(camera[1:])
        at = np.round(points[:, :2] / points[:, 2:] * double[0] + np.array(double[1:])).astype(int)
        inside = ((at >= 0) & (at < len(depth))).all(axis=1)
        x, y = at.clip(0, len(depth) - 1).T
        # Skin hides skin by its own thickness: lids, lips and lashes lie within 5 mm.
        visible = inside & (points[:, 2] < depth[y, x] + 0.005)
        candidates = self.contour.candidates(posed)
        candidates = candidates[..., :2] / candidates[..., 2:] * camera[0] + np.array(camera[1:])
        contour = contour_points(candidates)
        return Labels(pixels, contour, visible, posed)
