"""Baking renders of a known skin gives the skin back, and says what it has not seen."""

from __future__ import annotations

import pickle

import cv2
import numpy as np
import pytest
import torch

from backend.bake.openings import Openings
from backend.bake.texture import (
    FILLED,
    MEASURED,
    MIRRORED,
    OUTSIDE,
    TextureBaker,
)
from backend.bake.texture_settings import TextureSettings
from backend.geometry.rasterizer import ShadingSettings, render_shaded

SIZE = (800, 640)
K = np.array([[900, 0, 399.5], [0, 900, 319.5], [0, 0, 1]], np.float32)
TEXTURE = 512


def make_skin(size: int, symmetric: bool = False) -> np.ndarray:
    """Blotches of three sizes and dark freckles on a skin tone, (size, size, 3) u8."""
    rng = np.random.default_rng(0)
    skin = np.full((size, size, 3), (0.76, 0.57, 0.48), np.float32)
    for cells, amplitude in ((8, 0.05), (32, 0.03), (96, 0.02)):
        noise = rng.normal(size=(cells, cells, 3)).astype(np.float32)
        skin += amplitude * cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)
    for x, y in rng.integers(0, size, (300, 2)):
        cv2.circle(skin, (int(x), int(y)), 3, (0.4, 0.25, 0.2), -1, cv2.LINE_AA)
    skin = cv2.GaussianBlur(skin, (0, 0), 1.0)
    if symmetric:
        skin = 0.5 * (skin + skin[:, ::-1])
    return (np.clip(skin, 0, 1) * 255).round().astype(np.uint8)


def render(bust, vertices: torch.Tensor, skin: np.ndarray) -> np.ndarray:
    settings = ShadingSettings(ambient=1.0, supersample=2, background=(30, 200, 60, 255))
    image = render_shaded(
        vertices,
        bust.faces,
        K,
        SIZE,
        texture=skin,
        uv=bust.uv,
        face_uv=bust.face_uv,
        settings=settings,
    )
    return np.ascontiguousarray(image[..., :3])


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b.astype(float)) ** 2))


def on_charts(baker: TextureBaker) -> np.ndarray:
    inside = np.zeros(baker.texels.size**2, bool)
    inside[baker.texels.position.numpy()] = True
    return inside.reshape(baker.texels.size, -1)


def bake(bust, skin, poses, **settings) -> TextureBaker:
    baker = TextureBaker(bust, TEXTURE, TextureSettings(**settings))
    for yaw, pitch in poses:
        vertices = bust.posed(yaw, pitch, 0.45)
        baker.add(render(bust, vertices, skin), vertices, K)
    return baker


@pytest.fixture(scope="module")
def skin() -> np.ndarray:
    return make_skin(TEXTURE)


def test_round_trip_of_a_known_skin(bust, skin) -> None:
    poses = [(0.9 * x, 0.3 * y) for x in (-1, 0, 1) for y in (-1, 1)]
    baker = bake(bust, skin, poses)
    result = baker.result()
    assert result.shape == (TEXTURE, TEXTURE, 4) and result.dtype == np.uint8
    inside = on_charts(baker)
    measured = inside & (result[..., 3] == MEASURED)
    assert baker.measured_fraction == pytest.approx(measured.sum() / inside.sum(), abs=1e-6)
    assert 0.4 < baker.measured_fraction < 0.8
    assert psnr(result[measured][:, :3], skin[measured]) >= 38
    # No green of the background anywhere, measured or completed.
    assert (result[..., 1].astype(int) - result[..., 0]).max() < 40


def test_alpha_tells_measured_mirrored_and_filled(bust) -> None:
    skin = make_skin(TEXTURE, symmetric=True)
    baker = bake(bust, skin, [(0.8, 0.0), (1.1, 0.2), (0.6, -0.2)])
    result, inside = baker.result(), on_charts(baker)
    assert set(np.unique(result[inside][:, 3])) == {MEASURED, MIRRORED, FILLED}
    mirrored = inside & (result[..., 3] == MIRRORED)
    assert mirrored.sum() > 0.05 * inside.sum()
    # The skin is the same on both sides, so the mirrored side must be nearly as good.
    assert psnr(result[mirrored][:, :3], skin[mirrored]) >= 30
    flipped = result[:, ::-1, 3]
    assert (flipped[mirrored] == MEASURED).mean() > 0.98
    assert result[0, 0, 3] == OUTSIDE


