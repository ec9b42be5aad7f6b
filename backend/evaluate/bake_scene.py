"""A rendered performance of the shipped head with a known skin, and with things in front of it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backend.geometry.rasterizer import ShadingSettings, render_shaded, to_pixels
from backend.head import Head
from backend.train.procedural.backgrounds import make_background
from backend.train.procedural.occluders import make_occluder, paste_sprite

IMAGE_SIZE = (1920, 1080)
FOCAL_PX = 1500.0
FRAMES = 60


@dataclass(frozen=True)
class Performance:
    """A head that turns, nods, speaks and blinks before a camera."""

    vertices: Tensor
    """(F, N, 3) metres, camera frame."""
    head_pose: np.ndarray
    """(F, 4, 4) T_camera_head."""
    expression: np.ndarray
    """(F, 52)."""
    K: np.ndarray
    """(3, 3)."""
    image_size: tuple[int, int]
    """(W, H)."""


def perform(head: Head, n_frames: int, scale: float, seed: int) -> Performance:
    """A turn from 55 degrees on one side to 55 on the other, at 50 to 58 cm, speaking and blinking.

    The head turns at up to 75 degrees a second and nods at up to 70: lively, as people do.

    scale: size of the picture against 1080p.
    """
    width, height = (round(side * scale) for side in IMAGE_SIZE)
    rng = np.random.default_rng(seed)
    t = np.arange(n_frames) / max(1, n_frames - 1)
    names = list(head.expression_names)
    expression = np.zeros((n_frames, len(names)), np.float32)
    expression[:, names.index("jawOpen")] = 0.4 * np.maximum(0, np.sin(14 * np.pi * t))
    for name in ("eyeBlinkLeft", "eyeBlinkRight"):
        expression[:, names.index(name)] = np.maximum(0, np.cos(8 * np.pi * t)) ** 40
    for name in ("mouthSmileLeft", "mouthSmileRight"):
        expression[:, names.index(name)] = 0.5 * t
    yaw, pitch = -0.95 * np.cos(np.pi * t), 0.3 * np.sin(3 * np.pi * t + 1)
    rotations = np.zeros((n_frames, 4, 3), np.float32)
    rotations[:, 1, 0], rotations[:, 1, 1] = 0.4 * pitch, 0.4 * yaw
    rotations[:, 0, 0], rotations[:, 0, 1] = 0.6 * pitch, 0.6 * yaw
    translation = np.stack((0.03 * np.sin(9 * t), 0.02 * np.cos(7 * t), 0.575 - 0.075 * t), -1)
    identity = head.identity_prior.sample(1, torch.Generator().manual_seed(seed))[0]
    arguments = (
        identity,
        torch.from_numpy(expression),
        torch.from_numpy(rotations),
        torch.from_numpy(
            translation.astype(np.float32) + rng.normal(0, 1e-4, (n_frames, 3))
        ).float(),
    )
    with torch.no_grad():
        vertices = head(*arguments)
        pose = head.joint_transforms(identity, arguments[2], arguments[3])[:, 1]
    focal = FOCAL_PX * scale
    K = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]], np.float32)
    return Performance(vertices, pose.numpy(), expression, K, (width, height))


def without_lashes(head: Head) -> Tensor:
    """(T,) bool: faces but those of the lashes, whose cards hide far more than real lashes do."""
    lashes = torch.zeros(head.n_vertices, dtype=torch.bool)
    lashes[torch.as_tensor(head.regions["lashes"])] = True
    return ~lashes[head.faces].any(1)


def make_room(shot: Performance, seed: int) -> NDArray[np.uint8]:
    """What is behind the performer, out of focus: (H, W, 3) u8."""
    width, height = shot.image_size
    room = make_background(np.random.default_rng([seed, 3]), height, width, "room")
    return cv2.GaussianBlur(room, (0, 0), width / 120)


def render_skin(
    head: Head,
    vertices: Tensor,
    shot: Performance,
    skin: np.ndarray,
    ambient: float = 1.0,
    supersample: int = 2,
    room: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """A picture (H, W, 3) u8 of posed vertices (N, 3) with a skin, before a room or black.

    ambient: share of the light that comes from everywhere; the rest comes from the upper left.
    """
    faces = without_lashes(head)
    settings = ShadingSettings(
        ambient=ambient,
        light=(-0.5, -0.5, -0.7) if ambient < 1 else None,
        supersample=supersample,
    )
    width, height = shot.image_size
    picture = np.zeros((height, width, 3), np.uint8)
    if room is not None:
        picture = _dress(room, vertices, shot.K)
    # Only the part of the picture with the head in it is rendered.
    pixels = to_pixels(vertices, shot.K)[:, :2]
    low = (pixels.amin(0).floor().int() - 2).clamp(min=0).tolist()
    high = (pixels.amax(0).ceil().int() + 3).tolist()
    right, bottom = min(high[0], width), min(high[1], height)
    if right - low[0] < 1 or bottom - low[1] < 1:
        return picture
    K = shot.K.copy()
    K[:2, 2] -= low
    image = render_shaded(
        vertices,
        head.faces[faces],
        K,
        (right - low[0], bottom - low[1]),
        texture=skin,
        uv=head.uv,
        face_uv=head.face_uv[faces],
        settings=settings,
    )
    place = (slice(low[1], bottom), slice(low[0], right))
    alpha = image[..., 3:].astype(np.float32) / 255
    mixed = alpha * image[..., :3] + (1 - alpha) * picture[place]
    picture[place] = mixed.round().astype(np.uint8)
    return picture


def add_noise(image: NDArray[np.uint8], deviation: float, seed: int) -> NDArray[np.uint8]:
    """A picture with a sensor's noise, of 255."""
    noise = np.random.default_rng(seed).standard_normal(image.shape, np.float32)
    return np.clip(image + np.float32(deviation) * noise, 0, 255).round().astype(np.uint8)


