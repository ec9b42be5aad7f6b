# SPDX-License-Identifier: GPL-3.0-or-later
"""Image data-blocks whose pixels come from arrays."""

from __future__ import annotations

import bpy
import numpy as np
from numpy.typing import NDArray


def update_image(
    image: bpy.types.Image | None, name: str, pixels: NDArray[np.uint8], is_data: bool
) -> bpy.types.Image:
    """Give an image these pixels, or make one; it is packed into the .blend file.

    pixels (H, W, 4), first row at the top. is_data: numbers, not colours.
    """
    height, width = pixels.shape[:2]
    if image is None:
        image = bpy.data.images.new(name, width, height, alpha=True, is_data=is_data)
        # Alpha says where a texel was measured; it must not cut out or darken the colour.
        image.alpha_mode = "CHANNEL_PACKED"
    if tuple(image.size) != (width, height):
        image.scale(width, height)
    values = pixels[::-1].astype(np.float32)
    values /= 255.0
    image.pixels.foreach_set(values.ravel())
    image.update()
    image.pack()
    return image
