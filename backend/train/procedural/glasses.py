"""Spectacles of many shapes as textured meshes that sit on a given head."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from backend.train.assets import (
    BRIDGE_VERTEX,
    EAR_VERTICES,
    EYE_VERTICES,
    TEMPLE_VERTICES,
    AssetLibrary,
)

Array = NDArray[Any]
GLASSES_SHAPES = ("round", "rectangular", "cat_eye", "aviator", "wayfarer", "oval")
RIMS = ("full", "half", "none")
EYEBALL_RADIUS = 0.0155  # metres, mean adult
LENS_RADIUS = 0.11  # metres, the front curve of common lenses
N_OUTLINE = 40  # points around a lens
TEXTURE_SIZE = 128  # lens picture and frame picture, side by side


@dataclass(frozen=True)
class GlassesAnchors:
    """Where the glasses sit: points of the neutral head, metres, any right-handed frame."""

    eyes: Array  # (2, 3) eyeball centres, subject's left first
    bridge: Array  # (3,) deepest point of the nose bridge
    temples: Array  # (2, 3) skin beside the outer brow ends, left first
    ears: Array  # (2, 3) where the ear's top meets the head, left first

    def axes(self) -> Array:
        """Columns (3, 3): toward the subject's left, up, and out of the face."""
        left = self.eyes[0] - self.eyes[1]
        left = left / np.linalg.norm(left)
        forward = self.eyes.mean(axis=0) - self.ears.mean(axis=0)
        forward = forward - left * (forward @ left)
        forward = forward / np.linalg.norm(forward)
        return np.stack([left, np.cross(forward, left), forward], axis=1)


@dataclass(frozen=True)
class GlassesSpec:
    """One pair of glasses."""

    shape: str = "rectangular"
    """One of GLASSES_SHAPES."""
    rim: str = "full"
    """One of RIMS: around the lens, over its upper half, or none."""
    spread: float = 1.08
    """Distance between the lens centres over the distance between the eyes."""
    bridge_width: float = 0.018
    """Metres between the lenses."""
    aspect: float = 0.72
    """Height of a lens over its width."""
    rim_width: float = 0.003
    """Metres of frame seen from the front."""
    rim_depth: float = 0.003
    """Metres of frame seen from the side."""
    tilt: float = 0.12
    """Radians by which the lower rim leans toward the cheeks."""
    wrap: float = 0.06
    """Radians by which each lens turns around the face."""
    drop: float = 0.003
    """Metres of the lens centres below the eyes."""
    gap: float = 0.013
    """Metres between the cornea and the lens."""
    frame_rgb: tuple[float, float, float] = (0.08, 0.07, 0.07)
    """Frame colour, sRGB in [0, 1]."""
    second_rgb: tuple[float, float, float] = (0.08, 0.07, 0.07)
    """The other colour of a patterned frame."""
    lens_rgb: tuple[float, float, float] = (0.9, 0.95, 0.95)
    """Tint of the lens, sRGB in [0, 1]."""
    lens_opacity: float = 0.06
    """0 clear glass, 1 black sunglasses."""
    lens_gradient: float = 0.0
    """How much lighter the tint grows toward the lower edge, in [0, 1]."""
    reflection: float = 0.3
    """Strength of the painted reflections, in [0, 1]."""
    texture_seed: int = 0
    """Seed of the frame's pattern and of the reflections."""


@dataclass(frozen=True)
class ProceduralMesh:
    """A textured mesh; the transparent triangles come last."""

    positions: Array = field(repr=False)  # (n, 3) float32 metres
    triangles: Array = field(repr=False)  # (t, 3) int64
    uv: Array = field(repr=False)  # (n, 2) float32, v up
    texture: Array = field(repr=False)  # (H, W, 4) uint8 RGBA, straight alpha
    n_opaque: int  # triangles before the first transparent one


