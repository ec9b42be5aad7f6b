"""A fitted portrait made ready to be seen from elsewhere: textured mesh, background grid."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from scipy.spatial import cKDTree

from backend.geometry.rasterizer import rasterize, to_pixels, vertex_normals
from backend.head import Head
from backend.head.model import HEAD_FILE

from .portraits_crops import (
    CropMaker,
    cut_square,
    head_pose,
    in_front,
    residual_shift,
    surface_kernel,
)
from .portraits_fit import PortraitFits

TEXTURE = 640
"""Pixels of the square cut of a portrait that serves as texture."""
GRID = 72
"""Vertices a side of the grid that carries hair, neck and background."""
_REACH = 3.6
"""Side of that square over the larger side of the 68 points' box."""
MAX_RESIDUAL = 0.022
"""Mean residual of a fit, in inter-ocular distances, beyond which a portrait is left out."""
_GRAZING, _FACING = 0.10, 0.32
"""Cosines between which the portrait's own pixels take over from the completed skin."""
_STIFF, _LOOSE = 0.10, 0.95
"""Distances from the head, in face sides, up to which all and beyond which nothing moves along."""
_ROUNDING = 0.9
"""Metres that the scene recedes beyond the head's outline, a metre beside it."""
_GAIN_KERNEL = 0.02
MAX_MISFIT = 0.15
"""Mean logarithmic difference beyond which a completed skin does not suit its portrait."""
_BEHIND = 0.12
"""Metres from the head's origin back to the plane of the background."""


@dataclass(frozen=True)
class WarpSource:
    """One portrait; N head vertices, G x G grid vertices."""

    texture: np.ndarray
    """(T,T,3) u8 RGB."""
    skin: np.ndarray | None
    """(512,512,3) u8 RGB completed skin in the head's layout, None where the portrait gave none."""
    st: np.ndarray
    """(N,2) texture coordinates of the head's vertices in `texture`."""
    seen: np.ndarray
    """(N,) 0 to 1, how well the portrait shows a vertex."""
    opacity: np.ndarray
    """(N,) how far a vertex is drawn over the grid: the head without its neck."""
    gain: np.ndarray
    """(N,3) that turns the skin's colour into the portrait's."""
    luminance: float
    """Of the face's skin, linear, 0 to 1."""
    grid_points: np.ndarray
    """(G*G,3) of the grid in the portrait's camera frame, metres."""
    grid_corners: np.ndarray
    """(A,3) head vertices that carry the `grid_inside` vertices."""
    grid_weights: np.ndarray
    """(A,3) barycentric."""
    grid_inside: np.ndarray
    """(A,) indices of grid vertices on the head."""
    grid_rim: np.ndarray
    """(G*G,) index into the A of the vertex whose movement a grid vertex shares."""
    grid_head: np.ndarray
    """(G*G,) share of the head joint in the movement."""
    grid_follow: np.ndarray
    """(G*G,2) shares of the head's rigid movement and of its rim's own movement."""
    grid_triangles: np.ndarray
    """(t,3) without the cells that the face hides entirely."""
    coefficients: np.ndarray
    """(152,) identity and expression."""
    rotations: np.ndarray
    """(4,3) rotation vectors."""
    translation: np.ndarray
    """(3,) metres."""
    weight: float
    """Of the labels in the loss."""


