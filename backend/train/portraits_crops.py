"""Training crops out of fitted portraits: faces with pseudo-labels, and windows without a face."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from scipy.spatial.transform import Rotation

from backend.geometry.rasterizer import rasterize, to_pixels, vertex_normals
from backend.head import Head
from backend.head.landmarks import layout

from .contour import ContourPaths, contour_points
from .portraits_points import FACE_OVAL, Correspondence

CROP = 160
# As the generator's crops: the tracker's window about the 68 points, and room for augmentation.
_WINDOW = 1.55 * 1.35
_KERNEL = 0.009
"""Metres on the surface over which a residual of the fit moves the labels around it."""
_QUIET, _FULL = 0.005, 0.015
"""Residuals, in inter-ocular distances, below which labels stay and above which they follow."""
_MAX_RESIDUAL = 0.03
_HIDDEN_DEPTH = 0.004


@dataclass(frozen=True)
class Crop:
    """One sample of a shard; see shards.standard_fields."""

    image: np.ndarray
    landmarks: np.ndarray
    """(703,2) px of the crop."""
    contour: np.ndarray
    """(17,2) px of the crop."""
    visible: np.ndarray
    """(703,) bool."""
    valid: np.ndarray
    """(703,) bool."""
    weight: float
    camera: np.ndarray
    """(20,) focal_px, cx, cy of the crop, rotations (12), translation (3), two zeros."""
    coefficients: np.ndarray
    """(152,) identity and expression."""


class CropMaker:
    """What labels need of the head, whatever the portrait."""

    def __init__(self, head: Head, found: Correspondence) -> None:
        self.head = head
        self.layout = layout("dense703")
        self.paths = ContourPaths.from_head(head)
        self.found = found
        # Distances are measured with eyes and mouth open, so that a lower lip's residual does not
        # move the upper lip.
        expression = torch.zeros(52)
        for name, value in (("jawOpen", 0.6), ("eyeWideLeft", 0.7), ("eyeWideRight", 0.7)):
            expression[head.expression_names.index(name)] = value
        open_face = head.shape(torch.zeros(head.n_identity), expression).numpy()
        anchors = self.surface(open_face)
        usable = ~np.isin(found.mediapipe, FACE_OVAL)
        self.usable = usable
        self._label_kernel = surface_kernel(self.points(open_face), anchors[usable])
        path_points = self.paths.candidates(open_face).reshape(-1, 3)
        self._path_kernel = surface_kernel(path_points, anchors[usable])
        self.trusted = self._trusted()
        self._around, self._rim = self._surroundings()
        lashes = np.zeros(head.n_vertices, bool)
        lashes[head.regions["lashes"]] = True
        self.solid = self.head.faces[torch.from_numpy(~lashes[head.faces.numpy()].any(axis=1))]

    def points(self, vertices: np.ndarray) -> np.ndarray:
        """The 703 landmarks (703,k) of vertices, or of anything else that vertices have (N,k)."""
        return (vertices[self.layout.vertices] * self.layout.barycentric[..., None]).sum(axis=1)

    def surface(self, vertices: np.ndarray) -> np.ndarray:
        """The places of FaceMesh's corresponding vertices (P,k) on vertices (N,k)."""
        points = self.found.points
        return (vertices[points.corners.numpy()] * points.barycentric.numpy()[..., None]).sum(
            axis=1
        )

    def _trusted(self) -> np.ndarray:
        """(703,) points that a portrait's fit knows: the face, not scalp, ears, neck or teeth."""
        place = self.points(self.head.template.numpy())
        x, y, z = place.T
        region = np.zeros(self.head.n_vertices, bool)
        for name in ("skin", "eye.L", "eye.R", "lids.L", "lids.R", "lips", "lip_seam"):
            region[self.head.regions[name]] = True
        for name in ("lid_margin_upper", "lid_margin_lower"):
            for side in "LR":
                region[self.head.regions[f"{name}.{side}"]] = True
        known = region[self.layout.vertices].all(axis=1)
        known &= (z < 0.06) & (np.abs(x) < 0.074) & (y > -0.062) & (y < 0.122)
        known[:68] = True
        return known

    def _surroundings(self) -> tuple[np.ndarray, np.ndarray]:
        """Weights (703,N) of the skin around each point, and which points lie on a fold's rim.

        On lid margins and lips the surface turns within a millimetre: whether such a point faces
        the camera is told by the skin around it.
        """
        template = self.head.template.numpy()
        near = ((self.points(template)[:, None] - template[None]) ** 2).sum(-1) < 0.010**2
        skin = np.zeros(self.head.n_vertices, bool)
        skin[self.head.regions["face"]] = True
        weights = (near & skin).astype(np.float32)
        names = [n for n in self.head.regions if n.startswith(("lid", "lip"))]
        folds = np.zeros(self.head.n_vertices, bool)
        for name in names:
            folds[self.head.regions[name]] = True
        rim = folds[self.layout.vertices].any(axis=1) & (weights.sum(axis=1) > 0)
        return weights, rim

    def make(
        self, image: np.ndarray, vertices: np.ndarray, K: np.ndarray, observed: np.ndarray,
        coefficients: np.ndarray, padding: int,
    ) -> Crop | None:  # fmt: skip
        """The labelled crop of one portrait, or None where the fit misses the points.

        Args: image (H,W,3) u8 RGB; vertices (N,3) camera frame, metres; K (3,3); observed (478,2)
        FaceMesh's points, px; coefficients (152,); padding: OpenCV's border mode.
        """
        height, width = image.shape[:2]
        pixels = to_pixels(torch.from_numpy(vertices), torch.from_numpy(K).float())
        flat = pixels[:, :2].numpy()
        depth = rasterize(pixels, self.solid, (width, height))[2].numpy()
        normals = vertex_normals(torch.from_numpy(vertices), self.head.faces).numpy()
        visible_vertex = in_front(vertices, normals, flat, depth)
        scale = 0.093 * K[0, 0] / float(np.median(vertices[:, 2]))
        residual = observed[self.found.mediapipe] - self.surface(flat)
        error = np.linalg.norm(residual, axis=1) / scale
        mean_error = float(error[self.usable].mean())
        if mean_error > _MAX_RESIDUAL:
            return None
        seen = visible_vertex[self.found.points.corners.numpy()].any(axis=1)[self.usable]
        residual = residual[self.usable]
        points = self.points(flat)
        points = points + residual_shift(self._label_kernel, residual, seen, scale)
        candidates = self.paths.candidates(flat).astype(np.float64)
        moved = residual_shift(self._path_kernel, residual, seen, scale).reshape(candidates.shape)
        contour = contour_points(candidates + moved)

        inside = (points > -0.5).all(1) & (points < [width - 0.5, height - 0.5]).all(1)
        visible = inside & self._visible_points(vertices, normals, flat, depth)
        outline = np.concatenate([contour, points[17:68]])
        low, high = outline.min(axis=0), outline.max(axis=0)
        side = float((high - low).max()) * _WINDOW
        zoom = CROP / side
        corner = 0.5 * (low + high) - 0.5 * side
        crop = cut_square(image, corner, zoom, CROP, padding)

        def to_crop(p: np.ndarray) -> np.ndarray:
            return (p - corner + 0.5) * zoom - 0.5

        camera = np.zeros(20, np.float32)
        camera[0] = K[0, 0] * zoom
        camera[1:3] = to_crop(K[:2, 2])
        return Crop(
            crop, to_crop(points), to_crop(contour), visible, visible & self.trusted,
            float(np.clip(1.4 - mean_error / 0.02, 0.3, 1.0)), camera, coefficients,
        )  # fmt: skip

    def _visible_points(
        self, vertices: np.ndarray, normals: np.ndarray, pixels: np.ndarray, depth: np.ndarray
    ) -> np.ndarray:
        """(703,) as `in_front` for landmarks; lid margins and lips may lie a little deeper."""
        normal = np.where(self._rim[:, None], self._around @ normals, self.points(normals))
        # The farthest surface within a pixel: points on an outline are seen there.
        farthest = cv2.dilate(np.where(np.isfinite(depth), depth, 0.0), np.ones((3, 3)))
        behind = np.where(self._rim, 2.0, 1.0) * _HIDDEN_DEPTH
        points, at = self.points(vertices), self.points(pixels)
        return in_front(points, normal, at, farthest, behind, -0.05)


