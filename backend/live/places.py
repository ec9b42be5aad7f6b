"""Between a window and its image, for a hundred points: compiled, as the fit is.

The same as `Window.to_image`, `Window.to_window`, `roi` and `crop`, to which a test holds them.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from backend.detect.windows import _CHIN, _NOSE_BRIDGE, BORDER, ROI_SCALE, Window, crop
from backend.fit.realtime.compiled import compiled

Array = NDArray[np.float64]
_N = 68


@compiled
def _to_image(
    points: NDArray[np.float32], log_sigma: NDArray[np.float32], x: float, y: float, side: float,
    roll: float,
) -> tuple[Array, Array]:  # fmt: skip
    half = 0.5 * side
    c = half * math.cos(roll)
    s = half * math.sin(roll)
    count = len(points)
    pixels = np.empty((count, 2))
    sigma = np.empty(count)
    for i in range(count):
        u = float(points[i, 0])
        v = float(points[i, 1])
        pixels[i, 0] = c * u - s * v + x
        pixels[i, 1] = s * u + c * v + y
        sigma[i] = half * math.exp(float(log_sigma[i]))
    return pixels, sigma


@compiled
def _start(
    first: NDArray[np.float32], last: NDArray[np.float32], foreseen: Array, x: float, y: float,
    side: float, roll: float,
) -> NDArray[np.float32]:  # fmt: skip
    scale = 2.0 / side
    c = scale * math.cos(roll)
    s = scale * math.sin(roll)
    result = np.empty((1, len(first), 2), np.float32)
    for i in range(len(first)):
        u = foreseen[i, 0] - x
        v = foreseen[i, 1] - y
        result[0, i, 0] = first[i, 0] - last[i, 0] + c * u + s * v
        result[0, i, 1] = first[i, 1] - last[i, 1] - s * u + c * v
    return result


@compiled
def _region(points: Array, count: int) -> tuple[float, float, float, float]:
    dx = points[_CHIN, 0] - points[_NOSE_BRIDGE, 0]
    dy = points[_CHIN, 1] - points[_NOSE_BRIDGE, 1]
    roll = math.atan2(-dx, dy)
    c = math.cos(roll)
    s = math.sin(roll)
    low_u = low_v = math.inf
    high_u = high_v = -math.inf
    for i in range(count):
        u = c * points[i, 0] + s * points[i, 1]
        v = -s * points[i, 0] + c * points[i, 1]
        low_u = min(low_u, u)
        high_u = max(high_u, u)
        low_v = min(low_v, v)
        high_v = max(high_v, v)
    u = 0.5 * (low_u + high_u)
    v = 0.5 * (low_v + high_v)
    side = ROI_SCALE * max(high_u - low_u, high_v - low_v, 1e-3)
    return c * u - s * v, s * u + c * v, side, roll


@compiled
def _matrix(x: float, y: float, side: float, roll: float, size: int) -> Array:
    c = side / size * math.cos(roll)
    s = side / size * math.sin(roll)
    half = 0.5 * (size - 1)
    result = np.empty((2, 3))
    result[0, 0] = c
    result[0, 1] = -s
    result[0, 2] = x - half * (c - s)
    result[1, 0] = s
    result[1, 1] = c
    result[1, 2] = y - half * (s + c)
    return result


def cut(image: NDArray[np.uint8], window: Window, size: int) -> NDArray[np.uint8]:
    """A window of an image (H,W,3) as (size,size,3): `crop`, with less beside the pixels."""
    if window.side >= 2 * size:
        return crop(image, window, size)
    return cv2.warpAffine(
        image, _matrix(window.x, window.y, window.side, window.roll, size), (size, size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_CONSTANT,
        borderValue=BORDER,
    )  # fmt: skip


def to_image(
    points: NDArray[np.float32], log_sigma: NDArray[np.float32], window: Window
) -> tuple[Array, Array]:
    """Pixels (L,2) and sigma (L,) in pixels of points (L,2) and log sigma (L,) of a window."""
    return _to_image(points, log_sigma, window.x, window.y, window.side, window.roll)


def start_of(
    first: NDArray[np.float32], last: NDArray[np.float32], foreseen: Array, window: Window
) -> NDArray[np.float32]:
    """First estimates (1,L,2): `first` moved as far as `foreseen` (L,2), px, is from `last`."""
    return _start(first, last, foreseen, window.x, window.y, window.side, window.roll)


def region_of(points: Array) -> Window:
    """The region of interest of a face whose points (L,2) begin with iBUG's 68."""
    return Window(*_region(points, min(_N, len(points))))
