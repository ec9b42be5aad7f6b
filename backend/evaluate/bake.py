"""Visibility and texture of rendered heads whose mesh, skin and covers are known.

The mesh is the true one, and then the one that the pipeline's own detector and fit find in the
rendered pictures.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from backend.bake.parts import PARTS
from backend.bake.shot import BakedShot, BakeSettings, PosedShot, bake_shot
from backend.bake.shot_cover import ShotCover
from backend.bake.texture import MEASURED, TextureBaker
from backend.bake.visibility import VISIBLE, soft_vertex_visibility
from backend.bake_stage import posed_shot_of
from backend.errors import NoFaceError
from backend.evaluate.bake_footage import Picture, RenderedFootage, posed
from backend.evaluate.bake_memory import memory_growth
from backend.evaluate.bake_scene import (
    FRAMES,
    Performance,
    add_noise,
    cast_rays,
    cover_picture,
    make_passers,
    make_room,
    perform,
    render_skin,
    without_lashes,
)
from backend.evaluate.bake_skin import performers_skin
from backend.evaluate.settings import BenchSettings
from backend.geometry.rasterizer import to_pixels
from backend.head import Head
from backend.pipeline import run_track
from backend.settings import TrackSettings
from shared.messages import Event, Progress

TEXTURE_SIZE = 2048
NOISE = 2.0
"""Standard deviation of the noise on all pictures, of 255."""
AMBIENT = 0.55
"""Share of the light from everywhere in pictures with covers; the rest comes from one side."""


@dataclass(frozen=True)
class Case:
    """Which frames and sizes are rendered."""

    n_frames: int
    scale: float
    texture_size: int
    rays: int
    """Frames whose visibility is compared with cast rays."""
    solve: bool
    """Whether to track the pictures too."""


FULL = Case(FRAMES, 1.0, TEXTURE_SIZE, 8, True)


def run(settings: BenchSettings) -> dict[str, float]:
    """Bake the performance from its true mesh and from the solved one; returns the figures.

    A quick run has the true mesh alone.
    """
    case = Case(12, 0.35, 256, 1, False) if settings.quick else FULL
    head = Head.load()
    shot = perform(head, case.n_frames, case.scale, settings.seed)
    skin = performers_skin(head, case.texture_size, settings.seed)
    return {
        **_textures(head, shot, skin, case, settings),
        **_covers(head, shot, skin, case, settings),
        **({} if settings.quick else memory_growth(settings.seed)),
    }


def _textures(
    head: Head, shot: Performance, skin: Picture, case: Case, settings: BenchSettings
) -> dict[str, float]:
    """Figures of the clean performance in even light, whose texture is known exactly."""
    room = make_room(shot, settings.seed)
    pictures = []
    for number in tqdm(range(len(shot.vertices)), "Rendering", file=sys.stderr):
        image = render_skin(head, shot.vertices[number], shot, skin, room=room)
        pictures.append(add_noise(image, NOISE, number))
    footage = RenderedFootage(pictures)
    true_shot = posed(head, shot)
    figures = {"visibility_f1_self_true_mesh": f1_self(head, shot, true_shot, case.rays)}
    bake = BakeSettings(texture_size=case.texture_size)
    baked = bake_shot(lambda: footage, head, true_shot, bake)
    figures |= _speed(head, true_shot, pictures, case.texture_size)
    compared = off_lashes(head, case.texture_size)
    assert baked.texture is not None
    figures["frames_baked"] = float(len(baked.merged))
    figures["measured_fraction"] = baked.measured_fraction
    figures["texture_psnr_db_true_mesh"] = psnr(baked.texture, skin, compared)
    left_out = np.setdiff1d(np.arange(len(pictures)), baked.merged)
    figures |= rerender(head, shot, left_out[:: max(1, len(left_out) // 5)], skin, baked.texture)
    figures["false_cover_percent"] = false_cover_percent(baked, true_shot)
    solved = solve(head, footage, settings) if case.solve else None
    if solved is None:
        return figures
    figures["visibility_f1_self"] = f1_self(head, shot, solved, case.rays)
    found = bake_shot(lambda: footage, head, solved, bake)
    assert found.texture is not None
    figures["texture_psnr_db"] = psnr(found.texture, skin, compared)
    figures["measured_fraction_solved"] = found.measured_fraction
    figures["false_cover_percent_solved"] = false_cover_percent(found, true_shot)
    figures["vertices_px_solved"] = pixel_error(head, shot, solved)
    return figures


def _covers(
    head: Head, shot: Performance, skin: Picture, case: Case, settings: BenchSettings
) -> dict[str, float]:
    """Figures of a performance with hands, hair, sunglasses and things before the face, lit from
    one side.

    What counts as found is a covered vertex that would be seen otherwise, in all frames.
    """
    room = make_room(shot, settings.seed)
    tone = skin.reshape(-1, 3)[_face_texels(head, case.texture_size)].astype(float).mean(0)
    passers = make_passers(len(shot.vertices), settings.seed, tone)
    pictures, kinds = [], []
    truth = np.zeros((len(shot.vertices), head.n_vertices), bool)
    for number in tqdm(range(len(shot.vertices)), "Rendering covers", file=sys.stderr):
        vertices = shot.vertices[number]
        image = render_skin(head, vertices, shot, skin, AMBIENT, room=room)
        image, share, kind = cover_picture(image, vertices, shot.K, number, passers)
        pictures.append(add_noise(image, NOISE, number))
        kinds.append(kind)
        truth[number] = _at(share, vertices, shot.K) > 0.5
    footage = RenderedFootage(pictures)
    seen = posed(head, shot)
    bake = BakeSettings(texture_size=0)
    figures: dict[str, float] = {}
    known = bake_shot(lambda: footage, head, seen, bake)
    figures |= cover_figures(known, truth, seen, kinds, "_true_mesh")
    solved = solve(head, footage, settings) if case.solve else None
    if solved is not None:
        # A frame in which the pipeline does not find the face has nothing that could be covered.
        figures["occluder_frames_tracked_percent"] = 100 * float(solved.found.mean())
        found = bake_shot(lambda: footage, head, solved, bake)
        figures |= cover_figures(found, truth, seen, kinds, "")
    return figures


def false_cover_percent(baked: BakedShot, true_shot: PosedShot) -> float:
    """Share of what the true mesh shows of a head with nothing before it that counts as covered."""
    shown = true_shot.visibility >= VISIBLE
    return 100 * float(((baked.covered >= VISIBLE) & shown).sum() / shown.sum())


def cover_figures(
    baked: BakedShot, truth: NDArray[np.bool_], true_shot: PosedShot, kinds: list[str], suffix: str
) -> dict[str, float]:
    """F1, precision and recall of covered vertices among those that head and border would show."""
    shown = true_shot.visibility >= VISIBLE
    found = baked.covered >= VISIBLE
    figures: dict[str, float] = {}
    for name in ("", *dict.fromkeys(kind for kind in kinds if kind)):
        rows = np.array([not name or kind == name for kind in kinds])
        real, said = (truth & shown)[rows], (found & shown)[rows]
        both = float((real & said).sum())
        label = f"occluder{suffix}" + (f"_{name}" if name else "")
        figures[f"visibility_f1_{label}"] = 2 * both / max(1.0, float(real.sum() + said.sum()))
        if not name:
            figures[f"visibility_precision_{label}"] = both / max(1.0, float(said.sum()))
            figures[f"visibility_recall_{label}"] = both / max(1.0, float(real.sum()))
    return figures


def solve(head: Head, footage: RenderedFootage, settings: BenchSettings) -> PosedShot | None:
    """The head that the whole pipeline finds in the pictures; None where it finds no face."""
    view = tqdm(total=1.0, desc="Tracking", file=sys.stderr, bar_format="{desc} {percentage:.0f}%")

    def show(event: Event) -> None:
        if isinstance(event, Progress):
            view.set_description(f"Tracking, {event.stage}", refresh=False)
            view.n = event.fraction
            view.refresh()

    try:
        track = run_track(
            footage, TrackSettings(texture_size=0, device=settings.device), on_event=show
        )
    except NoFaceError:
        return None
    finally:
        view.close()
    return posed_shot_of(track, head)


def pixel_error(head: Head, shot: Performance, solved: PosedShot) -> float:
    """Mean distance of the solved face's vertices from the true ones, pixels."""
    face = np.asarray(head.regions["face"])
    true = to_pixels(shot.vertices[:, face], shot.K)[..., :2]
    found = to_pixels(solved.vertices[:, face], solved.K[0])[..., :2]
    return float((true - found).norm(dim=-1)[torch.from_numpy(solved.found)].mean())


