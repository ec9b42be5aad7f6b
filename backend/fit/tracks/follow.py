"""Skin features of key frames, found again in every other frame through the fitted mesh.

The mesh tells where each pixel of a key frame is in another frame. That frame is warped by it into
the key's view, where both pictures nearly coincide, whatever turn, size and expression are between
them; Lucas and Kanade find what is left. Every frame is compared with the key itself, so nothing
drifts.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from backend.geometry.rasterizer import rasterize, vertex_normals

from .pictures import Picture
from .posed import Array, PosedShot


@dataclass(frozen=True)
class FollowSettings:
    """Which features are followed, and when they count as found."""

    features: int = 110
    """Most features of a key frame."""
    spacing: float = 0.022
    """Least distance between features, as a share of the head's height."""
    window: float = 0.045
    """Side of the compared patch, as a share of the head's height."""
    facing_key: float = 0.45
    """Least cosine between normal and view in the key frame, and in others."""
    facing: float = 0.3
    least_texture: float = 4e-4
    """Least eigenvalue of a patch's gradients (OpenCV's minEigThreshold): what is flat slides."""
    round_trip_px: float = 0.3
    """Most that a feature may miss itself by, followed to the frame and back."""
    correlation: float = 0.85
    """Least correlation of the patches."""
    reach: float = 0.03
    """Most that the mesh may have been wrong by, as a share of the head's height."""
    depth_step: float = 0.012
    """Metres between surfaces that one patch must not see."""
    noise_gain: float = 4.0
    """Deviation of a found feature over that which noise alone would give it, and"""
    noise_knee_px: float = 0.06
    """beyond how much of that patches differ by more than noise: measured on rendered skin."""


@dataclass(frozen=True)
class Followed:
    """Tracks of the P features of one key frame through F frames."""

    triangle: NDArray[np.int64]
    """(P,) of the mesh under the feature."""
    barycentric: Array
    """(P,3)"""
    position: Array
    """(F,P,2) pixels of the frame; nan where not found."""
    deviation: Array
    """(F,P) of it in pixels; 0 in the key frame, inf where not found."""


def follow_key(
    key: Picture, others: list[Picture], posed: PosedShot, settings: FollowSettings
) -> Followed | None:
    """Pick features in a key frame and find them in the others; None where there are none."""
    size, frames = key.crop.size, len(posed.vertices)
    corners = np.concatenate([key.pixels, posed.vertices[key.row][:, 2:]], 1)
    index_map, weights_map, depth = (
        x.numpy() for x in rasterize(torch.from_numpy(corners), posed.faces, size,
                                     cull_backfaces=True)
    )  # fmt: skip
    tall = float(np.ptp(key.pixels[:, 1]))
    window = int(np.clip(round(settings.window * tall), 11, 31)) | 1
    mask = _usable(key, posed, index_map, depth, window, settings)
    found = cv2.goodFeaturesToTrack(
        key.detail, settings.features, 0.02, settings.spacing * tall, mask=mask, blockSize=7
    )
    if found is None:
        return None
    points = found[:, 0].astype(np.float32)
    at = np.round(points).astype(int)
    triangle = index_map[at[:, 1], at[:, 0]].astype(np.int64)
    weights = weights_map[at[:, 1], at[:, 0]].astype(np.float64)
    position = np.full((frames, len(points), 2), np.nan)
    deviation = np.full((frames, len(points)), np.inf)
    position[key.row] = key.crop.to_frame(points.astype(np.float64))
    deviation[key.row] = 0.0
    grid = _Grid.of(index_map, weights_map, posed.faces)
    corners_of = posed.faces[triangle]
    for other in others:
        if other.row == key.row:
            continue
        there = (posed.vertices[other.row][corners_of] * weights[..., None]).sum(1)
        mapped = (other.pixels[corners_of] * weights[..., None]).sum(1)
        may = other.sees(mapped, there[:, 2])
        may &= _facing(posed, other.row, corners_of) > settings.facing
        if may.sum() < 4:
            continue
        rows = np.flatnonzero(may)
        to_other = grid.map_to(other.pixels)
        moved, noise, good = _find(
            key.detail, other.detail, to_other, points[rows], window, settings
        )
        good &= np.linalg.norm(moved - points[rows], axis=-1) < settings.reach * tall
        rows, moved = rows[good], moved[good]
        if len(rows) == 0:
            continue
        target = _sample(to_other, moved)
        # The warp is off the mesh's own map by its interpolation on a grid.
        exact = mapped[rows] + target - _sample(to_other, points[rows])
        position[other.row, rows] = other.crop.to_frame(exact.astype(np.float64))
        noise = settings.noise_gain * noise * (1.0 + (noise / settings.noise_knee_px) ** 2)
        deviation[other.row, rows] = noise[good] / other.crop.scale
    return Followed(triangle, weights, position, deviation)


