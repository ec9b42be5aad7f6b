"""What cameras, lamps and codecs do to an image, as fast functions on uint8 RGB."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass(frozen=True)
class PhotometricSettings:
    """How often and how strongly an image is changed; probabilities are per image."""

    tone: float = 0.8
    """Probability of a random gamma, contrast and brightness."""
    temperature: float = 0.5
    """Probability of a colour cast."""
    saturation: float = 0.4
    """Probability of weaker or stronger colours."""
    grey: float = 0.12
    """Probability of a black-and-white image."""
    light: float = 0.35
    """Probability of a smooth light gradient or a cast shadow's edge."""
    blur: float = 0.25
    """Probability of a lens blur."""
    motion: float = 0.12
    """Probability of motion blur."""
    low_resolution: float = 0.25
    """Probability of a loss of resolution."""
    noise: float = 0.4
    """Probability of sensor noise."""
    jpeg: float = 0.35
    """Probability of compression."""
    strength: float = 1.0
    """Scales the ranges; 1 is strong, as training wants it."""


def apply_curve(image: Array, curve: Array) -> Array:
    """Look every value up in curve (256,) or (256, 3), any float."""
    table = np.clip(curve + 0.5, 0, 255).astype(np.uint8)
    if table.ndim == 2:
        table = table.reshape(1, 256, 3)
    return cv2.LUT(image, table)


def tone(image: Array, gamma: float, contrast: float, brightness: float) -> Array:
    """Gamma, then contrast about mid grey, then brightness in [-1, 1]."""
    x = (np.arange(256, dtype=np.float32) / 255.0) ** gamma
    return apply_curve(image, 255.0 * ((x - 0.5) * contrast + 0.5 + brightness))


def temperature(image: Array, warmth: float, tint: float = 0.0) -> Array:
    """Colour cast: warmth > 0 toward orange, < 0 toward blue; tint > 0 toward magenta."""
    gains = np.exp(np.array([warmth, -tint, -warmth], dtype=np.float32))
    gains /= gains @ LUMA
    return apply_curve(image, np.arange(256, dtype=np.float32)[:, None] * gains)


def saturate(image: Array, factor: float) -> Array:
    """Colours times factor around their luma; 0 is black and white."""
    luma = LUMA[None].repeat(3, axis=0)
    matrix = factor * np.eye(3, dtype=np.float32) + (1.0 - factor) * luma
    return cv2.transform(image, matrix)


def shade(image: Array, light: Array) -> Array:
    """Multiply by a light map (H, W) float32."""
    return cv2.multiply(image, cv2.merge([light] * 3), dtype=cv2.CV_8U)


def light_map(rng: np.random.Generator, height: int, width: int, strength: float = 1.0) -> Array:
    """A smooth gradient, a vignette or the edge of a shadow, (H, W) float32 about 1."""
    kind = rng.integers(3)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None]
    if kind == 0:
        grid = rng.uniform(1 - 0.6 * strength, 1 + 0.5 * strength, (3, 3)).astype(np.float32)
        return cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC).clip(0.1, 2)
    if kind == 1:
        distance = (x - rng.uniform(-0.4, 0.4)) ** 2 + (y - rng.uniform(-0.4, 0.4)) ** 2
        return (1 - rng.uniform(0.1, 0.4) * strength * distance).clip(0.1, 2).astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    edge = (x * np.cos(angle) + y * np.sin(angle) - rng.uniform(-0.5, 0.5)) / rng.uniform(0.02, 0.5)
    dark = 1 - rng.uniform(0.2, 0.7) * strength
    return (dark + (1.1 - dark) * (0.5 + 0.5 * np.tanh(edge))).astype(np.float32)


def motion_blur(image: Array, length: float, angle: float) -> Array:
    """Blur along a line of `length` pixels at `angle` radians."""
    size = int(np.ceil(length)) | 1
    kernel = np.zeros((size, size), dtype=np.float32)
    middle = size // 2
    reach = 0.5 * length * np.array([np.cos(angle), np.sin(angle)])
    start, end = (np.round((middle + s * reach) * 16).astype(int) for s in (-1, 1))
    cv2.line(kernel, tuple(start.tolist()), tuple(end.tolist()), (1.0,), 1, cv2.LINE_AA, shift=4)
    kernel[middle, middle] = max(kernel[middle, middle], 1e-3)
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)


def low_resolution(image: Array, factor: float, rng: np.random.Generator) -> Array:
    """Shrink by a factor in (0, 1] and enlarge again with a random filter."""
    height, width = image.shape[:2]
    size = (max(4, round(width * factor)), max(4, round(height * factor)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    filters = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_NEAREST, cv2.INTER_LINEAR)
    return cv2.resize(small, (width, height), interpolation=filters[rng.integers(4)])


def sensor_noise(image: Array, rng: np.random.Generator, sigma: float, grain: float) -> Array:
    """Gaussian noise of `sigma` grey values; grain (pixels) above 0.5 makes it coarse."""
    height, width = image.shape[:2]
    if grain > 0.5:
        shape = (max(4, int(height / (1 + grain))), max(4, int(width / (1 + grain))), 3)
        noise: Array = rng.standard_normal(shape, dtype=np.float32) * sigma
        noise = cv2.resize(noise, (width, height))
    else:
        noise = rng.standard_normal(image.shape, dtype=np.float32) * sigma
    return cv2.add(image, noise, dtype=cv2.CV_8U)


def jpeg(image: Array, quality: int) -> Array:
    """Compress and decompress; quality 1 to 100."""
    encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])[1]
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR)


def augment(
    image: Array, rng: np.random.Generator, settings: PhotometricSettings | None = None
) -> Array:
    """A random photometric change of an image, in the order in which a camera makes them.

    image (H, W, 3) uint8 RGB. Returns the same shape and type. Raises ValueError for another.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"expected (H, W, 3) uint8, not {image.shape} {image.dtype}")
    s = settings or PhotometricSettings()
    k = s.strength
    out = np.ascontiguousarray(image)
    height, width = out.shape[:2]
    reach = max(height, width)
    if rng.random() < s.light:
        out = shade(out, light_map(rng, height, width, min(k, 1.0)))
    if rng.random() < s.temperature:
        out = temperature(out, float(rng.normal(0, 0.14 * k)), float(rng.normal(0, 0.05 * k)))
    if rng.random() < s.saturation:
        out = saturate(out, float(np.exp(rng.normal(0, 0.4 * k))))
    if rng.random() < s.blur:
        out = cv2.GaussianBlur(out, (0, 0), 0.3 + float(rng.exponential(0.006 * reach * k)))
    if rng.random() < s.motion:
        out = motion_blur(out, float(rng.uniform(2, 2 + 0.07 * reach * k)), rng.uniform(0, np.pi))
    if rng.random() < s.low_resolution:
        out = low_resolution(out, float(rng.uniform(max(0.15, 0.8 - 0.5 * k), 0.9)), rng)
    if rng.random() < s.noise:
        sigma = float(rng.exponential(6.0 * k)) + 0.5
        out = sensor_noise(out, rng, min(sigma, 40.0), float(rng.uniform(-1.5, 2.0)))
    if rng.random() < s.tone:
        gamma, contrast = np.exp(rng.normal(0, 0.28 * k)), np.exp(rng.normal(0, 0.16 * k))
        out = tone(out, float(gamma), float(contrast), float(rng.normal(0, 0.06 * k)))
    if rng.random() < s.grey:
        out = saturate(out, 0.0)
    if rng.random() < s.jpeg:
        out = jpeg(out, int(rng.integers(max(5, int(60 - 45 * k)), 92)))
    return out