def test_colour_goes_on_beyond_the_charts(bust) -> None:
    flat = np.full((TEXTURE, TEXTURE, 3), (200, 150, 130), np.uint8)
    result = bake(bust, flat, [(0.0, 0.0)]).result()
    assert np.abs(result[..., :3].astype(int) - flat).max() <= 2
    rim = np.flatnonzero(result[TEXTURE // 2, :, 3])
    chart_start = 0.04 * TEXTURE
    assert rim[0] == pytest.approx(chart_start - TextureSettings().padding, abs=1.5)


def test_a_passing_highlight_and_a_blocked_frame_do_not_show(bust, skin) -> None:
    baker = TextureBaker(bust, TEXTURE)
    plain = TextureBaker(bust, TEXTURE, TextureSettings(samples=1))
    for index in range(8):
        vertices = bust.posed(0.08 * (index - 4), 0.0, 0.45)
        image = render(bust, vertices, skin)
        cv2.circle(image, (320 + 20 * index, 200), 18, (255, 255, 255), -1)
        if index == 3:
            image[300:] = (20, 20, 120)
        baker.add(image, vertices, K)
        plain.add(image, vertices, K)
    result, single = baker.result(), plain.result()
    measured = on_charts(baker) & (result[..., 3] == MEASURED)
    robust = psnr(result[measured][:, :3], skin[measured])
    assert robust >= 36
    assert robust > psnr(single[measured][:, :3], skin[measured]) + 6


def test_memory_does_not_grow_with_frames(bust, skin) -> None:
    few = bake(bust, skin, [(0.1 * i, 0.0) for i in range(3)], samples=2)
    many = bake(bust, skin, [(0.1 * i, 0.0) for i in range(3)] * 4, samples=2)
    assert (few.n_frames, many.n_frames) == (3, 12)
    assert abs(len(pickle.dumps(many)) - len(pickle.dumps(few))) < 64


def test_without_frames_every_part_has_its_own_colour(bust) -> None:
    bust.regions["tongue"] = torch.arange(200)
    try:
        baker = TextureBaker(bust, 256)
        vertices = bust.posed(0.0, 0.0, 0.45)
        image = np.zeros((*SIZE[::-1], 3), np.uint8)
        baker.add(image, vertices * torch.nan, K)
        baker.add(image, vertices + torch.tensor([3.0, 0, 0]), K)
        baker.add(image, vertices - torch.tensor([0, 0, 2.0]), K)
        baker.add(image, vertices, K, weight=0.0)
        assert baker.n_frames == 0 and baker.measured_fraction == 0.0
        result = baker.result()
    finally:
        del bust.regions["tongue"]
    inside = on_charts(baker)
    assert (result[inside][:, 3] == FILLED).all()
    assert len(np.unique(result[inside][:, :3], axis=0)) == 2


def test_a_large_image_is_averaged_over_the_texel(bust) -> None:
    """A one-pixel checkerboard, far finer than a texel, must become grey in linear light."""
    baker = TextureBaker(bust, 64)
    image = np.indices((SIZE[1], SIZE[0])).sum(0) % 2 * 255
    image = np.repeat(image[..., None], 3, 2).astype(np.uint8)
    baker.add(image, bust.posed(0.0, 0.0, 0.3), K)
    result = baker.result()
    frontal = result[result[..., 3] == MEASURED][:, 0].astype(int)
    # Half of the light is 188 in sRGB; the mean of the encoded values would be 128.
    assert np.abs(np.median(frontal) - 188) <= 2
    assert np.percentile(np.abs(frontal - 188), 80) < 30


def test_weights_prefer_the_trusted_frame(bust) -> None:
    vertices = bust.posed(0.0, 0.0, 0.45)
    baker = TextureBaker(bust, 128)
    for level, weight in ((100, 1.0), (108, 20.0), (92, 1.0)):
        baker.add(np.full((*SIZE[::-1], 3), level, np.uint8), vertices, K, weight)
    result = baker.result()
    values = result[result[..., 3] == MEASURED][:, 0]
    assert np.median(values) >= 106


def test_no_skin_is_taken_from_within_lips(bust) -> None:
    """Where the mesh of the lips lies over open ones in the picture, teeth are not their skin."""
    skin = make_skin(TEXTURE)
    vertices = bust.posed(0.0, 0.0, 0.45)
    image = render(bust, vertices, skin)
    middle = torch.tensor((0.5 * SIZE[0], 0.5 * SIZE[1]))
    lips = middle + torch.tensor([[-40.0, 0.0], [0.0, -40.0], [40.0, 0.0], [0.0, 40.0]])
    cv2.fillConvexPoly(image, lips.int().numpy(), (250, 250, 250))
    seen = []
    for openings in (None, Openings({"mouth": lips})):
        baker = TextureBaker(bust, TEXTURE)
        baker.add(image, vertices, K, openings=openings)
        texture = baker.result()
        seen.append(texture[texture[..., 3] == MEASURED][:, :3].min(-1) > 245)
    white_before, white = (int(found.sum()) for found in seen)
    assert white_before > 500
    # What is left is the strip along the contour, on which the lips themselves lie.
    assert white < 0.6 * white_before
    assert len(seen[1]) < len(seen[0]) - 0.4 * white_before