def smoothstep(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 at low, 1 at high (either may be the larger), smooth between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


class SourceMaker:
    """What sources need of the head, whatever the portrait."""

    def __init__(self, head: Head, crops: CropMaker) -> None:
        self.head, self.crops = head, crops
        with np.load(HEAD_FILE) as data:
            names = np.array([str(x) for x in data["island_names"]])
            island = names[data["face_island"]]
        self.island = island
        faces = head.faces.numpy()
        x, y, z = head.template.numpy().T
        on_head = np.zeros(head.n_vertices, bool)
        on_head[faces[island == "head"].ravel()] = True
        opacity = smoothstep(z, 0.058, 0.042) * smoothstep(np.abs(x), 0.074, 0.062)
        opacity *= smoothstep(y, -0.062, -0.046) * smoothstep(y, 0.130, 0.119)
        inner = [n for n in names if n not in ("head", "neck")]
        self.inner = {n: np.unique(faces[island == n]) for n in inner}
        self.opacity = np.where(on_head, opacity, 0.0)
        for vertices in self.inner.values():
            self.opacity[vertices[~on_head[vertices]]] = 1.0
        """(N,) how far a vertex belongs to the face, which is drawn over the background."""
        expression = torch.zeros(52)
        for name, value in (("jawOpen", 0.6), ("eyeWideLeft", 0.7), ("eyeWideRight", 0.7)):
            expression[head.expression_names.index(name)] = value
        open_face = head.shape(torch.zeros(head.n_identity), expression).numpy()
        anchors = crops.surface(open_face)[crops.usable]
        self._kernel = surface_kernel(open_face, anchors).astype(np.float32)
        self._face = np.flatnonzero(on_head & (self.opacity > 0.5))
        template = head.template.numpy()
        square = ((template[:, None] - template[None, self._face]) ** 2).sum(-1)
        self._spread = np.exp(-0.5 * square / _GAIN_KERNEL**2).astype(np.float32)
        self._template = template
        behind_ears = (np.abs(x) < 0.074) | (z > 0.10) | (y < -0.03) | (y > 0.06)
        outer = np.zeros(head.n_vertices, bool)
        outer[faces[np.isin(island, ["head", "neck"])].ravel()] = True
        self._outer = outer & behind_ears & (y < 0.1)
        self._outer_opacity = outer * smoothstep(y, 0.098, 0.080)
        uv = np.zeros((head.n_vertices, 2))
        chosen = np.isin(island, ["head", "mouth", "socket.L", "socket.R"])
        uv[faces[chosen]] = head.uv.numpy()[head.face_uv.numpy()[chosen]]
        self._uv = uv

    def make(
        self, image: np.ndarray, fits: PortraitFits, number: int, observed: np.ndarray,
        skin: np.ndarray | None, padding: int = cv2.BORDER_REFLECT_101,
    ) -> WarpSource | None:  # fmt: skip
        """The source of a portrait, or None where the fit misses the points.

        Args: image (H,W,3) u8 RGB; number: of the portrait in fits; observed (478,2) FaceMesh's
        points, px; skin: the portrait's completed skin; padding: OpenCV's border mode.
        """
        head, crops = self.head, self.crops
        height, width = image.shape[:2]
        one = fits.select(slice(number, number + 1))
        vertices = one.vertices(head)[0].numpy()
        K = one.intrinsics(torch.tensor([[width, height]]))[0].float().numpy()
        flat = to_pixels(torch.from_numpy(vertices), torch.from_numpy(K))[:, :2].numpy()
        scale = 0.093 * K[0, 0] / float(np.median(vertices[:, 2]))
        residual = observed[crops.found.mediapipe] - crops.surface(flat)
        error = float(np.linalg.norm(residual, axis=1)[crops.usable].mean() / scale)
        points = crops.points(flat)[:68]
        side = float((points.max(0) - points.min(0)).max())
        if error > MAX_RESIDUAL or side < 60:
            return None
        normals = vertex_normals(torch.from_numpy(vertices), head.faces).numpy()
        window = _REACH * side
        corner = 0.5 * (points.max(0) + points.min(0)) - 0.5 * window
        # The z-buffer at the texture's resolution, in its pixels.
        zoom = TEXTURE / window
        at = np.column_stack([(flat - corner + 0.5) * zoom - 0.5, vertices[:, 2]])
        depth = rasterize(torch.from_numpy(at).float(), crops.solid, (TEXTURE, TEXTURE))[2].numpy()
        visible = in_front(vertices, normals, at[:, :2], depth)
        anchors = visible[crops.found.points.corners.numpy()].any(axis=1)[crops.usable]
        moved = residual_shift(self._kernel, residual[crops.usable], anchors, scale)
        at[:, :2] += moved * zoom
        texture = cut_square(image, corner, zoom, TEXTURE, padding)
        cosine = -(normals * vertices).sum(1) / np.linalg.norm(vertices, axis=1)
        seen = smoothstep(cosine / np.linalg.norm(normals, axis=1).clip(1e-9), _GRAZING, _FACING)
        seen = self._smooth(seen * visible)
        gain, luminance, skin = self._gain(texture, at[:, :2], skin, seen)
        st = (at[:, :2] + 0.5) / TEXTURE
        st, opacity, own = self._behind(st, visible & (cosine > 0.15))
        seen = np.ones_like(seen) if skin is None else np.where(own, 1.0, seen)
        pose = head_pose(
            head,
            *(vars(fits)[k][number].numpy() for k in ("identity", "rotation", "gaze",
                                                      "translation")),
        )  # fmt: skip
        coefficients = np.concatenate(
            [fits.identity[number].numpy(), fits.expression[number].numpy()]
        )
        return WarpSource(
            texture=texture, skin=skin, st=st, seen=seen, opacity=opacity, gain=gain,
            luminance=luminance, **self._grid(at, K, corner, window, side),
            coefficients=coefficients.astype(np.float32), rotations=pose[:12].reshape(4, 3),
            translation=pose[12:], weight=float(np.clip(1.4 - error / 0.02, 0.3, 1.0)),
        )  # fmt: skip

    def _behind(
        self, st: np.ndarray, shown: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Texture coordinates (N,2), opacity (N,) and which vertices (N,) are not of the face.

        The back of the head takes the colour of the nearest place that the portrait shows, hair
        or skin; shown (N,) tells which those are.
        """
        st = st.copy()
        known = np.flatnonzero(shown & self._outer)
        hidden = self._outer & ~shown & (self.opacity < 0.02)
        if len(known) > 0:
            nearest = cKDTree(self._template[known]).query(self._template[hidden])[1]
            st[hidden] = st[known[nearest]]
        return st, np.maximum(self.opacity, self._outer_opacity), self.opacity < 0.5

    def _smooth(self, values: np.ndarray) -> np.ndarray:
        """(N,) lowered beside low neighbours, so that what was not seen is entered softly."""
        faces = self.head.faces.numpy()
        for _ in range(2):
            mean = values[faces].mean(axis=1)
            total, count = np.zeros_like(values), np.zeros_like(values)
            for k in range(3):
                np.add.at(total, faces[:, k], mean)
                np.add.at(count, faces[:, k], 1)
            values = np.minimum(values, total / count.clip(1))
        return values

    def _gain(
        self, texture: np.ndarray, at: np.ndarray, skin: np.ndarray | None, seen: np.ndarray
    ) -> tuple[np.ndarray, float, np.ndarray | None]:
        """Gain (N,3) of the skin towards the portrait, luminance of the face, fitting skin."""
        face = self._face
        soft = cv2.GaussianBlur(texture, (0, 0), 3.0)
        x, y = at[face].astype(np.float32).T
        own = cv2.remap(soft, x[None], y[None], cv2.INTER_LINEAR)[0].astype(np.float32)
        weight = seen[face].astype(np.float32) + 1e-6
        grey = (own @ np.array([0.3, 0.6, 0.1], np.float32)) / 255
        luminance = float(np.average(grey**2.2, weights=weight))
        if skin is None:
            return np.ones((self.head.n_vertices, 3), np.float32), luminance, None
        soft = cv2.GaussianBlur(skin, (0, 0), 3.0)
        u, v = self._uv[face].T
        size = len(skin)
        other = cv2.remap(
            soft, (u * size - 0.5).astype(np.float32)[None],
            ((1 - v) * size - 0.5).astype(np.float32)[None], cv2.INTER_LINEAR,
        )[0].astype(np.float32)  # fmt: skip
        ratio = np.log((own + 4) / (other + 4))
        overall = np.average(ratio, axis=0, weights=weight)
        weights = self._spread * weight
        near = weights @ (ratio - overall) / (weights.sum(axis=1, keepdims=True) + 0.5)
        misfit = np.abs(ratio - overall - near[face]).mean(axis=1)
        if np.average(misfit, weights=weight) > MAX_MISFIT:
            skin = None
        return np.exp(np.clip(near + overall, -1.2, 1.2)).astype(np.float32), luminance, skin

    def _grid(
        self, at: np.ndarray, K: np.ndarray, corner: np.ndarray, window: float, side: float
    ) -> dict[str, np.ndarray]:
        """The grid's fields of WarpSource; at (N,3): vertices in pixels of the texture, depth."""
        head = self.head
        step = TEXTURE / (GRID - 1)
        scaled = at.copy()
        scaled[:, :2] = (at[:, :2] + 0.5) / step
        index, weights, depth = (
            v.numpy()
            for v in rasterize(torch.from_numpy(scaled).float(), self.crops.solid, (GRID, GRID))
        )
        inside = index >= 0
        corners = self.crops.solid.numpy()[index[inside]]
        bary = weights[inside]
        # Smooth fields outside, from the nearest vertex on the head.
        distance, label = cv2.distanceTransformWithLabels(
            (~inside).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
        )
        number = np.zeros(label.max() + 1, np.int64)
        number[label[inside]] = np.arange(inside.sum())
        rim = number[label]
        far = distance * (window / (GRID - 1)) / side
        joint = head.skin_weights.numpy()[:, 1:].sum(1)
        carried = (joint[corners] * bary).sum(1)[rim]
        rim_depth = depth[inside][rim]
        plane = float(np.median(at[:, 2])) + _BEHIND
        blurred = cv2.GaussianBlur(rim_depth, (0, 0), 2.0)
        away = smoothstep(far, _STIFF, 0.6)
        # The head goes on backwards beyond its outline, as hair and skull do.
        round_back = blurred + _ROUNDING * far * side / K[0, 0] * plane
        z = np.where(inside, depth, round_back * (1 - away) + np.maximum(plane, round_back) * away)
        carried = np.where(inside, carried, cv2.GaussianBlur(carried, (0, 0), 2.0))
        line = np.arange(GRID) * (window / (GRID - 1)) - 0.5
        x, y = np.meshgrid(line + corner[0], line + corner[1])
        points = np.stack([(x - K[0, 2]) / K[0, 0] * z, (y - K[1, 2]) / K[0, 0] * z, z], -1)
        opacity = np.zeros((GRID, GRID), np.float32)
        opacity[inside] = (self.opacity[corners] * bary).sum(1)
        core = cv2.erode((opacity > 0.98).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        n = np.arange(GRID * GRID).reshape(GRID, GRID)
        a, b, c, d = n[:-1, :-1], n[:-1, 1:], n[1:, :-1], n[1:, 1:]
        shown = ~(core[:-1, :-1] & core[:-1, 1:] & core[1:, :-1] & core[1:, 1:])
        triangles = np.concatenate(
            [np.stack(t, -1)[shown] for t in ((a, c, b), (b, c, d))]
        )  # fmt: skip
        follow = np.stack(
            [smoothstep(far, _LOOSE, _STIFF), np.exp(-far / 0.12)], axis=-1
        )  # fmt: skip
        return {
            "grid_points": points.reshape(-1, 3), "grid_corners": corners, "grid_weights": bary,
            "grid_inside": np.flatnonzero(inside), "grid_rim": rim.ravel(),
            "grid_head": carried.ravel(), "grid_follow": follow.reshape(-1, 2),
            "grid_triangles": triangles,
        }  # fmt: skip


def moved_grid(
    source: WarpSource,
    vertices: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
    shift: np.ndarray,
) -> np.ndarray:
    """Grid vertices (G*G,3) that go along with the head, camera frame.

    Args: vertices (N,3) of the head in its new state; before, after (4,4,4) joint transforms;
    shift (3,) metres by which the whole scene moves.
    """
    points = source.grid_points
    relative = after[:2] @ np.linalg.inv(before[:2])
    moved = [points @ t[:3, :3].T + t[:3, 3] for t in relative]
    share = source.grid_head[:, None]
    rigid = moved[0] * (1 - share) + moved[1] * share
    carried = (vertices[source.grid_corners] * source.grid_weights[..., None]).sum(axis=1)
    rest = (carried - rigid[source.grid_inside])[source.grid_rim]
    follow, near = source.grid_follow[:, :1], source.grid_follow[:, 1:]
    out = points + shift + follow * (rigid + near * rest - points - shift)
    out[source.grid_inside] = carried
    # A little behind the face, so that the face is in front where both are drawn.
    out *= 1 + 0.007 / np.linalg.norm(out, axis=1, keepdims=True)
    out[:, 2] = out[:, 2].clip(0.08)
    return out