def _dress(room: NDArray[np.uint8], vertices: Tensor, K: np.ndarray) -> NDArray[np.uint8]:
    """The room with the performer's shoulders in it, in a dark pullover, behind the head."""
    pixels = (vertices @ torch.from_numpy(K).T).numpy()
    # The cut of the neck: the lowest tenth of the vertices.
    low = pixels[vertices[:, 1].argsort(descending=True)[: len(pixels) // 10].numpy()]
    x, y = (low[:, :2] / low[:, 2:]).mean(0)
    metre = float(K[0, 0]) / float(low[:, 2].mean())
    dressed = room.copy()
    centre = (round(float(x)), round(float(y + 0.22 * metre)))
    axes = (round(0.23 * metre), round(0.25 * metre))
    cv2.ellipse(dressed, centre, axes, 0, 0, 360, (44, 52, 70), -1, cv2.LINE_AA)
    return dressed


@dataclass(frozen=True)
class Passer:
    """Something that comes in, stays before the face and leaves."""

    kind: str
    """What it is, for the figures."""
    sprite: NDArray[np.uint8]
    """(S, S, 4)."""
    first: int
    last: int
    """Frames in which it is there."""
    place: tuple[float, float]
    """Where on the face its middle stays, in face widths from the middle of the face."""
    side: float
    """How large it is, in face widths."""
    angle: float
    """Radians."""


KINDS = {
    "own_hand": (-0.25, 0.4),
    "microphone": (0.1, 0.55),
    "hand": (0.3, -0.3),
    "hair": (-0.3, -0.25),
    "phone": (-0.35, 0.1),
    "sunglasses": (0.0, -0.2),
    "object": (0.1, -0.35),
}
"""What passes by, and where on the face its middle stays, in face widths."""


def make_passers(n_frames: int, seed: int, tone: NDArray[np.float64]) -> list[Passer]:
    """A hand of the face's own colour, another hand, hair, sunglasses, and three things.

    tone: (3,) colour of the face, of 255.
    """
    rng = np.random.default_rng(seed + 7)
    length = n_frames / len(KINDS)
    passers = []
    for number, (kind, place) in enumerate(KINDS.items()):
        if kind in ("hair", "sunglasses"):
            sprite = _hair(rng, 384) if kind == "hair" else _sunglasses(384)
        else:
            sprite = make_occluder(rng, 384, "hand" if kind == "own_hand" else kind)
        if kind == "own_hand":
            solid = sprite[..., 3] > 200
            ratio = tone / sprite[..., :3][solid].astype(float).mean(0)
            sprite[..., :3] = np.clip(sprite[..., :3] * ratio, 0, 255).astype(np.uint8)
        first, last = round(number * length), round((number + 1) * length) - 1
        # A pause between two, in which nothing is there.
        last -= max(1, round(0.2 * length)) if n_frames > 2 * len(KINDS) else 0
        size = float(rng.uniform(0.75, 1.0)) * (1.25 if "hand" in kind else 0.9)
        angle = 0.0 if kind == "sunglasses" else float(rng.uniform(-0.6, 0.6))
        passers.append(Passer(kind, sprite, first, last, place, size, angle))
    return passers


def _hair(rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
    """A lock of hair that falls over the face: many bent strands, with gaps at its tips."""
    color = np.zeros((size, size, 3), np.uint8)
    mask = np.zeros((size, size), np.uint8)
    t = np.linspace(0, 1, 24)
    for _ in range(420):
        start, bend = rng.normal(0.5, 0.09), rng.normal(0.12, 0.05)
        x = start + bend * np.sin(2.2 * t) + rng.normal(0, 0.08) * t**2
        y = rng.uniform(0, 0.1) + t * rng.uniform(0.75, 1.0)
        points = [np.round(np.stack((x, y), 1) * size * 16).astype(np.int32)]
        tone = tuple(rng.uniform(0.6, 1.3) * c for c in (88.0, 62.0, 44.0))
        cv2.polylines(color, points, False, tone, 3, cv2.LINE_AA, 4)
        cv2.polylines(mask, points, False, 255, 3, cv2.LINE_AA, 4)
    return np.dstack((color, mask))


def _sunglasses(size: int) -> NDArray[np.uint8]:
    """Two dark lenses and a bridge."""
    sprite = np.zeros((size, size, 4), np.uint8)
    for x in (0.26, 0.74):
        centre = (round(x * size), size // 2)
        for reach, tone in (((0.23, 0.17), (12, 12, 14, 255)), ((0.2, 0.14), (34, 30, 30, 255))):
            axes = (round(reach[0] * size), round(reach[1] * size))
            cv2.ellipse(sprite, centre, axes, 0, 0, 360, tone, -1, cv2.LINE_AA)
    bridge = (round(0.44 * size), round(0.45 * size)), (round(0.56 * size), round(0.45 * size))
    cv2.line(sprite, *bridge, (12, 12, 14, 255), size // 24, cv2.LINE_AA)
    return sprite


def cover_picture(
    image: NDArray[np.uint8], vertices: Tensor, K: np.ndarray, frame: int, passers: list[Passer]
) -> tuple[NDArray[np.uint8], NDArray[np.float32], str]:
    """Put what passes by in front of a frame: the picture, its coverage (H, W), and what it is."""
    for passer in passers:
        if not passer.first <= frame <= passer.last:
            continue
        pixels = (vertices @ torch.from_numpy(K).T).numpy()
        pixels = pixels[:, :2] / pixels[:, 2:]
        face_px = 0.14 * float(K[0, 0]) / float(vertices[:, 2].median())
        # The nose's surroundings: the foremost hundredth of the head.
        middle = pixels[vertices[:, 2].argsort()[: len(pixels) // 100].numpy()].mean(0)
        phase = (frame - passer.first + 0.5) / (passer.last - passer.first + 1)
        away = max(0.0, abs(phase - 0.5) - 0.3) * 4
        x = middle[0] + face_px * (passer.place[0] + away * np.sign(passer.place[0]) * 0.6)
        y = middle[1] + face_px * (passer.place[1] + away * 0.8)
        covered, share = paste_sprite(
            image, passer.sprite, (float(x), float(y)), passer.side * face_px, passer.angle
        )
        return covered, share.astype(np.float32), passer.kind
    return image, np.zeros(image.shape[:2], np.float32), ""


def cast_rays(vertices: Tensor, faces: Tensor, tolerance: float) -> Tensor:
    """Vertices (N, 3) that no triangle hides from the origin by more than metres: (N,) bool.

    Moeller and Trumbore, Fast, Minimum Storage Ray-Triangle Intersection (1997), every vertex
    against every triangle.
    """
    corners = vertices[faces].double()
    edge_1, edge_2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    origin = -corners[:, 0]
    q = torch.linalg.cross(origin, edge_1)
    distance = (edge_2 * q).sum(-1)
    normal = torch.linalg.cross(edge_1, edge_2)
    across = torch.linalg.cross(edge_2, origin)
    seen = torch.ones(len(vertices), dtype=torch.bool)
    for begin in range(0, len(vertices), 256):
        ray = vertices[begin : begin + 256].double()
        determinant = -ray @ normal.T
        u = ray @ across.T / determinant
        v = ray @ q.T / determinant
        t = distance / determinant
        hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)
        hit &= (1 - t) * ray.norm(dim=-1, keepdim=True) > tolerance
        seen[begin : begin + 256] = ~hit.any(1)
    return seen
