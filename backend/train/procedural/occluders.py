"""Things in front of a face as RGBA sprites: hands, microphones, cups, phones, plain objects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
SKIN_TONES = np.array(
    [[255, 224, 196], [240, 200, 170], [224, 172, 138], [198, 134, 96], [141, 85, 54], [80, 48, 32]]
)


def skin_colour(rng: np.random.Generator) -> Array:
    """A random skin colour (3,) between neighbouring tones, sRGB 0 to 255."""
    at = rng.uniform(0, len(SKIN_TONES) - 1)
    lower = int(at)
    upper = min(lower + 1, len(SKIN_TONES) - 1)
    mixed = SKIN_TONES[lower] * (1 - at + lower) + SKIN_TONES[upper] * (at - lower)
    return np.clip(mixed + rng.normal(0, 6, 3), 0, 255)


def _shade(rng: np.random.Generator, height_map: Array, colour: Array, gloss: float) -> Array:
    """Colour (H, W, 3) float32 of a bulging surface under one light."""
    smooth = cv2.GaussianBlur(height_map.astype(np.float32), (0, 0), height_map.shape[0] / 80)
    gx = cv2.Scharr(smooth, cv2.CV_32F, 1, 0, scale=1 / 32)
    gy = cv2.Scharr(smooth, cv2.CV_32F, 0, 1, scale=1 / 32)
    light = rng.normal(0, 1, 3)
    light[2] = abs(light[2]) + 0.8
    light /= np.linalg.norm(light)
    slope = light[2] * 0.7 - light[0] * gx - light[1] * gy
    diffuse = np.clip(slope / np.sqrt(gx * gx + gy * gy + 0.49), 0, 1).astype(np.float32)
    lit = (0.35 + 0.75 * diffuse)[..., None] * np.asarray(colour, dtype=np.float32)
    shine = (255 * gloss) * diffuse**24
    return np.minimum(lit + shine[..., None].astype(np.float32), 255)


def _sprite(colour: Array, mask: Array) -> Array:
    """RGBA uint8 from colour (H, W, 3) and an antialiased mask (H, W) in 0 to 255."""
    return np.dstack([np.clip(colour, 0, 255), mask]).astype(np.uint8)


def _capsule(mask: Array, a: Array, b: Array, radius: float) -> None:
    """Draw a thick line with round ends into a uint8 mask, with a 16th of a pixel precision."""
    p, q = (tuple(int(v) for v in np.round(point * 16)) for point in (a, b))
    cv2.line(mask, p, q, (255,), max(1, round(2 * radius)), cv2.LINE_AA, shift=4)
    for point in (p, q):
        cv2.circle(mask, point, round(radius * 16), (255,), -1, cv2.LINE_AA, shift=4)


def _rounded(mask: Array) -> Array:
    """Height map of a pillow with this outline: the root of the distance to the edge."""
    distance = cv2.distanceTransform(
        (mask > 127).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
    )
    return np.sqrt(distance * max(float(distance.max()), 1.0)) * 0.9


def _hand(rng: np.random.Generator, size: int) -> Array:
    """A palm with fingers spread, bent or together, and a forearm."""
    unit = size / 10.0
    tone = skin_colour(rng)
    wrist, knuckles = np.array([5.0, 7.4]) * unit, np.array([5.0, 4.9]) * unit
    spread = rng.uniform(0.02, 0.32)
    thickness = rng.uniform(0.38, 0.55) * unit
    palm: Array = np.zeros((size, size), dtype=np.uint8)
    outline = np.array([[3.6, 5.0], [4.3, 4.5], [5.8, 4.5], [6.5, 5.1], [6.2, 7.3], [4.0, 7.3]])
    cv2.fillPoly(palm, [np.round(outline * unit).astype(np.int32)], (255,), cv2.LINE_AA)
    palm = cv2.GaussianBlur(palm, (0, 0), 0.25 * unit)
    palm = np.clip((palm.astype(np.float32) - 80) * 6, 0, 255).astype(np.uint8)
    end = wrist + np.array([rng.uniform(-1.5, 1.5), 3.5]) * unit
    _capsule(palm, wrist, end, rng.uniform(0.95, 1.2) * unit)
    parts = [palm]
    curl = rng.uniform(0.0, 1.0) if rng.random() < 0.5 else 0.0
    for finger in range(4):
        offset = finger - 1.5
        base = knuckles + np.array([offset * 0.82, 0.12 * offset**2]) * unit
        angle = offset * spread + rng.normal(0, 0.04)
        bend = np.clip(curl + rng.normal(0, 0.12), 0, 1)
        part = np.zeros((size, size), dtype=np.uint8)
        for length in np.array([1.5, 1.1, 0.8]) * (1.0, 1.12, 1.05, 0.85)[finger]:
            tip = base + np.array([np.sin(angle), -np.cos(angle)]) * length * unit * (
                1 - 0.75 * bend
            )
            _capsule(part, base, tip, thickness)
            base = tip
            angle += rng.normal(0, 0.05)
        parts.append(part)
    thumb = np.zeros((size, size), dtype=np.uint8)
    angle = rng.uniform(-1.3, -0.4)
    base = np.array([4.0, 6.6]) * unit
    for length in (1.4, 1.1):
        tip = base + np.array([np.sin(angle), -np.cos(angle)]) * length * unit
        _capsule(thumb, base, tip, thickness * 1.15)
        base, angle = tip, angle + rng.uniform(0.0, 0.5)
    parts.append(thumb)
    colour = np.zeros((size, size, 3), dtype=np.float32)
    total = np.zeros((size, size), dtype=np.uint8)
    light = int(rng.integers(2**31))
    for part in parts:
        alpha = part[..., None].astype(np.float32) / 255.0
        # One light for all parts, and a dark seam where a finger lies over another part.
        shaded = _shade(np.random.default_rng(light), _rounded(part), tone, 0.06)
        edge = cv2.GaussianBlur(part, (0, 0), max(0.6, 0.12 * unit))[..., None].astype(np.float32)
        edge /= 255.0
        colour = colour * (1 - 0.45 * edge * (1 - alpha)) * (1 - alpha) + shaded * alpha
        total = np.maximum(total, part)
    if rng.random() < 0.5:
        sprite = _sprite(colour, total)[:, ::-1]
    else:
        sprite = _sprite(colour, total)
    return np.ascontiguousarray(sprite)


def _microphone(rng: np.random.Generator, size: int) -> Array:
    """A round or long head with a mesh over a handle."""
    mask = np.zeros((size, size), dtype=np.uint8)
    top = np.array([0.5, 0.22]) * size
    head = rng.uniform(0.11, 0.17) * size
    handle = np.zeros_like(mask)
    _capsule(handle, top, np.array([0.5, 1.05]) * size, head * rng.uniform(0.35, 0.7))
    _capsule(mask, top, top + [0, rng.uniform(0.0, 0.9) * head], head)
    body = rng.choice([25.0, 60.0, 150.0, 200.0]) * np.ones(3) + rng.normal(0, 10, 3)
    light = int(rng.integers(2**31))
    shade = _shade(np.random.default_rng(light), _rounded(handle), body, 0.6)
    foam = _shade(np.random.default_rng(light), _rounded(mask), rng.uniform(20, 200, 3), 0.15)
    y, x = np.mgrid[0:size, 0:size]
    step = max(2, size // 48)
    foam = foam * (0.75 + 0.25 * ((x // step + y // step) % 2))[..., None]
    over = mask[..., None] / 255.0
    return _sprite(shade * (1 - over) + foam * over, np.maximum(mask, handle))


def _cup(rng: np.random.Generator, size: int) -> Array:
    """A mug, glass or paper cup."""
    mask = np.zeros((size, size), dtype=np.uint8)
    top, bottom = rng.uniform(0.26, 0.36) * size, rng.uniform(0.18, 0.34) * size
    y0, y1 = 0.2 * size, rng.uniform(0.7, 0.95) * size
    middle = 0.5 * size
    outline = [[middle - top, y0], [middle + top, y0], [middle + bottom, y1], [middle - bottom, y1]]
    cv2.fillPoly(mask, [np.round(outline).astype(np.int32)], (255,), cv2.LINE_AA)
    cv2.ellipse(
        mask, (int(middle), int(y1)), (int(bottom), int(0.06 * size)), 0, 0, 360, (255,), -1
    )
    if rng.random() < 0.6:
        centre = (int(middle + 0.5 * (top + bottom)), int(0.5 * (y0 + y1)))
        reach = (int(0.13 * size), int(0.16 * size))
        cv2.ellipse(mask, centre, reach, 0, 0, 360, (255,), max(2, size // 20), cv2.LINE_AA)
    colour = rng.uniform(20, 255, 3)
    x = (np.arange(size) - middle) / max(top, bottom)
    bulge = np.sqrt(np.clip(1 - x**2, 0, 1))[None] * np.ones((size, 1)) * 0.3 * size
    shaded = _shade(rng, bulge.astype(np.float32), colour, 0.25)
    if rng.random() < 0.5:
        band = slice(int(y0 + 0.2 * (y1 - y0)), int(y0 + rng.uniform(0.4, 0.9) * (y1 - y0)))
        shaded[band] = shaded[band] * 0.3 + 0.7 * rng.uniform(0, 255, 3)
    rim = (int(top), int(0.07 * size))
    inside = np.zeros_like(mask)
    cv2.ellipse(inside, (int(middle), int(y0)), rim, 0, 0, 360, (255,), -1, cv2.LINE_AA)
    over = inside[..., None] / 255.0
    return _sprite(shaded * (1 - over) + 0.5 * colour * over, np.maximum(mask, inside))


def _phone(rng: np.random.Generator, size: int) -> Array:
    """The back of a phone with cameras, or a lit screen."""
    mask = np.zeros((size, size), dtype=np.uint8)
    half = np.array([rng.uniform(0.2, 0.26), rng.uniform(0.42, 0.46)]) * size
    corner = 0.06 * size
    middle = np.array([0.5, 0.5]) * size
    for sx in (-1, 1):
        for sy in (-1, 1):
            centre = middle + (half - corner) * [sx, sy]
            _capsule(mask, centre, middle, corner)
    low, high = (middle - half).astype(int), (middle + half).astype(int)
    c = int(corner)
    cv2.rectangle(mask, (low[0] + c, low[1]), (high[0] - c, high[1]), (255,), -1)
    cv2.rectangle(mask, (low[0], low[1] + c), (high[0], high[1] - c), (255,), -1)
    base = np.array(rng.choice([15.0, 40.0, 120.0, 220.0])) + rng.normal(0, 15, 3)
    y, x = np.mgrid[0:size, 0:size] / size
    sheen = np.clip(1 - 4 * np.abs(x + rng.uniform(-0.6, 0.6) * y - rng.uniform(0.2, 0.9)), 0, 1)
    colour = np.clip(base + 60 * sheen[..., None], 0, 255) * np.ones((size, size, 3))
    if rng.random() < 0.7:
        for k in range(rng.integers(1, 4)):
            spot = (int(low[0] + 0.09 * size), int(low[1] + (0.09 + 0.1 * k) * size))
            cv2.circle(colour, spot, size // 24, (20.0, 20.0, 25.0), -1, cv2.LINE_AA)
            cv2.circle(colour, spot, size // 60 + 1, (90.0, 100.0, 130.0), -1, cv2.LINE_AA)
    else:
        edge = max(2, size // 40)
        screen = rng.uniform(0, 255, (6, 4, 3)).astype(np.float32)
        w, h = high[0] - low[0] - 2 * edge, high[1] - low[1] - 2 * edge
        filters = (cv2.INTER_NEAREST, cv2.INTER_LINEAR)
        shown = cv2.resize(screen, (int(w), int(h)), interpolation=filters[rng.integers(2)])
        colour[low[1] + edge : low[1] + edge + h, low[0] + edge : low[0] + edge + w] = shown
    return _sprite(colour, mask)


def _object(rng: np.random.Generator, size: int) -> Array:
    """A smooth or angular blob, plain or patterned: anything else that passes by."""
    n = int(rng.integers(3, 11))
    angle = (np.arange(n) + rng.uniform(0, 0.8, n)) * (2 * np.pi / n)
    radius = rng.uniform(0.25, 0.48, n) * size
    points = 0.5 * size + np.stack([np.cos(angle), np.sin(angle)], 1) * radius[:, None]
    mask = np.zeros((size, size), dtype=np.uint8)
    cv2.fillPoly(mask, [np.round(points).astype(np.int32)], (255,), cv2.LINE_AA)
    if rng.random() < 0.6:
        blurred = cv2.GaussianBlur(mask, (0, 0), size * rng.uniform(0.02, 0.08))
        mask = np.clip((blurred.astype(np.float32) - 110) * 12, 0, 255).astype(np.uint8)
    colour = _shade(rng, _rounded(mask), rng.uniform(0, 255, 3), rng.uniform(0, 0.4))
    if rng.random() < 0.4:
        noise = rng.uniform(0.5, 1.3, (int(rng.integers(2, 20)),) * 2 + (3,)).astype(np.float32)
        colour = np.clip(colour * cv2.resize(noise, (size, size)), 0, 255)
    return _sprite(colour, mask)


_MAKERS: dict[str, Callable[[np.random.Generator, int], Array]] = {
    "hand": _hand,
    "microphone": _microphone,
    "cup": _cup,
    "phone": _phone,
    "object": _object,
}
OCCLUDER_KINDS = tuple(_MAKERS)


def make_occluder(rng: np.random.Generator, size: int, kind: str | None = None) -> Array:
    """A sprite of something that hides part of a face; it points up and fills the square.

    size: pixels of a side, at least 24. kind: one of OCCLUDER_KINDS; None draws hands half of
    the time. Returns (size, size, 4) uint8 RGBA, straight alpha. Raises ValueError for an
    unknown kind or a size too small.
    """
    if kind is None:
        kind = str(rng.choice(OCCLUDER_KINDS, p=[0.5, 0.12, 0.1, 0.13, 0.15]))
    if kind not in _MAKERS:
        raise ValueError(f"unknown kind {kind!r}; known: {', '.join(OCCLUDER_KINDS)}")
    if size < 24:
        raise ValueError(f"an occluder needs at least 24 pixels, not {size}")
    return _MAKERS[kind](rng, size)


def paste_sprite(
    image: Array, sprite: Array, centre: tuple[float, float], side: float, angle: float
) -> tuple[Array, Array]:
    """Lay a sprite over an image.

    image (H, W, 3) uint8; sprite (S, S, 4) uint8 RGBA; centre: (x, y) pixels of the image;
    side: pixels that the sprite's square spans there; angle: radians, clockwise on the screen.
    Returns the new image and its coverage (H, W) float32 in [0, 1].
    """
    scale = side / sprite.shape[0]
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    half = (sprite.shape[0] - 1) / 2
    matrix = np.array(
        [
            [cos, -sin, centre[0] - cos * half + sin * half],
            [sin, cos, centre[1] - sin * half - cos * half],
        ]
    )
    # Premultiplied, so that filtering does not drag colours in from outside the outline.
    premultiplied: Array = sprite.astype(np.float32) / 255.0
    premultiplied[..., :3] *= premultiplied[..., 3:]
    size = (image.shape[1], image.shape[0])
    if scale < 0.5:
        blur = 0.4 / scale
        premultiplied = cv2.GaussianBlur(premultiplied, (0, 0), blur)
    warped = cv2.warpAffine(premultiplied, matrix, size, flags=cv2.INTER_LINEAR)
    coverage = warped[..., 3]
    pasted = image * (1.0 - coverage[..., None]) + 255.0 * warped[..., :3]
    return np.clip(pasted + 0.5, 0, 255).astype(np.uint8), coverage