def f1_self(head: Head, shot: Performance, found: PosedShot, n_frames: int) -> float:
    """F1 of vertex visibility against rays cast from the camera to every true vertex."""
    hits = both = 0
    for frame in np.linspace(0, len(shot.vertices) - 1, n_frames).round().astype(int):
        seen = torch.from_numpy(found.visibility[frame] >= VISIBLE)
        faces = head.faces[without_lashes(head)]
        truth = cast_rays(shot.vertices[frame], faces, 1e-4)
        hits += int((seen & truth).sum())
        both += int(seen.sum() + truth.sum())
    return 2 * hits / both


def rerender(
    head: Head, shot: Performance, frames: NDArray[np.int64], skin: Picture, texture: Picture
) -> dict[str, float]:
    """PSNR and SSIM of frames that were not merged, drawn with the baked texture where measured."""
    errors, similar = [], []
    measured = np.repeat((texture[..., 3:] == MEASURED) * np.uint8(255), 3, 2)
    for frame in frames:
        vertices = shot.vertices[frame]
        truth = render_skin(head, vertices, shot, skin).astype(np.float32)
        drawn = render_skin(head, vertices, shot, np.ascontiguousarray(texture[..., :3]))
        shown = render_skin(head, vertices, shot, measured).min(-1) == 255
        errors.append(((truth - drawn) ** 2)[shown])
        similar.append(_ssim(truth.mean(-1), drawn.astype(np.float32).mean(-1))[shown])
    if not errors:
        return {}
    return {
        "rerender_psnr_db": 10 * float(np.log10(255**2 / np.concatenate(errors).mean())),
        "rerender_ssim": float(np.concatenate(similar).mean()),
    }


