"""iBUG's points as people mark them."""

from __future__ import annotations

import numpy as np
import torch

from backend.detect.markup import as_marked
from backend.head import Head
from backend.head.landmarks import layout
from backend.train.markup import MARKED, affine_mix


def template_points() -> np.ndarray:
    head = Head.load()
    return head.landmarks(head.template, layout("dense320")).numpy()


def test_marked_points_lie_on_the_face_and_mirror() -> None:
    dense = template_points()
    points = np.stack(
        [as_marked(dense[:, axes], np.ones(320, np.float32))[0] for axes in ((0, 1), (2, 1))], -1
    )
    place = np.stack([points[:, 0, 0], points[:, 1, 0], points[:, 0, 1]], axis=-1)
    mirror = layout("ibug68").mirror
    np.testing.assert_allclose(place[mirror] * (-1, 1, 1), place, atol=1.5e-3)
    moved = np.linalg.norm(place - dense[:68], axis=1)
    others = np.setdiff1d(np.arange(68), MARKED)
    assert moved[others].max() == 0
    assert 0.001 < moved[list(MARKED)].max() < 0.009


def test_marked_points_move_with_the_face() -> None:
    """An affine motion of all landmarks moves the marked ones alike, whatever the weights."""
    dense = template_points()[:, :2] * 900
    turn = np.array([[0.9, -0.3], [0.2, 1.1]], np.float32)
    before, sigma = as_marked(dense, np.full(320, 2.0, np.float32))
    after, _ = as_marked(
        (dense @ turn.T + [40, 60]).astype(np.float32), np.full(320, 2, np.float32)
    )
    np.testing.assert_allclose(after, before @ turn.T + [40, 60], atol=2e-3)
    np.testing.assert_allclose(sigma, 2.0, rtol=1e-5)


def test_an_affine_mix_reaches_its_target() -> None:
    anchors = torch.randn(8, 3, generator=torch.Generator().manual_seed(1)).numpy() * 0.01
    target = anchors[:3].mean(0)
    weights = affine_mix(target, anchors)
    assert abs(weights.sum() - 1) < 1e-9
    assert np.linalg.norm(weights @ anchors - target) < 1e-3
