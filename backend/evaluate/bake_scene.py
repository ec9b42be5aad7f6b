"""A rendered performance of the shipped head with a known skin, and with things in front of it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backend.bake.texels import build_texel_map
from backend.geometry.rasterizer import ShadingSettings, render_shaded
from backend.head import Head
from backend.train.procedural.occluders import make_occluder, paste_sprite

IMAGE_SIZE = (1920, 1080)
FOCAL_PX = 1500.0
FRAMES = 60
SKIN_TONE = (0.76, 0.57, 0.48)


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
    """Smooth motion to 55 degrees of yaw at 50 to 65 cm, with speech and a blink a second.

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
    yaw, pitch = 0.95 * np.sin(2 * np.pi * t), 0.3 * np.sin(6 * np.pi * t + 1)
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


def known_skin(head: Head, size: int, seed: int, detail: float = 1.0) -> NDArray[np.uint8]:
    """A face to find back: (size, size, 3) u8 sRGB in the head's layout.

    Skin with blotches of 20 to 2 mm and dark spots of 2 mm; lips, brows, a scalp of dark hair,
    irises with pupils, teeth with gaps, a red mouth. detail: how strong blotches and how many
    spots; 0.2 is about a real skin, on which a hand is hard to see, 1 shows every misfit.
    """
    rng = np.random.default_rng(seed)
    skin = np.full((size, size, 3), SKIN_TONE, np.float32)
    for cells, amplitude in ((16, 0.05), (48, 0.03), (160, 0.02)):
        noise = detail * rng.normal(size=(cells, cells, 3)).astype(np.float32)
        skin += amplitude * cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)
    for x, y in rng.integers(0, size, (round(1500 * detail), 2)):
        cv2.circle(skin, (int(x), int(y)), size // 340, (0.42, 0.27, 0.22), -1, cv2.LINE_AA)
    _paint_features(head, skin, size)
    skin = cv2.GaussianBlur(skin, (0, 0), size / 1000)
    return (np.clip(skin, 0, 1) * 255).round().astype(np.uint8)


def _paint_features(head: Head, skin: NDArray[np.float32], size: int) -> None:
    """Paint what makes a face a face, by where on the mean head each texel lies."""
    texels = build_texel_map(head.uv, head.face_uv, size)
    everything = torch.arange(len(texels.position))
    at = texels.interpolate(head.template[head.faces], everything).numpy()
    part = np.full(head.n_vertices, "skin", dtype="<U16")
    for name in ("lips", "mouth", "tongue", "teeth_upper", "teeth_lower", "eye.L", "eye.R"):
        part[head.regions[name]] = name
    of_texel = part[head.faces[:, 0].numpy()][texels.triangle.numpy()]
    flat = skin.reshape(-1, 3)
    position = texels.position.numpy()

    def tint(chosen: NDArray[np.bool_], color: tuple[float, float, float], share: float) -> None:
        rows = position[chosen]
        flat[rows] = (1 - share) * flat[rows] + share * np.array(color, np.float32)

    x, y, z = at[:, 0], at[:, 1], at[:, 2]
    on_skin = of_texel == "skin"
    seam = (np.abs(y - 0.072) < 0.011) & (np.abs(x) < 0.025)
    tint((of_texel == "lips") & seam, (0.62, 0.28, 0.28), 0.8)
    arch = -0.021 - 0.004 * np.sin(np.pi * np.clip((np.abs(x) - 0.012) / 0.04, 0, 1))
    brow = on_skin & (np.abs(x) > 0.012) & (np.abs(x) < 0.052) & (np.abs(y - arch) < 0.0035)
    tint(brow & (z < 0.02), (0.2, 0.13, 0.1), 0.85)
    tint(on_skin & ((y < -0.085) | ((z > 0.07) & (y < 0.05))), (0.16, 0.11, 0.08), 0.9)
    tint(of_texel == "mouth", (0.4, 0.16, 0.16), 0.9)
    tint(of_texel == "tongue", (0.68, 0.36, 0.36), 0.9)
    teeth = np.char.startswith(of_texel, "teeth")
    tint(teeth, (0.88, 0.84, 0.76), 0.9)
    tint(teeth & (np.abs((x / 0.0078) % 1 - 0.5) > 0.46), (0.5, 0.4, 0.36), 0.8)
    for name in ("eye.L", "eye.R"):
        eye = of_texel == name
        tint(eye, (0.88, 0.86, 0.85), 0.9)
        middle = head.template[head.regions[name]].mean(0).numpy()
        radius = np.hypot(x - middle[0], y - middle[1])
        front = eye & (z < middle[2])
        tint(front & (radius < 0.006), (0.3, 0.42, 0.5), 0.95)
        tint(front & (radius < 0.0024), (0.03, 0.03, 0.03), 0.97)


def without_lashes(head: Head) -> Tensor:
    """(T,) bool: faces but those of the lashes, whose cards hide far more than real lashes do."""
    lashes = torch.zeros(head.n_vertices, dtype=torch.bool)
    lashes[torch.as_tensor(head.regions["lashes"])] = True
    return ~lashes[head.faces].any(1)


def render_skin(
    head: Head,
    vertices: Tensor,
    shot: Performance,
    skin: np.ndarray,
    ambient: float = 1.0,
    supersample: int = 2,
) -> NDArray[np.uint8]:
    """A picture (H, W, 3) u8 of posed vertices (N, 3) with a skin, on green.

    ambient: share of the light that comes from everywhere; the rest comes from the upper left.
    """
    faces = without_lashes(head)
    settings = ShadingSettings(
        ambient=ambient,
        light=(-0.5, -0.5, -0.7) if ambient < 1 else None,
        supersample=supersample,
        background=(40, 150, 60, 255),
    )
    image = render_shaded(
        vertices,
        head.faces[faces],
        shot.K,
        shot.image_size,
        texture=skin,
        uv=head.uv,
        face_uv=head.face_uv[faces],
        settings=settings,
    )
    return np.ascontiguousarray(image[..., :3])


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


def make_passers(n_frames: int, seed: int) -> list[Passer]:
    """A hand of the face's own colour (twice), another hand, a microphone, a phone, an object."""
    rng = np.random.default_rng(seed + 7)
    kinds = ("own_hand", "microphone", "hand", "own_hand", "phone", "object")
    places = ((-0.25, 0.4), (0.1, 0.55), (0.3, -0.3), (0.2, 0.15), (-0.35, 0.1), (0.1, -0.35))
    length = n_frames / len(kinds)
    passers = []
    for number, (kind, place) in enumerate(zip(kinds, places, strict=True)):
        sprite = make_occluder(rng, 384, "hand" if kind == "own_hand" else kind)
        if kind == "own_hand":
            solid = sprite[..., 3] > 200
            mean = sprite[..., :3][solid].astype(float).mean(0)
            ratio = np.array(SKIN_TONE) * 255 / mean
            sprite[..., :3] = np.clip(sprite[..., :3] * ratio, 0, 255).astype(np.uint8)
        first, last = round(number * length), round((number + 1) * length) - 1
        # A pause between two, in which nothing is there.
        last -= max(1, round(0.2 * length)) if n_frames > 12 else 0
        size = float(rng.uniform(0.75, 1.0)) * (1.25 if "hand" in kind else 0.9)
        passers.append(
            Passer(kind, sprite, first, last, place, size, float(rng.uniform(-0.6, 0.6)))
        )
    return passers


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