def _usable(
    key: Picture, posed: PosedShot, index_map: NDArray[np.int32], depth: NDArray[np.float32],
    window: int, settings: FollowSettings,
) -> NDArray[np.uint8]:  # fmt: skip
    """(H,W) 255 where a feature may be: skin that faces the camera, away from depth's steps."""
    facing = _facing(posed, key.row, posed.faces) > settings.facing_key
    usable = (index_map >= 0) & (posed.trackable & facing)[index_map]
    inside = np.where(np.isfinite(depth), depth, 1e3).astype(np.float32)
    square = np.ones((window // 2 | 1, window // 2 | 1), np.uint8)
    step = cv2.dilate(inside, square) - cv2.erode(inside, square)
    usable &= step < settings.depth_step
    usable[: window // 2], usable[-(window // 2) :] = False, False
    usable[:, : window // 2], usable[:, -(window // 2) :] = False, False
    return np.where(usable, 255, 0).astype(np.uint8)


def _facing(posed: PosedShot, row: int, corners: NDArray[np.int64]) -> Array:
    """(P,) cosine between the normal of triangles (P,3) and the ray to the camera."""
    normals = vertex_normals(posed.vertices[row], posed.faces).numpy()
    normal = normals[corners].mean(1)
    ray = posed.vertices[row][corners].mean(1)
    cosine = -(normal * ray).sum(-1)
    return np.asarray(
        cosine / np.maximum(np.linalg.norm(normal, axis=-1) * np.linalg.norm(ray, axis=-1), 1e-12)
    )


@dataclass(frozen=True)
class _Grid:
    """Every second pixel of a key frame on the mesh."""

    corners: NDArray[np.int64]
    """(n,3) vertices."""
    weights: NDArray[np.float32]
    """(n,3)"""
    covered: NDArray[np.bool_]
    """(h,w)"""
    size: tuple[int, int]
    """(W,H) of the key's picture."""
    STEP = 2

    @classmethod
    def of(
        cls, index_map: NDArray[np.int32], weights_map: NDArray[np.float32],
        faces: NDArray[np.int64],
    ) -> _Grid:  # fmt: skip
        index = index_map[:: cls.STEP, :: cls.STEP]
        covered = index >= 0
        weights = weights_map[:: cls.STEP, :: cls.STEP][covered]
        height, width = index_map.shape
        return cls(faces[index[covered]], weights, covered, (width, height))

    def map_to(self, pixels: Array) -> NDArray[np.float32]:
        """(H,W,2) where each pixel is among vertices (N,2); beside the mesh by an affine map."""
        values = pixels.astype(np.float32)[self.corners]
        inside = (values * self.weights[..., None]).sum(1)
        v, u = np.nonzero(self.covered)
        height, width = self.covered.shape
        some = slice(None, None, max(1, len(u) // 2000))
        ones = np.ones_like(u[some], np.float32)
        affine = np.linalg.lstsq(np.stack([u[some], v[some], ones], 1), inside[some], rcond=None)[0]
        y, x = np.mgrid[:height, :width].astype(np.float32)
        field = np.stack([x, y, np.ones_like(x)], -1) @ affine.astype(np.float32)
        field[self.covered] = inside
        # Pixel p of the picture is at p / STEP of the grid.
        w, h = self.size
        to_grid = np.array([[1.0 / self.STEP, 0, 0], [0, 1.0 / self.STEP, 0]])
        return np.asarray(
            cv2.warpAffine(field.astype(np.float32), to_grid, (w, h),
                           flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                           borderMode=cv2.BORDER_REPLICATE), np.float32,
        )  # fmt: skip


def _find(
    here: NDArray[np.uint8], there: NDArray[np.uint8], to_other: NDArray[np.float32],
    points: NDArray[np.float32], window: int, settings: FollowSettings,
) -> tuple[NDArray[np.float32], Array, NDArray[np.bool_]]:  # fmt: skip
    """Where points (P,2) of the key are in the warped other picture, their deviation, and whether
    they were found."""
    warped = cv2.remap(there, to_other, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    options = {
        "winSize": (window, window), "maxLevel": 2,
        "criteria": (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 0.005),
        "minEigThreshold": settings.least_texture,
    }  # fmt: skip
    moved, ok, _ = cv2.calcOpticalFlowPyrLK(here, warped, points, None, **options)
    back, ok_back, _ = cv2.calcOpticalFlowPyrLK(warped, here, moved, None, **options)
    good = (ok[:, 0] > 0) & (ok_back[:, 0] > 0)
    good &= np.linalg.norm(back - points, axis=-1) < settings.round_trip_px
    height, width = here.shape
    good &= (moved >= 0).all(-1) & (moved[:, 0] < width - 1) & (moved[:, 1] < height - 1)
    correlation, deviation = _compare(here, warped, points, moved, window)
    return moved, deviation, good & (correlation > settings.correlation)


def _compare(
    here: NDArray[np.uint8], there: NDArray[np.uint8], points: NDArray[np.float32],
    moved: NDArray[np.float32], window: int,
) -> tuple[Array, Array]:  # fmt: skip
    """Correlation (P,) of the patches, and the deviation (P,) that their difference leaves a match.

    A patch with gradients g matched under noise of variance s^2 in both has the covariance
    s^2 (sum g g')^-1; the difference has variance 2 s^2, all of which is taken for noise.
    """
    a, b = _patches(here, points, window), _patches(there, moved, window)
    a = a - a.mean((1, 2), keepdims=True)
    b = b - b.mean((1, 2), keepdims=True)
    power = np.sqrt((a * a).sum((1, 2)) * (b * b).sum((1, 2)))
    correlation = (a * b).sum((1, 2)) / np.maximum(power, 1e-6)
    gain = (a * b).sum((1, 2)) / np.maximum((b * b).sum((1, 2)), 1e-6)
    noise = ((a - gain[:, None, None] * b) ** 2).mean((1, 2))
    gy, gx = np.gradient(a, axis=(1, 2))
    xx, yy, xy = (gx * gx).sum((1, 2)), (gy * gy).sum((1, 2)), (gx * gy).sum((1, 2))
    least = 0.5 * (xx + yy) - np.sqrt(0.25 * (xx - yy) ** 2 + xy**2)
    return correlation, np.sqrt(noise / np.maximum(least, 1e-6))


def _patches(image: NDArray[np.uint8], points: NDArray[np.float32], window: int) -> Array:
    """(P,w,w) around points (P,2), bilinear."""
    reach = np.arange(window, dtype=np.float32) - window // 2
    x = (points[:, :1] + reach)[:, None].repeat(window, 1)
    y = (points[:, 1:] + reach)[:, :, None].repeat(window, 2)
    flat = (len(points) * window, window)
    sampled = cv2.remap(
        image, x.reshape(flat), y.reshape(flat), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return sampled.reshape(len(points), window, window).astype(np.float64)


def _sample(field: NDArray[np.float32], points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values (P,2) of a field (H,W,2) at points (P,2), bilinear.

    Not by `cv2.remap`, which rounds positions to 1/32 pixel.
    """
    corner = np.floor(points).astype(int)
    corner = np.clip(corner, 0, np.array(field.shape[1::-1]) - 2)
    u, v = (points - corner).T[..., None]
    x, y = corner.T
    top = field[y, x] * (1 - u) + field[y, x + 1] * u
    bottom = field[y + 1, x] * (1 - u) + field[y + 1, x + 1] * u
    return np.asarray(top * (1 - v) + bottom * v, np.float32)
