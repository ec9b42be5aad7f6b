"""Colours of a video frame at fractional pixels, filtered for how much the surface shrinks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from backend.bake.color import linear_on

MAX_LEVEL = 5
"""Coarsest level of the image pyramid: one pixel stands for 32 x 32."""


@dataclass(frozen=True)
class ImagePyramid:
    """A crop of a frame in linear light, and its halvings."""

    origin: tuple[int, int]
    """Column and row of the crop's first pixel in the frame."""
    levels: tuple[Tensor, ...]
    """(1, 3, h, w) each, the first at full resolution."""

    def sample(self, pixels: Tensor, level: Tensor) -> Tensor:
        """Colours (P, 3), linear light.

        pixels: (P, 2) of the whole frame, centres at integers; outside the crop the border's
        colour repeats. level: (P,) log2 of the pixels that one sample stands for along an axis.
        """
        local = pixels - pixels.new_tensor(self.origin)
        level = level.clamp(0, len(self.levels) - 1)
        coarsest = int(np.ceil(float(level.max()))) if len(level) else 0
        if coarsest == 0:
            return _bilinear(self.levels[0], local)
        result = pixels.new_zeros(len(pixels), 3)
        for index in range(coarsest + 1):
            share = (1 - (level - index).abs()).clamp(min=0)
            part = share.nonzero()[:, 0]
            # Pixel centres of a level that is 2^n times coarser: (x + 0.5) / 2^n - 0.5.
            scaled = (local[part] + 0.5) / 2**index - 0.5
            result[part] += share[part, None] * _bilinear(self.levels[index], scaled)
        return result


def build_pyramid(
    image_rgb: np.ndarray, low: Tensor, high: Tensor, max_level: float
) -> ImagePyramid:
    """Decode the part of a frame that the head covers.

    image_rgb: (H, W, 3) u8 sRGB. low, high: (2,) corners of the wanted rectangle in pixels, which
    is cut at the frame; the pyramid is on their device. max_level: the highest level that will be
    sampled, rounded up here.
    """
    assert image_rgb.dtype == np.uint8 and image_rgb.ndim == 3 and image_rgb.shape[2] == 3
    n_levels = min(MAX_LEVEL, max(0, int(np.ceil(max_level))))
    rim = 2 ** (n_levels + 1)
    height, width = image_rgb.shape[:2]
    x0, x1 = _cut(float(low[0]) - rim, float(high[0]) + rim, width)
    y0, y1 = _cut(float(low[1]) - rim, float(high[1]) + rim, height)
    linear = linear_on(image_rgb[y0:y1, x0:x1], low.device)
    level = linear.permute(2, 0, 1)[None].contiguous()
    levels = [level]
    for _ in range(n_levels):
        level = torch.nn.functional.avg_pool2d(level, 2, ceil_mode=True, count_include_pad=False)
        levels.append(level)
    return ImagePyramid((x0, y0), tuple(levels))


def _cut(low: float, high: float, length: int) -> tuple[int, int]:
    """First and last-plus-one pixel of a range inside an image, one pixel at least."""
    first = int(np.clip(np.floor(low), 0, length - 1))
    return first, int(np.clip(np.ceil(high) + 1, first + 1, length))


def _bilinear(image: Tensor, pixels: Tensor) -> Tensor:
    size = pixels.new_tensor((image.shape[3], image.shape[2]))
    grid = (2 * pixels + 1) / size - 1
    sampled = torch.nn.functional.grid_sample(
        image, grid[None, None], mode="bilinear", padding_mode="border", align_corners=False
    )
    return sampled[0, :, 0].T
