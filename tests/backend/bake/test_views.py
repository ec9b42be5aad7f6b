"""What a further camera saw is baked at its own moments and from its own place."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from backend.bake.shot import PosedShot
from backend.bake_views import shot_of_camera

K = np.array([[400.0, 0, 159.5], [0, 400.0, 127.5], [0, 0, 1]])
RATE = Fraction(25)
SHIFT = np.array((0.002, 0.0, 0.0))
"""How far the head moves in a frame, metres."""


def _first(bust, n_frames: int = 6) -> PosedShot:
    rest = bust.posed(0.0, 0.0, 0.5).numpy()
    vertices = np.stack([rest + number * SHIFT for number in range(n_frames)]).astype(np.float32)
    return PosedShot(
        frame_index=np.arange(n_frames),
        vertices=vertices,
        visibility=np.ones(vertices.shape[:2], np.float32),
        K=np.repeat(K[None], n_frames, 0),
        head_pose=np.repeat(np.eye(4, dtype=np.float32)[None], n_frames, 0),
        expression=np.zeros((n_frames, 2), np.float32),
        found=np.ones(n_frames, bool),
        rest_vertices=bust.vertices.numpy(),
    )


def _camera(n_frames: int = 6, offset: float = 0.0) -> SimpleNamespace:
    # It looks from behind: what the first sees, it does not.
    return SimpleNamespace(
        rotation=np.diag((-1.0, 1.0, -1.0)),
        translation=np.array((0.0, 0.0, 1.0)),
        offset=offset,
        K=K,
        image_size=(320, 256),
        landmarks_2d=np.zeros((n_frames, 320, 2), np.float32),
        landmark_sigma=np.ones((n_frames, 320), np.float32),
    )


@pytest.fixture
def head(bust) -> SimpleNamespace:
    none = torch.zeros(0, dtype=torch.long)
    regions = {**bust.regions, "lashes": none}
    return SimpleNamespace(faces=bust.faces, regions=regions, n_vertices=len(bust.vertices))


def test_poses_are_taken_into_the_camera_at_its_own_moments(bust, head) -> None:
    first, camera = _first(bust), _camera(offset=0.5)
    footage = SimpleNamespace(frame_rate=RATE)
    shot = shot_of_camera(first, camera, footage, RATE, head)
    assert shot is not None
    # Its frame n shows the moment n - 0.5 of the first, which has 0 to 5.
    np.testing.assert_array_equal(shot.frame_index, np.arange(1, 6))
    moments = shot.frame_index - 0.5
    rest = bust.posed(0.0, 0.0, 0.5).numpy()
    expected = (rest + moments[:, None, None] * SHIFT) @ camera.rotation.T + camera.translation
    np.testing.assert_allclose(shot.vertices, expected, atol=1e-6)
    facing = rest[:, 2] < 0.45
    assert shot.visibility[:, facing].max() == 0
    assert shot.visibility[:, rest[:, 2] > 0.55].mean() > 0.9


def test_twice_the_frames_and_a_moment_without_the_face(bust, head) -> None:
    first, camera = _first(bust), _camera()
    camera.landmarks_2d[3] = np.nan
    footage = SimpleNamespace(frame_rate=2 * RATE)
    shot = shot_of_camera(first, camera, footage, RATE, head)
    assert shot is not None and shot.n_frames == 11
    # Frame 6 is that moment, 5 and 7 lie between it and others.
    np.testing.assert_array_equal(np.flatnonzero(~shot.found), (5, 6, 7))
    camera.landmarks_2d[:] = np.nan
    assert shot_of_camera(first, camera, footage, RATE, head) is None
