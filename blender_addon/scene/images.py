# SPDX-License-Identifier: GPL-3.0-or-later
"""Image data-blocks whose pixels come from arrays.

Decoding a texture of 2048 x 2048 takes Blender up to 0.1 s, in which nothing else happens; to copy
the pixels that a thread has prepared takes a tenth of that. So an image shows copied pixels until
its .blend is saved, and carries the PNG file that is to stay in it; `settle_images` makes that
file its source.
"""

from __future__ import annotations

import bpy
from bpy.app.handlers import persistent

from ..png import Pixels

UNSETTLED = "mien_unsettled"
"""Custom property of an image that shows copied pixels of the file that it carries."""


def ensure_image(
    image: bpy.types.Image | None, name: str, size: tuple[int, int], is_data: bool
) -> bpy.types.Image:
    """Return an image of a size (W, H), made where there is none, that waits for pixels.

    is_data: numbers, not colours.
    """
    if image is None:
        image = bpy.data.images.new(name, *size, alpha=True, is_data=is_data)
        # Alpha says where a texel was measured; it must not cut out or darken the colour.
        image.alpha_mode = "CHANNEL_PACKED"
    else:
        image.source = "GENERATED"
        if (image.generated_width, image.generated_height) != size:
            image.generated_width, image.generated_height = size
    # Whoever asks for the size has the pixels made.
    image.size[:]
    return image


def set_pixels(image: bpy.types.Image, pixels: Pixels) -> None:
    """Give an image of `ensure_image` its pixels: about 3 ms for a million of them."""
    image.pixels.foreach_set(pixels.values)
    image.update()


def keep_png(image: bpy.types.Image, png: bytes) -> None:
    """Give an image the file that stays in the .blend: the same pixels."""
    image.pack(data=png, data_len=len(png))
    image[UNSETTLED] = True


def settle_images() -> None:
    """Have all images read the files that they carry, when they are drawn next."""
    for image in bpy.data.images:
        if image.get(UNSETTLED) and image.packed_file is not None:
            image.source = "FILE"
            del image[UNSETTLED]


@persistent
def _settle(*_: object) -> None:
    settle_images()


@persistent
def _heal(*_: object) -> None:
    """Undo, and files that Blender saved by itself, bring images without their pixels back."""
    if any(i.get(UNSETTLED) and not i.is_dirty for i in bpy.data.images):
        settle_images()


_HANDLERS = (
    ("save_pre", _settle),
    ("load_post", _settle),
    ("undo_post", _heal),
    ("redo_post", _heal),
)


def register() -> None:
    """Have the files ready whenever the .blend is saved or read."""
    for name, function in _HANDLERS:
        getattr(bpy.app.handlers, name).append(function)


def unregister() -> None:
    """Leave everything as it is to be kept."""
    settle_images()
    for name, function in _HANDLERS:
        handlers = getattr(bpy.app.handlers, name)
        if function in handlers:
            handlers.remove(function)
