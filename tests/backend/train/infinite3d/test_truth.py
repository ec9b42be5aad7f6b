"""The truth of a window: the same points by the stored camera, by the cut, and by the network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from backend.detect.infinite3d.camera import project, transform
from backend.head import Head
from backend.head.landmarks import layout
from backend.train.augment import AugmentSettings, WindowSampler
from backend.train.infinite3d.truth import TruthMaker
from backend.train.shards import encode_points

SIZE = 160


@pytest.fixture(scope="module")
def head() -> Head:
    return Head.load()


def sample(head: Head, rng: np.random.Generator, offset: float) -> dict[str, np.ndarray]:
    """A stored sample of a random face without its picture; offset: of the optical axis, px."""
    identity = torch.from_numpy(rng.normal(0, 0.5, 100)).float()
    expression = torch.from_numpy(rng.uniform(0, 0.5, 52)).float()
    rotations = torch.from_numpy(rng.normal(0, 0.2, (4, 3))).float()
    distance, focal_px = 0.8, 560.0
    translation = torch.tensor([offset / focal_px * distance, 0.01, distance])
    vertices = head(identity, expression, rotations, translation)
    camera = np.zeros(20, np.float32)
    camera[:3] = focal_px, (SIZE - 1) / 2 - offset, (SIZE - 1) / 2
    camera[3:15], camera[15:18] = rotations.numpy().ravel(), translation.numpy()
    points = head.landmarks(vertices, layout("dense703")).numpy()
    pixels = focal_px * points[:, :2] / points[:, 2:] + camera[1:3]
    return {
        "images": rng.integers(0, 255, (SIZE, SIZE, 3)).astype(np.uint8),
        "landmarks": encode_points(pixels),
        "contour": encode_points(pixels[:17]),
        "valid": np.ones(703, np.uint8),
        "weight": np.float32(1),
        "has_face": np.uint8(1),
        "kind": np.uint8(0),
        "camera": camera,
        "coefficients": torch.cat([identity, expression]).numpy(),
    }


@pytest.mark.parametrize("offset", [0.0, 120.0])
def test_points_agree_with_the_labels_and_the_camera(head: Head, offset: float) -> None:
    rng = np.random.default_rng(3)
    sampler = WindowSampler(AugmentSettings(negative=0.0), rng, landmarks=703)
    maker = TruthMaker(head)
    samples = [sample(head, rng, offset) for _ in range(8)]
    cuts = [sampler.cut(s, 128) for s in samples]
    assert {cut.mirrored for cut in cuts} == {True, False}
    truth = maker.make(
        np.stack([s["camera"] for s in samples]),
        np.stack([s["coefficients"] for s in samples]),
        [True] * 8,
        cuts,
        [SIZE] * len(cuts),
    )
    lay = layout("dense703")
    labels = torch.from_numpy(np.stack([(2 * cut.points[:703] + 1) / 128 - 1 for cut in cuts]))
    seen = head.landmarks(truth.points, lay)
    # Labels are stored in steps of 1/64 pixel.
    assert (seen - labels).abs().max() < 2e-3
    again = project(transform(truth.canonical, truth.rotation, truth.translation), truth.focal)
    difference = (again - truth.points).norm(dim=-1)
    # A window off the axis is a homography of the network's camera, not a crop of it.
    assert difference.mean() < (3e-3 if offset == 0 else 0.01), float(difference.mean())
    assert difference.max() < (0.05 if offset == 0 else 0.08), float(difference.max())
    assert (truth.canonical.mean((0, 1)) - head.template.mean(0)).norm() < 0.02


def test_scanned_heads_are_their_coefficients_and_an_offset(head: Head) -> None:
    rng = np.random.default_rng(5)
    cuts = [
        WindowSampler(AugmentSettings(negative=0.0), rng, landmarks=703).cut(
            row := sample(head, rng, 0.0), 128
        )
    ]
    offset = np.zeros((1, head.n_vertices, 3), np.float32)
    offset[0, :, 1] = 0.004
    maker, fields = TruthMaker(head), (row["camera"][None], row["coefficients"][None])
    plain = maker.make(*fields, [True], cuts, [SIZE])
    moved = maker.make(*fields, [True], cuts, [SIZE], offset)
    skull = head.skin_weights[:, 1] > 0.99
    shift = (moved.canonical - plain.canonical)[0, skull]
    assert torch.allclose(shift, torch.tensor([0.0, 0.004, 0.0]).expand_as(shift), atol=1e-4)
    assert torch.equal(moved.rotation, plain.rotation)


def test_mirrored_truth_is_a_face_of_the_same_handedness(head: Head) -> None:
    rng = np.random.default_rng(5)
    sampler = WindowSampler(AugmentSettings(negative=0.0), rng, landmarks=703)
    stored = sample(head, rng, 30.0)
    cuts = [sampler.cut(stored, 128) for _ in range(12)]
    truth = TruthMaker(head).make(
        np.repeat(stored["camera"][None], 12, 0),
        np.repeat(stored["coefficients"][None], 12, 0),
        [True] * 12,
        cuts,
        [SIZE] * len(cuts),
    )
    assert torch.allclose(torch.linalg.det(truth.rotation), torch.ones(12), atol=1e-5)
    plain = [i for i, cut in enumerate(cuts) if not cut.mirrored]
    turned = [i for i, cut in enumerate(cuts) if cut.mirrored]
    flip = truth.canonical.new_tensor([-1.0, 1.0, 1.0])
    twin = truth.canonical[plain[0]][head.mirror] * flip
    assert torch.allclose(twin, truth.canonical[turned[0]], atol=1e-6)