def anchors_from_base(library: AssetLibrary, base_vertices: Array) -> GlassesAnchors:
    """Anchors of one head.

    base_vertices (M, 3): the neutral head's rows of `library.required_base_vertices()`, metres,
    any right-handed frame.
    """
    eyes = [base_vertices[library.compact_index(eye)].mean(axis=0) for eye in EYE_VERTICES]
    return GlassesAnchors(
        eyes=np.stack(eyes),
        bridge=base_vertices[library.compact_index(np.array(BRIDGE_VERTEX))],
        temples=base_vertices[library.compact_index(TEMPLE_VERTICES)],
        ears=base_vertices[library.compact_index(EAR_VERTICES)],
    )


def sample_glasses(rng: np.random.Generator) -> GlassesSpec:
    """A random plausible pair: mostly clear lenses, one in four sunglasses."""
    shape = str(rng.choice(GLASSES_SHAPES))
    aspects = {"round": (0.88, 1.0), "rectangular": (0.5, 0.75), "cat_eye": (0.6, 0.8)}
    aspects |= {"aviator": (0.8, 0.98), "wayfarer": (0.68, 0.85), "oval": (0.6, 0.8)}
    plastic = shape in {"wayfarer", "cat_eye"}
    rim = "full" if plastic else str(rng.choice(RIMS, p=[0.66, 0.2, 0.14]))
    thin = shape == "aviator" or rim == "none" or rng.random() < 0.45
    palette = [(0.05, 0.05, 0.05), (0.25, 0.13, 0.06), (0.55, 0.36, 0.16), (0.75, 0.65, 0.4)]
    palette += [(0.7, 0.7, 0.72), (0.5, 0.05, 0.08), (0.08, 0.12, 0.3), (0.85, 0.8, 0.75)]
    frame = palette[rng.integers(len(palette))] + rng.normal(0.0, 0.04, 3)
    frame = np.clip(frame, 0.0, 1.0)
    if rng.random() < 0.1:
        frame = rng.random(3)
    second = frame * rng.uniform(0.2, 0.8) if rng.random() < 0.3 else frame
    dark = rng.random() < 0.25
    tint = rng.uniform(0.0, 0.25, 3) if dark else rng.uniform(0.75, 1.0, 3)
    return GlassesSpec(
        shape=shape,
        rim=rim,
        spread=float(rng.uniform(0.98, 1.2)),
        bridge_width=float(rng.uniform(0.015, 0.023)),
        aspect=float(rng.uniform(*aspects[shape])),
        rim_width=float(rng.uniform(0.0012, 0.0022) if thin else rng.uniform(0.0025, 0.006)),
        rim_depth=float(rng.uniform(0.0015, 0.0025) if thin else rng.uniform(0.003, 0.005)),
        tilt=float(rng.uniform(0.0, 0.14)),
        wrap=float(rng.uniform(0.0, 0.15)),
        drop=float(rng.uniform(-0.001, 0.008)),
        gap=float(rng.uniform(0.012, 0.02)),
        frame_rgb=tuple(frame.tolist()),
        second_rgb=tuple(second.tolist()),
        lens_rgb=tuple(tint.tolist()),
        lens_opacity=float(rng.uniform(0.55, 0.97) if dark else rng.uniform(0.0, 0.12)),
        lens_gradient=float(rng.uniform(0.2, 0.9) if rng.random() < 0.4 else 0.0),
        reflection=float(rng.uniform(0.0, 0.8) if rng.random() < 0.7 else 0.0),
        texture_seed=int(rng.integers(2**31)),
    )


