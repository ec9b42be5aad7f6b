"""Visibility and texture of rendered heads whose mesh and skin are known."""

from __future__ import annotations

import time
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from backend.bake.frames import select_frames
from backend.bake.texture import MEASURED, PARTS, TextureBaker
from backend.bake.visibility import vertex_visibility
from backend.evaluate.settings import BenchSettings
from backend.geometry.rasterizer import ShadingSettings, render_shaded
from backend.head import Head

IMAGE_SIZE = (1920, 1080)
FOCAL_PX = 1500.0
TEXTURE_SIZE = 2048
FRAMES = 60
MAX_FRAMES = 32


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


def run(settings: BenchSettings) -> dict[str, float]:
    """Bake the performance from its true mesh and from a disturbed one; returns the figures."""
    head = Head.load()
    shot = perform(head, settings.quick, settings.seed)
    size = 512 if settings.quick else TEXTURE_SIZE
    skin = known_skin(size, settings.seed)
    chosen = select_frames(
        shot.head_pose,
        np.ones(len(shot.vertices), bool),
        4 if settings.quick else MAX_FRAMES,
        shot.expression,
        head.expression_names,
    )
    exact = visibility_agreement(head, shot, 1 if settings.quick else 8)
    figures = {"visibility_f1_self_true_mesh": exact}
    disturbed = disturb(shot, settings.seed)
    baker, noisy = TextureBaker(head, size), TextureBaker(head, size)
    seconds = 0.0
    for frame in chosen:
        image = render_skin(head, shot.vertices[frame], shot, skin)
        began = time.perf_counter()
        baker.add(image, shot.vertices[frame], shot.K)
        vertex_visibility(shot.vertices[frame][None], head.faces, shot.K, shot.image_size)
        seconds += time.perf_counter() - began
        noisy.add(image, disturbed[frame], shot.K)
    began = time.perf_counter()
    texture = baker.result()
    figures["seconds_to_merge"] = time.perf_counter() - began
    figures["fps_1080p"] = len(chosen) / seconds
    figures["frames_baked"] = float(len(chosen))
    figures["measured_fraction"] = baker.measured_fraction
    compared = off_lashes(baker)
    figures["texture_psnr_db_true_mesh"] = psnr(texture, skin, compared)
    figures["texture_psnr_db_disturbed_mesh"] = psnr(noisy.result(), skin, compared)
    left_out = np.setdiff1d(np.arange(len(shot.vertices)), chosen)
    figures["rerender_psnr_db"] = rerender_psnr(
        head, shot, left_out[:: max(1, len(left_out) // 5)], skin, texture
    )
    return figures


def perform(head: Head, quick: bool, seed: int) -> Performance:
    """Smooth motion to 55 degrees of yaw at 50 to 65 cm, with speech and a blink a second."""
    n_frames = 6 if quick else FRAMES
    scale = 0.5 if quick else 1.0
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


def known_skin(size: int, seed: int) -> np.ndarray:
    """A skin tone with blotches of 20 to 2 mm and dark spots of 2 mm, (size, size, 3) u8 sRGB."""
    rng = np.random.default_rng(seed)
    skin = np.full((size, size, 3), (0.76, 0.57, 0.48), np.float32)
    for cells, amplitude in ((16, 0.05), (48, 0.03), (160, 0.02)):
        noise = rng.normal(size=(cells, cells, 3)).astype(np.float32)
        skin += amplitude * cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)
    for x, y in rng.integers(0, size, (1500, 2)):
        cv2.circle(skin, (int(x), int(y)), size // 340, (0.42, 0.27, 0.22), -1, cv2.LINE_AA)
    skin = cv2.GaussianBlur(skin, (0, 0), size / 1000)
    return (np.clip(skin, 0, 1) * 255).round().astype(np.uint8)


def without_lashes(head: Head) -> Tensor:
    """(T,) bool: faces but those of the lashes, whose cards hide far more than real lashes do."""
    lashes = torch.zeros(head.n_vertices, dtype=torch.bool)
    lashes[torch.as_tensor(head.regions["lashes"])] = True
    return ~lashes[head.faces].any(1)


def render_skin(head: Head, vertices: Tensor, shot: Performance, skin: np.ndarray) -> np.ndarray:
    """An evenly lit picture (H, W, 3) u8 of posed vertices (N, 3) with a skin, on green."""
    faces = without_lashes(head)
    settings = ShadingSettings(ambient=1.0, supersample=2, background=(40, 150, 60, 255))
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


def disturb(shot: Performance, seed: int) -> Tensor:
    """Vertices with a new error in every frame: 0.5 degrees, 1 mm sideways, 5 mm in depth."""
    rng = np.random.default_rng(seed + 1)
    moved = shot.vertices.clone()
    for index, vertices in enumerate(moved):
        rotation, _ = cv2.Rodrigues(np.radians(0.5) * rng.normal(size=3) / np.sqrt(3))
        shift = rng.normal(size=3) * (7e-4, 7e-4, 5e-3)
        center = vertices.mean(0)
        turned = (vertices - center) @ torch.from_numpy(rotation.T).float()
        moved[index] = turned + center + torch.from_numpy(shift).float()
    return moved


def visibility_agreement(head: Head, shot: Performance, n_frames: int) -> float:
    """F1 of vertex visibility against rays cast from the camera to every vertex."""
    hits = both = 0
    for frame in np.linspace(0, len(shot.vertices) - 1, n_frames).round().astype(int):
        vertices = shot.vertices[frame]
        seen = torch.from_numpy(
            vertex_visibility(vertices[None], head.faces, shot.K, shot.image_size)[0]
        ).bool()
        truth = cast_rays(vertices, head.faces, 1e-4)
        hits += int((seen & truth).sum())
        both += int(seen.sum() + truth.sum())
    return 2 * hits / both


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


def rerender_psnr(
    head: Head, shot: Performance, frames: np.ndarray, skin: np.ndarray, texture: np.ndarray
) -> float:
    """PSNR of unseen frames drawn with the baked texture, where it is measured."""
    errors = []
    measured = np.repeat((texture[..., 3:] == MEASURED) * np.uint8(255), 3, 2)
    for frame in frames:
        vertices = shot.vertices[frame]
        truth = render_skin(head, vertices, shot, skin).astype(float)
        drawn = render_skin(head, vertices, shot, np.ascontiguousarray(texture[..., :3]))
        shown = render_skin(head, vertices, shot, measured).min(-1) == 255
        errors.append(((truth - drawn) ** 2)[shown])
    return 10 * float(np.log10(255**2 / np.concatenate(errors).mean()))


def off_lashes(baker: TextureBaker) -> np.ndarray:
    """(S, S) bool: texels on the head, without those of the lashes, which are not rendered."""
    size = baker.texels.size
    compared = np.zeros(size * size, bool)
    part = baker.part_of_face[baker.texels.triangle].numpy()
    compared[baker.texels.position.numpy()] = part != 1 + list(PARTS).index("lashes")
    return compared.reshape(size, size)


def psnr(texture: np.ndarray, truth: np.ndarray, compared: np.ndarray) -> float:
    """PSNR in decibels over the measured ones of some texels (S, S) bool."""
    chosen = compared & (texture[..., 3] == MEASURED)
    error = texture[chosen][:, :3].astype(float) - truth[chosen]
    return 10 * float(np.log10(255**2 / np.mean(error**2)))
