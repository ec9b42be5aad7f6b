"""Training windows carry their labels with them."""

from __future__ import annotations

import numpy as np
import pytest

from backend.detect.windows import Window, roi
from backend.head.landmarks import layout
from backend.train.augment import AugmentSettings, WindowSampler, evenly_spaced
from backend.train.procedural import PhotometricSettings
from backend.train.shards import encode_points

PLAIN = AugmentSettings(
    negative=0.0,
    occluder=0.0,
    cutout=0.0,
    photometric=PhotometricSettings(**{
        name: 0.0
        for name in ("tone", "temperature", "saturation", "grey", "light", "blur", "motion",
                     "low_resolution", "noise", "jpeg")
    }),
)  # fmt: skip


def _sample(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A face whose left half of dense320 is where the mirror map says, and a bright nose tip."""
    mirror = layout("dense320").mirror
    points = rng.uniform(45, 115, (703, 2))
    points[:320][mirror] = [159, 0] - points[:320] * [1, -1]
    middle = np.flatnonzero(mirror == np.arange(320))
    points[middle, 0] = 79.5
    points[27], points[8] = [79.5, 60], [79.5, 112]
    image = np.zeros((160, 160, 3), np.uint8)
    y, x = np.mgrid[0:160, 0:160]
    tip = points[30]
    image[..., 0] = 255 * np.exp(-((x - tip[0]) ** 2 + (y - tip[1]) ** 2) / 18)
    contour = np.stack([np.linspace(48, 111, 17), np.full(17, 100.0)], 1)
    return {
        "images": image,
        "landmarks": encode_points(points),
        "contour": encode_points(contour),
        "valid": np.ones(703, np.uint8),
        "weight": np.float32(1),
        "has_face": np.uint8(1),
    }


@pytest.mark.parametrize("canvas", [1.0, 1.5])
def test_labels_follow_the_picture(canvas: float) -> None:
    """The blob at the nose tip stays under landmark 30, mirrored or not."""
    rng = np.random.default_rng(0)
    sample = _sample(rng)
    sampler = WindowSampler(PLAIN, rng)
    for _ in range(12):
        cut = sampler.cut(sample, 128, canvas)
        tip = cut.points[30]
        near = Window(float(tip[0]), float(tip[1]), 1.0).x, float(tip[1])
        if not (10 < near[0] < 117 and 10 < near[1] < 117):
            continue
        x0, y0 = int(tip[0]) - 7, int(tip[1]) - 7
        patch = cut.image[y0 : y0 + 16, x0 : x0 + 16].astype(float)
        red = np.clip(patch[..., 0] - patch[..., 1], 0, None)
        y, x = np.mgrid[0:16, 0:16]
        centroid = np.array([(red * x).sum(), (red * y).sum()]) / red.sum() + [x0, y0]
        np.testing.assert_allclose(centroid, tip, atol=0.6)


def test_the_face_of_a_cut_is_its_landmarks_region() -> None:
    sampler = WindowSampler(PLAIN, np.random.default_rng(1))
    cut = sampler.cut(_sample(sampler.rng), 128)
    window = roi(cut.points)
    np.testing.assert_allclose(cut.face, (window.x, window.y, window.side), atol=0.05)


def test_mirroring_keeps_left_and_right_apart() -> None:
    """Iris-side points keep their order along the face: 36 is always left of 45 in the picture."""
    rng = np.random.default_rng(2)
    sample = _sample(rng)
    points = np.array(sample["landmarks"], np.float64) / 64
    points[36], points[45] = [60, 70], [99, 70]
    sample["landmarks"] = encode_points(points)
    settings = AugmentSettings(wide=0.0, negative=0.0)
    sampler = WindowSampler(settings, rng)
    for _ in range(10):
        cut = sampler.cut(sample, 96)
        assert cut.points[36, 0] < cut.points[45, 0]
        assert cut.points[320, 0] < cut.points[336, 0]


def test_background_has_no_weight() -> None:
    sampler = WindowSampler(AugmentSettings(), np.random.default_rng(3))
    cut = sampler.cut({**_sample(sampler.rng), "has_face": np.uint8(0)}, 128)
    assert not cut.has_face and cut.weight == 0


def test_silhouettes_get_even_steps_and_keep_ears_and_chin() -> None:
    angle = np.pi * (np.linspace(0, 1, 17) ** 1.0)
    angle[1:8] += 0.1 * np.sin(angle[1:8] * 2)
    jaw = np.stack([-60 * np.cos(angle), 80 * np.sin(angle)], 1)
    even = evenly_spaced(jaw)
    np.testing.assert_allclose(even[[0, 8, 16]], jaw[[0, 8, 16]], atol=1e-4)
    steps = np.linalg.norm(np.diff(even, axis=0), axis=1)
    assert np.ptp(steps[:8]) < 0.05 * steps[:8].mean()
    assert np.ptp(np.linalg.norm(np.diff(jaw, axis=0), axis=1)[:8]) > 0.2 * steps[:8].mean()