def lens_outline(shape: str, aspect: float, n: int = N_OUTLINE) -> Array:
    """Outline (n, 2) of the subject's left lens, width about 1, x toward the ear, y up.

    Counter-clockwise from the outer side. Raises ValueError for an unknown shape.
    """
    exponents = {"round": 2.0, "oval": 2.1, "rectangular": 5.0, "cat_eye": 2.8}
    exponents |= {"aviator": 2.5, "wayfarer": 3.6}
    if shape not in exponents:
        raise ValueError(f"unknown shape {shape!r}; known: {', '.join(GLASSES_SHAPES)}")
    angle = np.arange(n) * (2 * np.pi / n)
    cos, sin = np.cos(angle), np.sin(angle)
    power = 2.0 / exponents[shape]
    x = 0.5 * np.sign(cos) * np.abs(cos) ** power
    y = 0.5 * aspect * np.sign(sin) * np.abs(sin) ** power
    outward = x + 0.5
    if shape == "cat_eye":
        y = y + 0.22 * aspect * outward**2.5 * np.clip(y / (0.5 * aspect) + 0.4, 0, 1)
        x = x * (1.0 + 0.08 * (y > 0))
    elif shape == "aviator":
        y = y - 0.12 * aspect * outward * (y < 0)
        x = x - 0.16 * (1 - outward) * (y < 0) * np.abs(y / (0.5 * aspect)) * -1.0
        y = y * np.where(y > 0, 0.85, 1.05)
    elif shape == "wayfarer":
        x = x * (1.0 + 0.1 * y / (0.5 * aspect))
        y = y + 0.05 * aspect * outward * (y > 0)
    return np.stack([x, y], axis=1)


def _tube(path: Array, across: Array, along_view: Array, closed: bool) -> tuple[Array, Array]:
    """A rounded bar along a path.

    path (m, 3); across, along_view (m, 3): half extents of its section. Returns positions
    (6 m, 3) and triangles.
    """
    angle = (np.arange(6) + 0.5) * (2 * np.pi / 6)
    ring = (
        path[:, None]
        + np.cos(angle)[None, :, None] * across[:, None] * 1.1
        + np.sin(angle)[None, :, None] * along_view[:, None] * 1.1
    )
    m = len(path)
    segments = np.arange(m if closed else m - 1)
    following = (segments + 1) % m
    side = np.arange(6)
    following_side = (side + 1) % 6
    a = segments[:, None] * 6 + side
    b = segments[:, None] * 6 + following_side
    c = following[:, None] * 6 + side
    d = following[:, None] * 6 + following_side
    triangles = np.stack([np.stack([a, b, d], -1), np.stack([a, d, c], -1)], axis=2)
    return ring.reshape(-1, 3), triangles.reshape(-1, 3)


def _temple(hinge: Array, temple: Array, ear: Array, clearance: float) -> Array:
    """Path (12, 3) of a side piece in the glasses' own axes: past the temple, hooked on the ear."""
    side = np.sign(hinge[0])
    t = np.linspace(0.0, 1.0, 8)[:, None]
    straight = hinge * (1 - t) + ear * t
    # Bow outward just enough to stay clear of the skin beside the brow.
    length = max(float(hinge[2] - ear[2]), 1e-3)
    at = np.clip((hinge[2] - temple[2]) / length, 0.05, 0.95)
    line = hinge[0] * (1 - at) + ear[0] * at
    short = max(0.0, side * (temple[0] - line) + clearance)
    straight[:, 0] += side * short * (np.sin(np.pi * t[:, 0] ** (np.log(0.5) / np.log(at))))
    straight[:, 0] += side * clearance * t[:, 0]
    back = np.array([[0, -0.003, -0.010], [0, -0.011, -0.020], [0, -0.022, -0.027]])
    back = np.concatenate([back, [[-0.002 * side, -0.033, -0.031]]])
    return np.concatenate([straight, straight[-1] + back])


