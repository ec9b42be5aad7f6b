"""The part of a frame that shows the head, at a size that can be worked with."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from backend.geometry.rasterizer import rasterize

from .posed import Array

# Detail finer than this share of the head's height is skin; coarser is light and shade.
DETAIL = 0.02
# Grey levels of noise below which detail is not made brighter.
FLOOR = 3.0
MARGIN = 0.06
# Hiding surfaces nearer by this (metres) hide.
BEHIND = 0.006


@dataclass(frozen=True)
class Crop:
    """Pixels of a crop are `scale` times (pixels of the frame - origin)."""

    origin: Array
    """(2,) pixels of the frame."""
    scale: float
    size: tuple[int, int]
    """(W, H) of the crop."""

    def to_crop(self, pixels: Array) -> Array:
        """Pixels (...,2) of the frame in the crop; centres at integers in both."""
        return (pixels - self.origin + 0.5) * self.scale - 0.5

    def to_frame(self, pixels: Array) -> Array:
        """Pixels (...,2) of the crop in the frame."""
        return (pixels + 0.5) / self.scale - 0.5 + self.origin


def crop_of(pixels: Array, image_size: tuple[int, int], largest: int) -> Crop | None:
    """The crop around a head's vertices (N,2); None where the frame shows too little of it.

    largest: side of the crop in pixels that is not exceeded.
    """
    low, high = pixels.min(0), pixels.max(0)
    margin = MARGIN * (high - low).max()
    low = np.maximum(np.floor(low - margin), 0)
    high = np.minimum(np.ceil(high + margin), np.array(image_size) - 1)
    if not (high - low > 32).all():
        return None
    side = high - low + 1
    scale = min(1.0, largest / float(side.max()))
    width, height = (int(np.ceil(x * scale)) for x in side)
    return Crop(low, scale, (width, height))


def cut(image: NDArray[np.uint8], crop: Crop) -> NDArray[np.uint8]:
    """Grey levels (H,W) of the crop of a frame (H,W,3) RGB."""
    x, y = crop.origin.astype(int)
    width, height = (int(np.ceil(n / crop.scale)) for n in crop.size)
    part = cv2.cvtColor(
        np.ascontiguousarray(image[y : y + height, x : x + width]), cv2.COLOR_RGB2GRAY
    )
    if crop.scale == 1.0:
        return np.asarray(part, np.uint8)
    # Exact about the crop's corner: `resize` would fit the rounded sizes to each other.
    back = 1.0 / crop.scale
    shift = 0.5 * back - 0.5
    soft = cv2.GaussianBlur(part, (0, 0), 0.4 * back)
    map_ = np.array([[back, 0.0, shift], [0.0, back, shift]])
    return np.asarray(
        cv2.warpAffine(soft, map_, crop.size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                       borderMode=cv2.BORDER_REPLICATE), np.uint8,
    )  # fmt: skip


def detail(gray: NDArray[np.uint8], head_px: float) -> NDArray[np.uint8]:
    """Fine detail (H,W) alone, evened out: what light and shade do to skin is coarser.

    head_px: height of the head in pixels of `gray`.
    """
    spread = max(2.0, DETAIL * head_px)
    level = gray.astype(np.float32)
    high = level - cv2.GaussianBlur(level, (0, 0), spread)
    contrast = np.sqrt(cv2.GaussianBlur(high * high, (0, 0), 2.0 * spread))
    return np.clip(128.0 + 40.0 * high / (contrast + FLOOR), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Picture:
    """A frame's head: its detail, and the mesh on it."""

    row: int
    """Of the posed shot."""
    crop: Crop
    detail: NDArray[np.uint8]
    """(H,W)"""
    pixels: Array
    """(N,2) of the vertices in the crop."""
    depth: NDArray[np.float32]
    """(H/2,W/2) of the mesh in metres; inf beside it."""

    def sees(self, pixels: Array, depth: Array) -> NDArray[np.bool_]:
        """(P,) whether points at crop pixels (P,2) and a depth (P,) are inside and not hidden."""
        height, width = self.depth.shape
        at = np.round((pixels + 0.5) / 2 - 0.5)
        at = np.where(np.isfinite(at), at, -1).astype(int)
        inside = (at >= 1).all(-1) & (at[:, 0] < width - 1) & (at[:, 1] < height - 1)
        x, y = np.where(inside[:, None], at, 1).T
        return inside & (depth < self.depth[y, x] + BEHIND)


def picture_of(
    image: NDArray[np.uint8], row: int, pixels: Array, depth: Array,
    faces: NDArray[np.int64], largest: int,
) -> Picture | None:  # fmt: skip
    """A frame's head, None where it shows too little of it.

    Args: image (H,W,3) RGB; pixels (N,2) and depth (N,) of the mesh (T,3) in it; row: what the
    frame is called; largest: side in pixels beyond which the picture is made smaller.
    """
    if not np.isfinite(pixels).all():
        return None
    crop = crop_of(pixels, (image.shape[1], image.shape[0]), largest)
    if crop is None:
        return None
    inside = crop.to_crop(pixels)
    gray = cut(image, crop)
    tall = float(np.ptp(inside[:, 1]))
    half = np.concatenate([(inside + 0.5) / 2 - 0.5, depth[:, None]], 1)
    size = ((crop.size[0] + 1) // 2, (crop.size[1] + 1) // 2)
    nearest = rasterize(torch.from_numpy(half), faces, size, cull_backfaces=True)[2]
    return Picture(row, crop, detail(gray, tall), inside, nearest.numpy())
