# SPDX-License-Identifier: GPL-3.0-or-later
"""Fill masks: closed curves to white on black, as a refine job takes them; knows no bpy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

STEPS = 16
"""Straight pieces of one segment of a curve."""


@dataclass(frozen=True, eq=False)
class MaskLayer:
    """Closed outlines that are filled together, and how they go over the layers below."""

    outlines: tuple[Array, ...]
    """(P, 2) corners each, in mask coordinates: 0 to 1 along the picture's longer side, y up."""
    alpha: float = 1.0
    invert: bool = False
    blend: str = "MERGE_ADD"
    """As Blender calls it."""
    holes: bool = True
    """Whether an outline within another one cuts it out."""


def flatten(points: ArrayLike, left: ArrayLike, right: ArrayLike) -> Array:
    """Return a closed Bézier curve's outline (P * STEPS, 2).

    points, left, right: (P, 2) control points with their left and right handles.
    """
    a, b = np.asarray(points, np.float64), np.asarray(right, np.float64)
    d, c = np.roll(a, -1, axis=0), np.roll(np.asarray(left, np.float64), -1, axis=0)
    t = (np.arange(STEPS) / STEPS)[None, :, None]
    s = 1.0 - t
    curve = (
        s**3 * a[:, None]
        + 3 * s**2 * t * b[:, None]
        + 3 * s * t**2 * c[:, None]
        + t**3 * d[:, None]
    )
    return curve.reshape(-1, 2)


def mask_to_pixels(points: ArrayLike, size: tuple[int, int], pixel_aspect: float = 1.0) -> Array:
    """Return pixels (..., 2) of a picture of size (W, H) for mask coordinates (..., 2).

    Blender's mask space is square: its 0 to 1 is the longer side of the picture as it is shown, and
    the shorter one is in its middle. pixel_aspect: height of a pixel over its width as shown.
    """
    width, height = size
    shown = np.array([width, height * pixel_aspect], np.float64)
    share = (np.asarray(points, np.float64) - 0.5) * shown.max() / shown + 0.5
    x = share[..., 0] * width - 0.5
    y = (1.0 - share[..., 1]) * height - 0.5
    return np.stack((x, y), -1)


def fill(outlines: Iterable[Array], size: tuple[int, int], holes: bool = True) -> NDArray[np.bool_]:
    """Return (H, W) which pixel centres lie inside of closed outlines (P, 2), in pixels.

    holes: inside of an even number of outlines is outside; otherwise all insides count.
    """
    width, height = size
    filled = np.zeros((height, width), bool)
    for outline in outlines:
        inside = _inside(np.asarray(outline, np.float64), width, height)
        filled = filled ^ inside if holes else filled | inside
    return filled


def _inside(outline: Array, width: int, height: int) -> NDArray[np.bool_]:
    """Even-odd rule: a row's pixels change sides at each edge that the row crosses."""
    flips = np.zeros((height, width + 1), bool)
    for (x0, y0), (x1, y1) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        low, high = (y0, y1) if y0 < y1 else (y1, y0)
        rows = np.arange(max(0, int(np.ceil(low))), min(height, int(np.ceil(high))))
        crossing = x0 + (rows - y0) * (x1 - x0) / (y1 - y0)
        column = np.clip(np.ceil(crossing), 0, width).astype(np.int64)
        flips[rows, column] ^= True
    return np.logical_xor.accumulate(flips, axis=1)[:, :width]


def draw(
    layers: Sequence[MaskLayer], size: tuple[int, int], pixel_aspect: float = 1.0
) -> NDArray[np.uint8]:
    """Return layers, the lowest first, as a grey picture (H, W). Feathers are left out."""
    value = np.zeros((size[1], size[0]))
    for layer in layers:
        outlines = [mask_to_pixels(o, size, pixel_aspect) for o in layer.outlines]
        own = fill(outlines, size, layer.holes).astype(np.float64)
        own = (1.0 - own if layer.invert else own) * layer.alpha
        value = np.clip(_blended(value, own, layer.blend), 0.0, 1.0)
    return np.round(255 * value).astype(np.uint8)


def _blended(below: Array, own: Array, blend: str) -> Array:
    if blend == "MERGE_SUBTRACT":
        return below * (1.0 - own)
    if blend == "ADD":
        return below + own
    if blend == "SUBTRACT":
        return below - own
    if blend == "LIGHTEN":
        return np.maximum(below, own)
    if blend == "DARKEN":
        return np.minimum(below, own)
    if blend == "MUL":
        return below * own
    if blend == "REPLACE":
        return own
    if blend == "DIFFERENCE":
        return np.abs(below - own)
    return below + own * (1.0 - below)
