"""A picture to judge a bake by: textures, and frames beside their re-rendering and visibility."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from backend.bake.visibility import VISIBLE
from backend.geometry.rasterizer import ShadingSettings, interpolate, rasterize, render_shaded
from backend.geometry.rasterizer import to_pixels as project

Image = NDArray[np.uint8]
TILE = 480
"""Height of the pictures of a row, pixels."""


def alpha_picture(texture: Image) -> Image:
    """Colour (H, W, 3) by where a texel is from: green measured, yellow mirrored, red filled."""
    alpha = texture[..., 3]
    result = np.zeros((*alpha.shape, 3), np.uint8)
    result[alpha > 0] = (200, 60, 50)
    result[alpha >= 128] = (220, 190, 60)
    result[alpha == 255] = (70, 170, 80)
    return result


def row_of_frame(
    image: Image,
    vertices: NDArray[np.float32],
    faces: NDArray[np.int32],
    uv: NDArray[np.float32],
    K: NDArray[np.float64],
    texture: Image,
    visibility: NDArray[np.float32],
    covered: NDArray[np.float32],
    label: str,
) -> Image:
    """One frame, the head drawn over it with the texture, and what is seen of it.

    image: (H, W, 3); vertices: (N, 3) metres, camera frame; faces: (T, 3); uv: (T, 3, 2); K: (3, 3)
    pixels; texture: (S, S, 3); visibility, covered: (N,) 0 to 1. In the third picture green is
    seen, red covered by something, blue hidden by the head. Returns (TILE, W', 3).
    """
    size = (image.shape[1], image.shape[0])
    drawn = render_shaded(
        vertices,
        faces,
        K,
        size,
        texture=texture,
        uv=uv.reshape(-1, 2),
        face_uv=np.arange(3 * len(faces)).reshape(-1, 3),
        settings=ShadingSettings(ambient=1.0),
    )
    share = drawn[..., 3:] / 255.0
    again = image * (1 - share) + drawn[..., :3] * share
    colors = np.full((len(vertices), 3), (60, 70, 200), np.float32)
    colors[visibility >= VISIBLE] = (60, 190, 90)
    colors[covered >= VISIBLE] = (220, 50, 50)
    index, weights, _ = rasterize(project(vertices, K), faces, size)
    tint = interpolate(colors, faces, index, weights).numpy()
    mask = (index >= 0).numpy()[..., None] * 0.45
    seen = image * (1 - mask) + tint * mask
    left, top, right, bottom = _box(vertices, K, size)
    tiles = [
        _to_height(np.clip(tile, 0, 255).astype(np.uint8)[top:bottom, left:right], TILE)
        for tile in (image, again, seen)
    ]
    cv2.putText(tiles[0], label, (8, 26), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (255, 255, 0), 2)
    return np.hstack(tiles)


def row_of_textures(texture: Image, albedo: Image | None, environment: Image | None) -> Image:
    """The texture, where it is from, the albedo-like one and the light, side by side."""
    tiles = [texture[..., :3], alpha_picture(texture)]
    tiles += [] if albedo is None else [albedo]
    tiles = [_to_height(tile, 2 * TILE) for tile in tiles]
    if environment is not None:
        light = cv2.resize(environment, (2 * TILE, TILE), interpolation=cv2.INTER_LINEAR)
        tiles.append(np.vstack((light, np.zeros_like(light))))
    return np.hstack(tiles)


def stack(rows: list[Image], columns: int = 2) -> Image:
    """Rows of pictures of several widths as one picture, on black."""
    width = max(row.shape[1] for row in rows)
    first, rest = rows[:1], rows[1:]
    cells = [np.hstack(rest[i : i + columns]) for i in range(0, len(rest), columns)]
    width = max([width, *(cell.shape[1] for cell in cells)])
    padded = []
    for row in (*first, *cells):
        space = np.zeros((row.shape[0], width - row.shape[1], 3), np.uint8)
        padded.append(np.hstack((row, space)))
    return np.vstack(padded)


def _to_height(image: Image, height: int) -> Image:
    width = max(1, round(image.shape[1] * height / image.shape[0]))
    how = cv2.INTER_AREA if height < image.shape[0] else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=how)


def _box(
    vertices: NDArray[np.float32], K: NDArray[np.float64], size: tuple[int, int]
) -> tuple[int, int, int, int]:
    """A rectangle of the picture around the head, of the same shape in all frames."""
    pixels = project(vertices, K)[..., :2].numpy()
    middle = np.nan_to_num((np.nanmin(pixels, 0) + np.nanmax(pixels, 0)) / 2)
    half = 0.6 * float(np.nan_to_num(np.nanmax(np.ptp(pixels, axis=0)), nan=100.0))
    half = max(8.0, min(half, *(side / 2 for side in size)))
    x = float(np.clip(middle[0], half, size[0] - half))
    y = float(np.clip(middle[1], half, size[1] - half))
    left, top = round(x - half), round(y - half)
    return left, top, left + round(2 * half), top + round(2 * half)