def _texture(spec: GlassesSpec) -> Array:
    """The lens picture (left half) and the frame picture (right half), RGBA."""
    rng = np.random.default_rng(spec.texture_seed)
    n = TEXTURE_SIZE
    rows = np.linspace(0.0, 1.0, n)[:, None]
    lens = np.empty((n, n, 4))
    lens[..., :3] = spec.lens_rgb
    lens[..., 3] = spec.lens_opacity * (1.0 - spec.lens_gradient * rows)
    glare: Array = np.zeros((n, n), dtype=np.float32)
    for _ in range(rng.integers(1, 4)):
        centre = rng.uniform(0.1 * n, 0.9 * n, 2)
        half = rng.uniform(0.03, 0.3, 2) * n
        box = cv2.boxPoints((centre.tolist(), (2 * half).tolist(), float(rng.uniform(-40, 40))))
        level = float(rng.uniform(0.2, 1.0))
        cv2.fillConvexPoly(glare, np.round(box).astype(np.int32), (level,))
    glare = cv2.GaussianBlur(glare, (0, 0), float(rng.uniform(0.7, 8.0)))[..., None]
    glare = glare * spec.reflection
    white = rng.uniform(0.75, 1.0, 3)
    alpha = lens[..., 3:]
    total = glare + alpha * (1 - glare)
    lens[..., :3] = (white * glare + lens[..., :3] * alpha * (1 - glare)) / np.maximum(total, 1e-6)
    lens[..., 3:] = total
    blotches = cv2.resize(rng.random((10, 10), dtype=np.float32), (n, n)) > 0.5
    frame = np.where(blotches[..., None], spec.frame_rgb, spec.second_rgb)
    frame = np.concatenate([frame, np.ones((n, n, 1))], axis=-1)
    both = np.concatenate([lens, frame], axis=1)
    return np.round(255 * np.clip(both, 0, 1)).astype(np.uint8)


