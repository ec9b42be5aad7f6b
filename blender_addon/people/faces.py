# SPDX-License-Identifier: GPL-3.0-or-later
"""Small pictures of the people in the list, as icons: kept while Blender runs, not in the file."""

from __future__ import annotations

from typing import Any

import bpy.utils.previews
import numpy as np
from numpy.typing import NDArray

ICON = 32
"""Width and height of an icon in pixels."""

_previews: list[Any] = []
"""Blender's collection of them, while the add-on is on."""


def show_face(key: str, picture: NDArray[np.uint8]) -> None:
    """Have a picture (A, A, 3), sRGB, first row at the top, as a person's icon, by their key."""
    if not _previews or picture.ndim != 3 or min(picture.shape[:2]) < 1:
        return
    faces = _previews[0]
    if key in faces:
        del faces[key]
    face = faces.new(key)
    face.image_size = picture.shape[1], picture.shape[0]
    face.image_pixels_float = _pixels(picture)
    rows, columns = (np.arange(ICON) * side // ICON for side in picture.shape[:2])
    face.icon_size = ICON, ICON
    face.icon_pixels_float = _pixels(picture[rows[:, None], columns])


def face_icon(key: str) -> int:
    """Return the number of a person's icon for `icon_value`; 0 where there is none."""
    return _previews[0][key].icon_id if _previews and key in _previews[0] else 0


def _pixels(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return a picture as Blender has it: RGBA from 0 to 1, first row at the bottom, flat."""
    pixels = np.ones((*picture.shape[:2], 4), np.float32)
    pixels[..., :3] = picture[::-1] / np.float32(255.0)
    return pixels.reshape(-1)


def register() -> None:
    """Have room for pictures."""
    _previews.append(bpy.utils.previews.new())


def unregister() -> None:
    """Free them."""
    while _previews:
        bpy.utils.previews.remove(_previews.pop())
