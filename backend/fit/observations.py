"""Landmarks as they come, cleaned: what counts, how certain it is, and where lenses bend it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backend.errors import BadInputError, NoFaceError

from . import start
from .settings import Constraints, FitSettings

Array = NDArray[np.float64]
# A frame with fewer of its landmarks counts as one without a face.
LEAST_SEEN = 0.2


@dataclass(frozen=True)
class Observations:
    """Landmarks of F frames in C cameras, undistorted."""

    landmarks_2d: Array
    """(F,C,L,2) pixels; where there is none, the middle of the others."""
    sigma: Array
    """(F,C,L) pixels, infinite where there is no landmark; of a directed one, its mean."""
    whitening: Array | None
    """(F,C,L,2,2) W with W (x - mu) of unit covariance, where sigma has a direction."""
    found: NDArray[np.bool_]
    """(F,C)"""
    size: Array
    """(F,C) size of the face, pixels; the typical one where it is not found."""


def clean(
    landmarks_2d: ArrayLike, landmark_sigma: ArrayLike, found: ArrayLike, count: int,
    centres: Array, focal_px: Array, settings: FitSettings, constraints: Constraints,
) -> Observations:  # fmt: skip
    """Check landmarks (F,C,L,2), sigma (F,C,L) or covariances (F,C,L,2,2), found (F,) or (F,C).

    centres (C,2) and focal_px (C,) tell where a lens's distortion is centred and its unit. What is
    not finite, or whose sigma is not positive, does not count.
    Raises: BadInputError for shapes that do not fit, NoFaceError without any face.
    """
    seen = np.asarray(landmarks_2d, np.float64)
    given = np.asarray(landmark_sigma, np.float64)
    marked = np.asarray(found, bool)
    cameras = len(centres)
    if marked.ndim == 1:
        marked = np.repeat(marked[:, None], cameras, axis=1)
    shape = (*marked.shape, count)
    if seen.shape != (*shape, 2) or given.shape not in (shape, (*shape, 2, 2)):
        raise BadInputError(
            f"landmarks {seen.shape}, sigma {given.shape} and found {marked.shape} do not fit "
            f"{count} points in {cameras} cameras"
        )
    directed = given.ndim == 5
    sigma = given
    if directed:
        area = np.linalg.det(np.where(np.isfinite(given), given, 0.0))
        sigma = np.where(area > 0, np.abs(area), np.nan) ** 0.25
    usable = marked[..., None] & np.isfinite(seen).all(-1) & np.isfinite(sigma) & (sigma > 0)
    if constraints.masked is not None:
        masked = np.asarray(constraints.masked, bool)
        usable &= ~(masked[:, None] if masked.ndim == 2 else masked)
    usable[[f for f in constraints.ignored_frames if 0 <= f < len(usable)]] = False
    with_face = usable.mean(axis=2) >= LEAST_SEEN
    if not with_face.any():
        raise NoFaceError("no frame has a face to fit")
    usable &= with_face[..., None]
    if any(settings.distortion):
        for c in range(cameras):
            seen[:, c] = undistort(seen[:, c], centres[c], focal_px[c], settings.distortion)
    seen = _fill(seen, usable)
    flat = np.where(usable[..., None], seen, np.nan).reshape(-1, count, 2)
    size = start.face_size(flat).reshape(marked.shape)
    for c in range(cameras):
        typical = size[:, c][with_face[:, c]]
        size[~with_face[:, c], c] = np.median(typical) if len(typical) else np.nanmedian(size)
    floor = settings.sigma_floor * size[..., None]
    sigma = np.where(usable, np.maximum(sigma, floor), np.inf)
    whitening = None
    if directed:
        whole = np.where(usable[..., None, None], given, np.eye(2)) + (
            (floor**2)[..., None, None] * np.eye(2)
        )
        whitening = np.linalg.inv(np.linalg.cholesky(whole)) * usable[..., None, None]
    return Observations(seen, sigma, whitening, with_face, size)


def undistort(
    pixels: Array, centre: Array, focal_px: float, k: tuple[float, float, float]
) -> Array:
    """Where points (...,2) of a distorted image would be without its lens's distortion.

    Blender's polynomial model: distorted = r (1 + k1 |r|^2 + k2 |r|^4 + k3 |r|^6), r = (x - c) / f.
    """
    bent = (pixels - centre) / focal_px
    ray = bent
    for _ in range(20):
        ray = bent / _bend(ray, k)
    return ray * focal_px + centre


def distort(pixels: Array, centre: Array, focal_px: float, k: tuple[float, float, float]) -> Array:
    """The inverse of `undistort`."""
    ray = (pixels - centre) / focal_px
    return ray * _bend(ray, k) * focal_px + centre


def _bend(ray: Array, k: tuple[float, float, float]) -> Array:
    square = np.square(ray).sum(-1, keepdims=True)
    return 1 + square * (k[0] + square * (k[1] + square * k[2]))


def _fill(landmarks_2d: Array, usable: NDArray[np.bool_]) -> Array:
    """Landmarks without use, in the middle of their frame's others: they carry no weight."""
    kept = np.where(usable[..., None], landmarks_2d, 0.0)
    middle = kept.sum(axis=2) / np.maximum(usable.sum(axis=2), 1)[..., None]
    return np.where(usable[..., None], kept, middle[:, :, None])
