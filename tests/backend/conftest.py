"""A small track of the real head, whose every number is known."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from backend.assembly import assemble_track
from backend.bake.visibility import vertex_visibility
from backend.events import FrameMotion, frame_result, model_result
from backend.head import Head
from backend.track import Track
from shared.conventions import intrinsics
from shared.messages import FrameResult, ModelResult


@dataclass(frozen=True)
class KnownShot:
    """Three frames of the mean head: turning, not found, turning back."""

    head: Head
    model: ModelResult
    frames: list[FrameResult]
    texture: NDArray[np.uint8]
    track: Track


@pytest.fixture(scope="session")
def known_shot() -> KnownShot:
    head = Head.load()
    identity = torch.zeros(head.n_identity)
    size = (320, 240)
    K = intrinsics(400.0, size)
    model = model_result(head, identity, is_final=True)
    frames = []
    for number, turn in enumerate((0.0, 0.3, -0.3)):
        rotations = np.zeros((4, 3), np.float32)
        rotations[0, 1] = turn
        expression = np.zeros(head.n_expression, np.float32)
        expression[number] = 0.5
        motion = FrameMotion(expression, rotations, np.array([0, 0, 0.7], np.float32), 400.0)
        vertices = head(
            identity,
            torch.from_numpy(motion.expression),
            torch.from_numpy(motion.joint_rotations),
            torch.from_numpy(motion.translation),
        ).numpy()
        points = vertices[:20].astype(np.float64) @ K.T
        frames.append(
            frame_result(
                head,
                identity,
                motion,
                frame_index=number,
                timestamp=number / 24,
                found=number != 1,
                landmarks_2d=(points[:, :2] / points[:, 2:]).astype(np.float32),
                landmark_sigma=np.ones(20, np.float32),
                vertices=vertices,
                visibility=vertex_visibility(vertices[None], head.faces, K, size)[0],
            )
        )
    texture = np.full((64, 64, 4), (200, 60, 60, 255), np.uint8)
    track = assemble_track(model, frames, texture, K, size, Fraction(24))
    return KnownShot(head, model, frames, texture, track)
