"""The last stage of the pipeline: from posed frames to what is seen of them, and their textures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from backend.bake.color import linear_to_srgb8
from backend.bake.shot import BakedShot, BakeSettings, PosedShot, bake_cameras
from backend.bake.visibility import VISIBLE, as_u8, soft_vertex_visibility
from backend.bake_views import shot_of_camera
from backend.device import device_with_doubles
from backend.footage import Footage
from backend.head import Head
from backend.stages import Reporter
from backend.track import Track
from shared.conventions import intrinsics
from shared.messages import CameraResult, FrameResult, TextureResult

COVERED_PX = 100.0
"""Deviation, for the bake, of landmarks that a mask hides."""


def bake_frames(
    footage: Footage,
    head: Head,
    neutral: NDArray[np.float32],
    frames: list[FrameResult],
    size: int,
    report: Reporter,
    principal_point: tuple[float, float] | None = None,
    others: Sequence[tuple[Footage, CameraResult]] = (),
) -> tuple[list[FrameResult], BakedShot]:
    """Find what covers the head and merge the textures; the frames again, with what is seen.

    neutral: (N, 3) the face at rest, metres. size: side of the texture, 0 for none.
    principal_point: pixels; the middle of the picture where None. others: further cameras, which
    add to the texture; visibility is the first one's. Every frame whose visibility changes is
    reported again.
    """
    shot = _posed_shot(footage, neutral, frames, principal_point)
    sources: list[tuple[Callable[[], Footage], PosedShot]] = [(lambda: footage, shot)]
    for film, camera in others if size else ():
        seen = shot_of_camera(shot, camera, film, footage.frame_rate, head)
        if seen is not None:
            sources.append((partial(_again, film), seen))
    baked = bake_cameras(sources, head, BakeSettings(texture_size=size), report.progress)[0]
    results = []
    for frame, soft in zip(frames, baked.visibility, strict=True):
        visibility = (soft >= VISIBLE).astype(np.uint8)
        result = msgspec.structs.replace(frame, visibility=visibility, soft_visibility=as_u8(soft))
        # The soft one says more than whether it passes half: both make the track at a client.
        if not (
            _same(result.visibility, frame.visibility)
            and _same(result.soft_visibility, frame.soft_visibility)
        ):
            report.result(result)
        results.append(result)
    return results, baked


def _same(one: NDArray[np.uint8] | None, other: NDArray[np.uint8] | None) -> bool:
    return one is not None and other is not None and np.array_equal(one, other)


def _again(footage: Footage) -> Footage:
    return footage


def texture_result(baked: BakedShot) -> TextureResult | None:
    """The textures as a message; None where there are none."""
    if baked.texture is None:
        return None
    light = baked.lighting
    return TextureResult(
        texture=baked.texture,
        albedo=None if baked.albedo is None else linear_to_srgb8(baked.albedo).numpy(),
        lighting=None if light is None else light.shading.numpy().astype(np.float32),
    )


def posed_shot_of(track: Track, head: Head) -> PosedShot:
    """A track as the bake takes it."""
    lashes = torch.zeros(head.n_vertices, dtype=torch.bool)
    lashes[torch.as_tensor(head.regions["lashes"])] = True
    faces = torch.from_numpy(track.faces).long().to(device_with_doubles(head.faces.device))
    size = (int(track.image_size[0]), int(track.image_size[1]))
    visibility = soft_vertex_visibility(
        track.vertices, faces, track.K, size, occluders=~lashes.to(faces.device)[faces].all(1)
    )
    return PosedShot(
        frame_index=track.frame_index,
        vertices=track.vertices,
        visibility=visibility,
        K=track.K,
        head_pose=track.head_pose,
        expression=track.expression,
        found=track.found,
        rest_vertices=track.rest_vertices,
        landmarks_2d=track.landmarks_2d,
        landmark_sigma=np.where(
            np.isinf(track.landmark_sigma), np.float32(COVERED_PX), track.landmark_sigma
        ),
    )


def with_bake(track: Track, baked: BakedShot) -> Track:
    """The track with the visibility and the textures of a bake."""
    empty = np.zeros((0, 0, 3), np.uint8)
    light = None if baked.lighting is None else baked.lighting.shading.numpy()
    return replace(
        track,
        visibility=(baked.visibility >= VISIBLE).astype(np.uint8),
        soft_visibility=as_u8(baked.visibility),
        texture=track.texture if baked.texture is None else baked.texture,
        albedo=empty if baked.albedo is None else linear_to_srgb8(baked.albedo).numpy(),
        lighting=np.zeros((0, 3), np.float32) if light is None else light.astype(np.float32),
    )


def _posed_shot(
    footage: Footage,
    neutral: NDArray[np.float32],
    frames: list[FrameResult],
    principal_point: tuple[float, float] | None,
) -> PosedShot:
    vertices, soft = [], []
    for frame in frames:
        assert frame.vertices is not None and frame.soft_visibility is not None
        vertices.append(frame.vertices)
        soft.append(frame.soft_visibility)
    landmarks = [frame.landmarks_2d for frame in frames]
    sigmas = [frame.landmark_sigma for frame in frames]
    K = np.stack(
        [intrinsics(frame.focal_px, footage.image_size, principal_point) for frame in frames]
    )
    return PosedShot(
        frame_index=np.array([frame.frame_index for frame in frames], np.int64),
        vertices=np.stack(vertices),
        visibility=np.stack(soft).astype(np.float32) / 255,
        K=K,
        head_pose=np.stack([frame.head_pose for frame in frames]),
        expression=np.stack([frame.expression for frame in frames]),
        found=np.array([frame.found for frame in frames], bool),
        rest_vertices=neutral,
        landmarks_2d=_or_nan(landmarks),
        landmark_sigma=_or_nan(sigmas),
    )


def _or_nan(rows: list[NDArray[np.float32] | None]) -> NDArray[np.float32] | None:
    first = next((row for row in rows if row is not None), None)
    if first is None:
        return None
    missing = np.full_like(first, np.nan)
    stacked = np.stack([missing if row is None else row for row in rows])
    # Under a mask a deviation is infinite: what covers the face there is certain.
    return np.where(np.isinf(stacked), np.float32(COVERED_PX), stacked)