def in_front(
    points: np.ndarray,
    normals: np.ndarray,
    pixels: np.ndarray,
    depth: np.ndarray,
    behind: np.ndarray | float = _HIDDEN_DEPTH,
    facing: float = 0.02,
) -> np.ndarray:
    """(P,) whether points face the camera with nothing of the head in front.

    Args: points (P,3) metres, camera frame, and their normals; pixels (P,2); depth (H,W) metres;
    behind: how far behind the nearest surface a point may lie; facing: least cosine.
    """
    length = np.linalg.norm(normals, axis=1) * np.linalg.norm(points, axis=1)
    cosine = -(normals * points).sum(axis=1) / np.maximum(length, 1e-12)
    height, width = depth.shape
    at = np.round(pixels).astype(int)
    x, y = at[:, 0].clip(0, width - 1), at[:, 1].clip(0, height - 1)
    return (cosine > facing) & (points[:, 2] < depth[y, x] + behind)


def surface_kernel(points: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """(P,L) Gaussian weights of anchors around points, metres."""
    square = ((points[:, None] - anchors[None]) ** 2).sum(-1)
    return np.exp(-0.5 * square / _KERNEL**2)


def residual_shift(
    kernel: np.ndarray, residual: np.ndarray, seen: np.ndarray, scale: float
) -> np.ndarray:
    """Movement (P,2) px of points by the residuals (L,2) px around them, where these are large."""
    weight = kernel * seen
    total = weight.sum(axis=1, keepdims=True)
    mean = weight @ residual / np.maximum(total, 1e-9)
    size = np.linalg.norm(mean, axis=1, keepdims=True) / scale
    follow = np.clip((size - _QUIET) / (_FULL - _QUIET), 0, 1)
    # Away from all anchors nothing is known of the residual.
    return mean * follow * np.clip(total / 0.8, 0, 1)


def cut_square(
    image: np.ndarray, corner: np.ndarray, zoom: float, size: int, padding: int
) -> np.ndarray:
    """(size,size,3): a square of the image (H,W,3), `zoom` times as large.

    Args: corner (2,) px, pixel centres at integers: the square begins half a pixel of the image
    before it; padding: OpenCV's border mode.
    """
    # Averaging over the pixels that fall together: blur first where the picture shrinks.
    if zoom < 0.7:
        image = cv2.GaussianBlur(image, (0, 0), 0.42 / zoom)
    inverse = np.array(
        [[1 / zoom, 0, corner[0] + 0.5 / zoom - 0.5], [0, 1 / zoom, corner[1] + 0.5 / zoom - 0.5]]
    )
    return cv2.warpAffine(
        image, inverse, (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=padding,
    )  # fmt: skip


def head_pose(
    head: Head,
    identity: np.ndarray,
    rotation: np.ndarray,
    gaze: np.ndarray,
    translation: np.ndarray,
) -> np.ndarray:
    """Rotations (12,) and translation (3,) as Head takes them, of a fit about the head's origin.

    Args: identity (100,); rotation (3,3); gaze (2,2) pitch and yaw; translation (3,) metres.
    """
    neck = head.joints(torch.from_numpy(identity).float())[0].numpy()
    rotations = np.zeros((4, 3))
    rotations[0] = Rotation.from_matrix(rotation).as_rotvec()
    rotations[2:, :2] = gaze
    return np.concatenate([rotations.ravel(), translation - neck + rotation @ neck])


def background_windows(
    image: np.ndarray, head_points: np.ndarray, rng: np.random.Generator, count: int
) -> list[np.ndarray]:
    """Up to `count` crops (CROP,CROP,3) that show nothing of the head above its chin.

    Args: head_points (N,2) px of the vertices above the neck. Clothes, necks and backgrounds with
    something in them are preferred to plain ones.
    """
    height, width = image.shape[:2]
    low, high = head_points.min(axis=0), head_points.max(axis=0)
    room = 0.12 * (high - low)  # hair stands out beyond the skull, beards below the chin
    low, high = low - room, high + room * [1.0, 0.5]
    found: list[tuple[float, np.ndarray]] = []
    for _ in range(80):
        side = float(np.exp(rng.uniform(np.log(0.13), np.log(0.7)))) * min(width, height)
        x, y = rng.uniform(0, width - side), rng.uniform(0, height - side)
        apart = x > high[0] or x + side < low[0] or y > high[1] or y + side < low[1]
        if apart:
            crop = cut_square(image, np.array([x, y]), CROP / side, CROP, cv2.BORDER_REFLECT_101)
            found.append((float(crop.std()) * rng.uniform(0.3, 1.0), crop))
            if len(found) == 3 * count:
                break
    found.sort(key=lambda entry: -entry[0])
    return [crop for _, crop in found[:count]]