def make_glasses(spec: GlassesSpec, anchors: GlassesAnchors) -> ProceduralMesh:
    """The glasses on a head, in the anchors' frame. Raises ValueError for an unknown shape."""
    axes = anchors.axes()
    origin = anchors.eyes.mean(axis=0)
    bridge = (anchors.bridge - origin) @ axes
    temples = (anchors.temples - origin) @ axes
    ears = (anchors.ears - origin) @ axes
    eyes = (anchors.eyes - origin) @ axes
    apart = spec.spread * float(np.linalg.norm(eyes[0] - eyes[1]))
    width = apart - spec.bridge_width
    plane = max(EYEBALL_RADIUS + spec.gap, float(bridge[2]) + 0.5 * spec.rim_depth + 0.001)
    outline = lens_outline(spec.shape, spec.aspect) * width
    if spec.rim == "half":
        rim = outline[np.roll(np.arange(N_OUTLINE), 2)[: N_OUTLINE // 2 + 5]]
    else:
        rim = outline
    pieces: list[tuple[Array, Array]] = []
    lenses: list[tuple[Array, Array, Array]] = []
    hinge_y = 0.28 * spec.aspect * width
    inner_y = 0.2 * spec.aspect * width

    def place(points: Array, side: int) -> Array:
        """Lens plane coordinates (m, 2 or 3) of the left lens to the glasses' own axes."""
        depth = points[:, 2] if points.shape[1] == 3 else 0.0
        x, y = points[:, 0], points[:, 1]
        # Lens base curve, wrap around the face, lean of the lower rim.
        z = (
            depth
            - (x**2 + y**2) / (2 * LENS_RADIUS)
            - np.tan(spec.wrap) * x
            + np.tan(spec.tilt) * y
        )
        return np.stack([side * (apart / 2 + x), y - spec.drop, plane + z], axis=1)

    half_width, half_depth = spec.rim_width / 2, spec.rim_depth / 2
    for side in (1, -1):
        path = place(rim, side)
        if spec.rim != "none":
            tangent = np.gradient(np.concatenate([rim[-1:], rim, rim[:1]]), axis=0)[1:-1]
            normal = np.stack([tangent[:, 1], -tangent[:, 0]], axis=1)
            normal /= np.maximum(np.linalg.norm(normal, axis=1), 1e-9)[:, None]
            upper = 1.0 + 0.5 * (rim[:, 1:] > 0) * (spec.shape in {"wayfarer", "cat_eye"})
            across = np.zeros((len(rim), 3))
            across[:, :2] = normal * half_width * upper * [side, 1]
            view = np.tile([0.0, 0.0, half_depth], (len(rim), 1))
            pieces.append(_tube(path, across, view, closed=spec.rim == "full"))
        outer = place(np.array([[0.5 * width + half_width, hinge_y]]), side)[0]
        arm = _temple(outer, temples[0 if side > 0 else 1], ears[0 if side > 0 else 1], 0.003)
        arm = np.concatenate([place(np.array([[0.47 * width, hinge_y]]), side), arm])
        tall = np.linspace(1.4, 0.9, len(arm))[:, None] * max(spec.rim_width, 0.002)
        across = np.array([0.0, 0.5, 0.0]) * tall
        view = np.tile([0.5 * min(spec.rim_depth, 0.003), 0.0, 0.0], (len(arm), 1))
        pieces.append(_tube(arm, across, view, closed=False))
        shrunk = np.concatenate([[[0.0, 0.0]], 0.5 * outline, outline])
        n = N_OUTLINE
        a, b = 1 + np.arange(n), 1 + (np.arange(n) + 1) % n
        fan = np.stack([np.zeros(n, dtype=int), a, b], axis=1)
        band = np.concatenate([np.stack([a, a + n, b + n], 1), np.stack([a, b + n, b], 1)])
        where = shrunk / (width * 1.3) + 0.5
        if side < 0:
            where = where * [-1, 1] + [1, 0]
        lenses.append((place(shrunk, side), np.concatenate([fan, band]), where))
    ends = [place(np.array([[-0.49 * width, inner_y]]), side)[0] for side in (1, -1)]
    t = np.linspace(0.0, 1.0, 7)[:, None]
    arch = ends[0] * (1 - t) + ends[1] * t
    arch[:, 1] += 0.15 * spec.bridge_width * np.sin(np.pi * t[:, 0])
    arch[:, 2] = np.maximum(arch[:, 2], bridge[2] + 0.001 + half_depth)
    bars = [arch]
    if spec.shape == "aviator":
        bars.append(arch + [0.0, 0.18 * spec.aspect * width, 0.0])
    for bar in bars:
        across = np.tile([0.0, max(half_width, 0.0007), 0.0], (len(bar), 1))
        view = np.tile([0.0, 0.0, half_depth], (len(bar), 1))
        pieces.append(_tube(bar, across, view, closed=False))
    return _join(spec, pieces, lenses, axes, origin)


def _join(
    spec: GlassesSpec,
    pieces: list[tuple[Array, Array]],
    lenses: list[tuple[Array, Array, Array]],
    axes: Array,
    origin: Array,
) -> ProceduralMesh:
    """Frame pieces, then lenses, as one mesh in the head's frame."""
    positions, triangles, uv = [], [], []
    count = n_opaque = 0
    for points, faces in pieces:
        reach = points / 0.16  # 16 cm of frame run once over the frame picture
        across = 0.52 + 0.46 * np.abs((reach[:, 0] + reach[:, 2]) % 2.0 - 1.0)
        upward = 0.02 + 0.96 * np.abs((4 * reach[:, 1]) % 2.0 - 1.0)
        positions.append(points)
        triangles.append(faces + count)
        uv.append(np.stack([across, upward], axis=1))
        count += len(points)
        n_opaque += len(faces)
    for points, faces, where in lenses:
        positions.append(points)
        triangles.append(faces + count)
        uv.append(np.clip(where, 0.01, 0.99) * [0.5, 1.0])
        count += len(points)
    return ProceduralMesh(
        positions=(np.concatenate(positions) @ axes.T + origin).astype(np.float32),
        triangles=np.concatenate(triangles).astype(np.int64),
        uv=np.concatenate(uv).astype(np.float32),
        texture=_texture(spec),
        n_opaque=n_opaque,
    )
