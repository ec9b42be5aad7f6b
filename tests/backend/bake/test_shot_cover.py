"""A thing that passes before a known surface is found, and nothing else is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from backend.bake.cover import CoverSettings
from backend.bake.shot_cover import ShotCover, SigmaPrior
from backend.bake.visibility import soft_vertex_visibility
from backend.geometry.rasterizer import ShadingSettings, render_shaded, to_pixels

SIZE = (320, 256)
K = torch.tensor([[360.0, 0, 159.5], [0, 360, 127.5], [0, 0, 1]])


def _picture(bust, vertices: torch.Tensor, light: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    skin = np.full((256, 256, 3), (194, 145, 122), np.float32)
    noise = rng.normal(size=(24, 24, 1)).astype(np.float32)
    skin += 12 * cv2.resize(noise, (256, 256))[..., None]
    for x, y in rng.integers(0, 256, (60, 2)):
        cv2.circle(skin, (int(x), int(y)), 2, (110, 70, 60), -1, cv2.LINE_AA)
    settings = ShadingSettings(ambient=0.6, light=(-0.4, -0.4, -0.8), background=(40, 60, 40, 255))
    image = render_shaded(
        vertices, bust.faces, K, SIZE, texture=skin.clip(0, 255).astype(np.uint8),
        uv=bust.uv, face_uv=bust.face_uv, settings=settings,
    )[..., :3]  # fmt: skip
    return (image * light + rng.normal(0, 1.5, image.shape)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("color", "least"), [((60, 90, 180), 0.8), ((205, 150, 125), 0.7)], ids=["blue", "skin"]
)
def test_a_passing_bar_is_found(bust, color: tuple[int, int, int], least: float) -> None:
    cover = ShotCover(bust, CoverSettings(key_frames=12))
    frames, truths, poses = [], [], []
    for number in range(12):
        vertices = bust.posed(0.05 * (number - 6), 0.0, 0.45)
        # The exposure drifts: light is no cover.
        image = _picture(bust, vertices, 1.0 - 0.03 * number)
        mask = np.zeros(SIZE[::-1], np.uint8)
        if 4 <= number <= 6:
            x = 100 + 25 * (number - 4)
            cv2.line(mask, (x, 60), (x + 30, 230), 255, 24)
            shade = (np.linspace(0.75, 1.1, SIZE[0])[None, :, None] * color).clip(0, 255)
            # A hand is round: its rims are darker.
            rim = cv2.GaussianBlur(mask, (0, 0), 4)[..., None] / 255.0
            image = np.where(mask[..., None] > 0, shade * (0.55 + 0.45 * rim), image)
            image = image.astype(np.uint8)
        visibility = soft_vertex_visibility(vertices[None], bust.faces, K, SIZE)[0]
        cover.learn(image, vertices, K, torch.from_numpy(visibility))
        frames.append(image)
        poses.append((vertices, visibility >= 0.5))
        pixels = to_pixels(vertices, K)[:, :2].round().long()
        truths.append(mask[pixels[:, 1].clamp(0, 255), pixels[:, 0].clamp(0, 319)] > 0)
    hits = said = real = 0
    for image, (vertices, seen), truth in zip(frames, poses, truths, strict=True):
        covered, _ = cover.judge(image, vertices, K)
        found = (covered.numpy() >= 0.5) & seen
        hits += (found & truth).sum()
        said += found.sum()
        real += (truth & seen).sum()
    assert real > 200
    assert 2 * hits / (said + real) >= least, (hits / max(said, 1), hits / real)


def test_a_head_outside_the_picture_is_not_covered(bust) -> None:
    cover = ShotCover(bust)
    covered, gain = cover.judge(np.zeros((64, 64, 3), np.uint8), bust.posed(0, 0, 0.45) * 0 - 1, K)
    assert not covered.any() and not gain.any()


def test_a_landmark_that_is_less_sure_speaks_for_a_cover(bust) -> None:
    points = bust.vertices[::40]
    sigma = np.full((10, len(points)), 1.5)
    sigma[4] *= 3
    sigma[5, 3] *= 2
    prior = SigmaPrior(sigma, np.full(10, 200.0), points, bust.vertices)
    assert not prior(0).any()
    # All of them at once is a blurred frame, not a cover.
    assert not prior(4).any()
    assert float(prior(5)[120]) > 0.5 and float(prior(5)[400:].max()) < 0.2
