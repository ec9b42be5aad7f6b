"""Backgrounds made from nothing: noise, gradients, patterns, shapes, text, bokeh and rooms."""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_SCRIPT_SIMPLEX,
)


def _colour(rng: np.random.Generator) -> tuple[float, float, float]:
    """A random colour, dull more often than bright."""
    grey = rng.uniform(10, 245)
    r, g, b = np.clip(grey + rng.normal(0.0, rng.choice([8.0, 30.0, 80.0]), 3), 0, 255)
    return float(r), float(g), float(b)


def _paint(rng: np.random.Generator) -> Array:
    """A random colour (3,) float32."""
    return np.array(_colour(rng), dtype=np.float32)


def _noise(rng: np.random.Generator, height: int, width: int) -> Array:
    """Coloured noise of several octaves."""
    total = np.zeros((height, width, 3), dtype=np.float32)
    weight, cells = 1.0, int(rng.integers(2, 5))
    persistence = rng.uniform(0.35, 0.9)
    for _ in range(5):
        grid = rng.standard_normal((cells, cells, 3), dtype=np.float32)
        total += weight * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        weight *= persistence
        cells = min(cells * 2, max(height, width))
    mixing = rng.normal(0.0, rng.uniform(4, 28), (3, 3)).astype(np.float32)
    return total @ mixing + _paint(rng)


def _gradient(rng: np.random.Generator, height: int, width: int) -> Array:
    """Two to four colours, linear or radial."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    if rng.random() < 0.5:
        angle = rng.uniform(0, 2 * np.pi)
        t = x * np.cos(angle) + y * np.sin(angle)
    else:
        t = np.hypot(x - rng.uniform(0, width), y - rng.uniform(0, height))
    t = (t - t.min()) / max(float(np.ptp(t)), 1e-6)
    stops = np.linspace(0, 1, rng.integers(2, 5))
    colours = np.array([_colour(rng) for _ in stops])
    return np.stack([np.interp(t, stops, colours[:, c]) for c in range(3)], axis=-1)


def _stripes(rng: np.random.Generator, height: int, width: int) -> Array:
    """Stripes, checks or bricks, turned and soft at random."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    angle = rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)])
    period = rng.uniform(4, 5 + max(height, width) / 2)
    across = (x * np.cos(angle) + y * np.sin(angle)) / period
    along = (y * np.cos(angle) - x * np.sin(angle)) / period
    kind = rng.integers(3)
    if kind == 0:
        mask = across % 1.0 < rng.uniform(0.2, 0.8)
    elif kind == 1:
        mask = (np.floor(across) + np.floor(along)) % 2 == 0
    else:
        row = np.floor(across)
        mask = (across % 1.0 > 0.1) & ((along / 2 + 0.5 * (row % 2)) % 1.0 > 0.05)
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), rng.uniform(0.4, 3.0))[..., None]
    return soft * _paint(rng) + (1 - soft) * _paint(rng)