def off_lashes(head: Head, size: int) -> NDArray[np.bool_]:
    """(S, S) bool: texels on the head, without those of the lashes, which are not rendered."""
    baker = TextureBaker(head, size)
    compared = np.zeros(size * size, bool)
    part = baker.part_of_face[baker.texels.triangle].numpy()
    compared[baker.texels.position.numpy()] = part != 1 + list(PARTS).index("lashes")
    return compared.reshape(size, size)


def _face_texels(head: Head, size: int) -> NDArray[np.int64]:
    """Texels of the face's skin, (n,) row * size + column."""
    baker = TextureBaker(head, size)
    chosen: NDArray[np.int64] = baker.texels.position[baker.face_texel].numpy()
    return chosen


def psnr(texture: Picture, truth: Picture, compared: NDArray[np.bool_]) -> float:
    """PSNR in decibels over the measured ones of some texels (S, S) bool."""
    chosen = compared & (texture[..., 3] == MEASURED)
    error = texture[chosen][:, :3].astype(float) - truth[chosen]
    return 10 * float(np.log10(255**2 / np.mean(error**2)))


def _ssim(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Structural similarity of every pixel of two pictures (H, W), 0 to 255 (Wang et al., 2004)."""

    def mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
        blurred: NDArray[np.float32] = cv2.GaussianBlur(values, (11, 11), 1.5)
        return blurred

    mean_a, mean_b = mean(a), mean(b)
    spread_a, spread_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    joint = mean(a * b) - mean_a * mean_b
    low, high = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similar: NDArray[np.float32] = (2 * mean_a * mean_b + low) * (2 * joint + high)
    return similar / ((mean_a**2 + mean_b**2 + low) * (spread_a + spread_b + high))


def _speed(
    head: Head, shot: PosedShot, pictures: list[Picture], texture_size: int
) -> dict[str, float]:
    """Frames a second of all that is done with each frame: visibility, covers, texture.

    The pictures as they are, and twice as large.
    """
    some = np.linspace(0, len(pictures) - 1, min(8, len(pictures))).round().astype(int)
    vertices = torch.from_numpy(shot.vertices)
    figures: dict[str, float] = {}
    for label, factor in (("1080p", 1), ("2160p", 2)):
        K = torch.from_numpy(shot.K).float().clone()
        K[:, :2] *= factor
        K[:, :2, 2] += 0.5 * (factor - 1)
        enlarged = [_enlarge(pictures[number], factor) for number in some]
        size = (enlarged[0].shape[1], enlarged[0].shape[0])
        cover, baker = ShotCover(head), TextureBaker(head, texture_size)
        for number, image in zip(some, enlarged, strict=True):
            seen = torch.from_numpy(shot.visibility[number])
            cover.learn(image, vertices[number], K[number], seen)
        cover.solve()
        began, worked = time.perf_counter(), time.process_time()
        for number, image in zip(some, enlarged, strict=True):
            soft_vertex_visibility(shot.vertices[number][None], head.faces, K[number].numpy(), size)
            covered, gain = cover.judge(image, vertices[number], K[number])
            baker.add(image, vertices[number], K[number], visible=1 - covered, gain=gain)
        seconds, processor = time.perf_counter() - began, time.process_time() - worked
        figures[f"fps_{label}"] = len(some) / seconds
        figures[f"processor_seconds_per_frame_{label}"] = processor / len(some)
    began = time.perf_counter()
    baker.linear_result()
    return figures | {"seconds_to_merge": time.perf_counter() - began}


def _enlarge(image: Picture, factor: int) -> Picture:
    if factor == 1:
        return image
    size = (factor * image.shape[1], factor * image.shape[0])
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def _at(
    share: NDArray[np.float32], vertices: Tensor, K: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Values (N,) of a picture (H, W) at vertices (N, 3), the border repeated."""
    pixels = to_pixels(vertices, K)[:, :2].numpy().round().astype(int)
    height, width = share.shape
    values: NDArray[np.float32] = share[
        np.clip(pixels[:, 1], 0, height - 1), np.clip(pixels[:, 0], 0, width - 1)
    ]
    return values
