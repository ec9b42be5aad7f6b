"""A short track in which everything moves, the focal length and all four joints among it."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from backend.assembly import assemble_track
from backend.events import FrameMotion, frame_result, model_result
from backend.track import Track
from shared.conventions import intrinsics
from tests.backend.conftest import KnownShot

N_FRAMES = 4
FIRST_INDEX = 3


@pytest.fixture(scope="session")
def moving_track(known_shot: KnownShot) -> Track:
    head = known_shot.head
    rng = np.random.default_rng(4)
    identity = torch.from_numpy(0.6 * rng.normal(size=head.n_identity)).float()
    size = (320, 240)
    frames = []
    for number in range(N_FRAMES):
        motion = FrameMotion(
            rng.uniform(0.0, 0.7, head.n_expression).astype(np.float32),
            rng.normal(0.0, 0.2, (4, 3)).astype(np.float32),
            np.array([0.02, -0.01, 0.6], np.float32) + 0.01 * number,
            400.0 + 5.0 * number,
        )
        posed = (motion.expression, motion.joint_rotations, motion.translation)
        vertices = head(identity, *map(torch.from_numpy, posed)).numpy()
        frames.append(
            frame_result(
                head,
                identity,
                motion,
                frame_index=FIRST_INDEX + number,
                timestamp=(FIRST_INDEX + number) / 25,
                found=number != 1,
                landmarks_2d=None,
                landmark_sigma=None,
                vertices=vertices,
                visibility=(rng.random(len(vertices)) > 0.3).astype(np.uint8),
            )
        )
    texture = rng.integers(0, 255, (32, 64, 4)).astype(np.uint8)
    K = intrinsics(400.0, size, (150.0, 130.0))
    model = model_result(head, identity, is_final=True)
    return assemble_track(model, frames, texture, K, size, Fraction(25))