def _shapes(rng: np.random.Generator, height: int, width: int) -> Array:
    """Overlapping ellipses, boxes, polygons and lines."""
    image = np.empty((height, width, 3), dtype=np.uint8)
    image[:] = _paint(rng)
    reach = max(height, width)
    for _ in range(rng.integers(4, 30)):
        cx, cy = int(rng.integers(width)), int(rng.integers(height))
        a, b = (int(v) for v in rng.integers(2, max(3, reach // 3), 2))
        colour, turn = _colour(rng), float(rng.uniform(0, 180))
        thickness = -1 if rng.random() < 0.7 else int(rng.integers(1, 6))
        kind = rng.integers(4)
        if kind == 0:
            cv2.ellipse(image, (cx, cy), (a, b), turn, 0, 360, colour, thickness, cv2.LINE_AA)
        elif kind == 1:
            cv2.rectangle(image, (cx, cy), (cx + a, cy + b), colour, thickness)
        elif kind == 2:
            corners = np.array([cx, cy]) + rng.integers(-a, a + 1, (rng.integers(3, 7), 2))
            cv2.fillPoly(image, [corners.astype(np.int32)], colour, cv2.LINE_AA)
        else:
            end = (int(rng.integers(width)), int(rng.integers(height)))
            cv2.line(image, (cx, cy), end, colour, int(rng.integers(1, 8)), cv2.LINE_AA)
    return image


def _text(rng: np.random.Generator, height: int, width: int) -> Array:
    """Lines of letters like posters, screens and shelves."""
    image = np.empty((height, width, 3), dtype=np.uint8)
    image[:] = _paint(rng)
    letters = np.array(list(string.ascii_letters + string.digits + "  .,-!?"))
    for _ in range(rng.integers(1, 4)):
        colour, font = _colour(rng), int(rng.choice(FONTS))
        scale = float(rng.uniform(0.25, 2.0))
        step = int(30 * scale) + 2
        x0 = int(rng.integers(-width // 4, max(1, width // 2)))
        y = int(rng.integers(0, height))
        thickness = 1 if scale < 0.7 else int(rng.integers(1, 4))
        while y < height + step:
            line = "".join(rng.choice(letters, rng.integers(4, 30)))
            cv2.putText(image, line, (x0, y), font, scale, colour, thickness, cv2.LINE_AA)
            y += step
    return image


def _bokeh(rng: np.random.Generator, height: int, width: int) -> Array:
    """Out-of-focus lights over a dark or bright blur."""
    blurred = cv2.GaussianBlur(_shapes(rng, height, width), (0, 0), max(height, width) / 14.0)
    image: Array = blurred.astype(np.float32) * np.float32(rng.uniform(0.2, 1.0))
    radius = max(2.0, max(height, width) * rng.uniform(0.01, 0.07))
    for _ in range(rng.integers(5, 30)):
        light = np.zeros((height, width), dtype=np.uint8)
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        cv2.circle(light, centre, int(radius * rng.uniform(0.6, 1.3)), (255,), -1, cv2.LINE_AA)
        glow = _paint(rng) * np.float32(rng.uniform(0.0008, 0.003))
        image += light[..., None] * glow
    return image


def _room(rng: np.random.Generator, height: int, width: int) -> Array:
    """A wall, a floor, upright furniture and a window, softly lit."""
    image = np.empty((height, width, 3), dtype=np.uint8)
    image[:] = _paint(rng)
    floor = int(height * rng.uniform(0.55, 1.0))
    image[floor:] = _paint(rng)
    for _ in range(rng.integers(1, 6)):
        x, w = int(rng.integers(-10, width)), int(rng.integers(6, max(7, width // 2)))
        h = int(rng.integers(6, max(7, height)))
        colour = _colour(rng)
        cv2.rectangle(image, (x, floor - h), (x + w, floor + h // 8), colour, -1)
        for level in range(rng.integers(0, 5)):
            y = floor - h + (level + 1) * h // 5
            cv2.line(image, (x, y), (x + w, y), tuple(0.6 * c for c in colour), 1)
    if rng.random() < 0.5:
        x, y = int(rng.integers(width)), int(rng.integers(max(1, floor // 2)))
        size = int(rng.integers(8, max(9, width // 2)))
        cv2.rectangle(image, (x, y), (x + size, y + size), (245, 248, 255), -1)
        cv2.rectangle(image, (x, y), (x + size, y + size), _colour(rng), 2)
    light = cv2.resize(rng.uniform(0.6, 1.25, (3, 3)).astype(np.float32), (width, height))
    return image * light[..., None]


_MAKERS: dict[str, Callable[[np.random.Generator, int, int], Array]] = {
    "noise": _noise,
    "gradient": _gradient,
    "stripes": _stripes,
    "shapes": _shapes,
    "text": _text,
    "bokeh": _bokeh,
    "room": _room,
}
BACKGROUND_KINDS = (*_MAKERS, "mixed")


def make_background(
    rng: np.random.Generator, height: int, width: int, kind: str | None = None
) -> Array:
    """A procedural background.

    height, width: pixels, at least 8. kind: one of BACKGROUND_KINDS, random when None. Returns
    (height, width, 3) uint8 RGB. Raises ValueError for an unknown kind or a size too small.
    """
    if kind is None:
        kind = str(rng.choice(BACKGROUND_KINDS))
    if kind not in BACKGROUND_KINDS:
        raise ValueError(f"unknown kind {kind!r}; known: {', '.join(BACKGROUND_KINDS)}")
    if min(height, width) < 8:
        raise ValueError(f"a background needs at least 8 x 8 pixels, not {width} x {height}")
    if kind == "mixed":
        names = list(_MAKERS)
        one, two = (_MAKERS[str(n)](rng, height, width) for n in rng.choice(names, 2))
        mask = cv2.resize(rng.random((4, 4), dtype=np.float32), (width, height)) * 6.0 - 2.5
        mask = np.clip(mask, 0.0, 1.0)[..., None]
        image = one * mask + two * (1.0 - mask)
    else:
        image = _MAKERS[kind](rng, height, width)
    image = np.clip(image, 0, 255).astype(np.uint8)
    if rng.random() < 0.5:  # a shallow depth of field
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 0.6 + max(height, width) / 40))
    return np.ascontiguousarray(image)
