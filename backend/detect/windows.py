"""Square windows on an image: the region of interest that training and tracking share.

Pixel centres are at integers in images and in crops. A window's own coordinates are [-1,1] from
its outer edges, so pixel u of a crop of S pixels lies at (2 u + 1) / S - 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

ROI_SCALE = 1.55
"""Side of the region of interest over the longer side of the box around the 68 points."""
BORDER = (127, 127, 127)
"""Colour of what lies outside the image: zero to the network."""

_NOSE_BRIDGE, _CHIN = 27, 8


@dataclass(frozen=True)
class Window:
    """A square on an image."""

    x: float
    """Pixels of the centre."""
    y: float
    """Pixels of the centre."""
    side: float
    """Pixels from edge to edge."""
    roll: float = 0.0
    """Radians by which the square is turned, from image x toward image y (clockwise as seen)."""

    def axes(self) -> NDArray[np.float64]:
        """(2,2) whose columns are the window's half axes in image pixels."""
        c, s = np.cos(self.roll), np.sin(self.roll)
        return 0.5 * self.side * np.array([[c, -s], [s, c]])

    def to_image(self, points: NDArray) -> NDArray:
        """Window coordinates (...,2) as image pixels."""
        return np.asarray(points) @ self.axes().T + np.array([self.x, self.y])

    def to_window(self, points: NDArray) -> NDArray:
        """Image pixels (...,2) as window coordinates."""
        centred = np.asarray(points) - np.array([self.x, self.y])
        return centred @ np.linalg.inv(self.axes()).T

    def jittered(self, shift: tuple[float, float], scale: float, roll: float) -> Window:
        """Moved by `shift` sides along its own axes, `scale` times as large, turned by `roll`."""
        x, y = self.to_image(2.0 * np.asarray(shift))
        return Window(float(x), float(y), self.side * scale, self.roll + roll)

    def matrix(self, size: int) -> NDArray[np.float64]:
        """(2,3) affine map from pixels of a crop of `size` to image pixels, as cv2 wants it."""
        scaled = self.axes() * (2.0 / size)
        origin = self.to_image(np.full(2, 1.0 / size - 1.0))
        return np.hstack([scaled, origin[:, None]])


def roi(points: NDArray) -> Window:
    """The region of interest of a face.

    points: (>=68,2) in pixels, iBUG's 68 first. Upright along the line from the nose bridge (27)
    to the chin (8), centred on the box around the 68 points in that frame, `ROI_SCALE` times as
    large as the box's longer side.
    """
    face = np.asarray(points[:68], np.float64)
    down = face[_CHIN] - face[_NOSE_BRIDGE]
    roll = float(np.arctan2(-down[0], down[1]))
    turned = Window(0.0, 0.0, 2.0, roll)
    upright = turned.to_window(face)
    low, high = upright.min(0), upright.max(0)
    x, y = turned.to_image((low + high) / 2)
    side = ROI_SCALE * max(float((high - low).max()), 1e-3)
    return Window(float(x), float(y), side, roll)


def crop(image: NDArray[np.uint8], window: Window, size: int) -> NDArray[np.uint8]:
    """Cut a window out of an image (H,W,3) as (size,size,3), without aliasing.

    What lies outside the image is `BORDER`.
    """
    matrix = window.matrix(size)
    reduction = int(window.side / size)
    if reduction >= 2:
        image, matrix = _reduce(image, window, matrix, reduction)
    return cv2.warpAffine(
        image,
        matrix,
        (size, size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=BORDER,
    )


def _reduce(
    image: NDArray[np.uint8], window: Window, matrix: NDArray[np.float64], reduction: int
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Average blocks of the part of the image that a window covers, and the matrix for it."""
    corners = window.to_image(np.array([[-1, -1], [1, -1], [-1, 1], [1, 1]], float))
    height, width = image.shape[:2]
    low = np.clip(np.floor(corners.min(0)) - reduction, 0, [width - 1, height - 1]).astype(int)
    high = np.clip(np.ceil(corners.max(0)) + reduction, low + 1, [width, height]).astype(int)
    # Whole blocks only, or the last row and column would be squeezed.
    blocks = np.maximum((high - low) // reduction, 1)
    reach = np.minimum(low + blocks * reduction, [width, height])
    part = image[low[1] : reach[1], low[0] : reach[0]]
    small = cv2.resize(part, tuple(blocks.tolist()), interpolation=cv2.INTER_AREA)
    factor = (reach - low) / blocks
    linear = matrix[:, :2] / factor[:, None]
    offset = (matrix[:, 2] - low + 0.5) / factor - 0.5
    return small, np.hstack([linear, offset[:, None]])
