"""Frames that lie beside each other are found where they are."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from backend.bake.align import RegisterSettings, find_shift, find_translation
from backend.bake.register import Registration
from backend.geometry.rasterizer import ShadingSettings, render_shaded

SIZE = (320, 288)
K = torch.tensor([[420.0, 0, 159.5], [0, 420, 143.5], [0, 0, 1]])


def _pattern(size: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    plane = sum(
        cv2.resize(rng.normal(size=(n, n)).astype(np.float32), (size, size), None, 0, 0, 2)
        for n in (size // 16, size // 6)
    )
    return (0.05 * plane).astype(np.float32)


def test_a_smooth_shift_is_found() -> None:
    usual = _pattern(160)
    y, x = np.mgrid[0:160, 0:160].astype(np.float32)
    true = np.stack((2.2 * np.sin(x / 50), 1.5 * np.cos(y / 60)), -1)
    # The picture shows at x + shift(x) what is usual at x.
    there_x, there_y = x.copy(), y.copy()
    for _ in range(8):
        moved = [cv2.remap(true[..., k], there_x, there_y, 1, borderMode=1) for k in (0, 1)]
        there_x, there_y = x - moved[0], y - moved[1]
    detail = cv2.remap(usual, there_x, there_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    weight = np.ones_like(usual)
    start = np.zeros((160, 160, 2), np.float32)
    found = find_shift(usual, detail, weight, start, 130.0, RegisterSettings())
    inner = (slice(20, -20), slice(20, -20))
    assert np.abs(true[inner]).mean() > 1
    assert np.abs(found[inner] - true[inner]).mean() < 0.35
    # Without anything to see there is no shift.
    assert (
        np.abs(find_shift(usual * 0, usual * 0, weight, start, 130.0, RegisterSettings())).max()
        == 0
    )


def test_a_patch_moves_as_one() -> None:
    usual = _pattern(96, 1)
    turn = np.array([[1, 0, 2.4], [0, 1, -1.7]], np.float32)
    detail = cv2.warpAffine(usual, turn, (96, 96), flags=cv2.INTER_CUBIC, borderMode=1)
    weight = np.zeros_like(usual)
    weight[36:60, 30:66] = 1
    found = find_translation(usual, detail, weight, np.zeros(2, np.float32), 5.0)
    np.testing.assert_allclose(found, (2.4, -1.7), atol=0.15)
    # A patch that is not there has no say.
    start = np.array([1.0, 2.0], np.float32)
    np.testing.assert_array_equal(find_translation(usual, detail, weight * 0, start, 5.0), start)


def test_misplaced_frames_are_laid_over_each_other(bust) -> None:
    rng = np.random.default_rng(4)
    skin = np.full((512, 512, 3), (190, 145, 122), np.float32)
    skin += 60 * cv2.resize(rng.normal(size=(90, 90, 1)).astype(np.float32), (512, 512))[..., None]
    skin = skin.clip(0, 255).astype(np.uint8)
    registration = Registration(bust)
    off = {}
    for number in range(7):
        vertices = bust.posed(0.08 * (number - 3), 0.0, 0.45)
        image = render_shaded(
            vertices, bust.faces, K, SIZE, texture=skin, uv=bust.uv, face_uv=bust.face_uv,
            settings=ShadingSettings(ambient=1.0),
        )[..., :3]  # fmt: skip
        off[number] = rng.uniform(-2.0, 2.0, 2)
        # The mesh is believed to be a little beside its place.
        believed = vertices - torch.tensor([*(off[number] / 420 * 0.45), 0.0]).float()
        seen = torch.ones(len(vertices))
        registration.look(number, np.ascontiguousarray(image), believed, K, seen)
    shifts = registration.solve()
    assert sorted(shifts) == list(off)
    front = torch.tensor([[0.0, -0.02, 0.37], [0.02, 0.03, 0.37], [-0.02, 0.03, 0.37]])
    found = np.stack([shifts[number].at(front).numpy().mean(0) for number in off])
    true = np.stack(list(off.values()))
    # Where all of them lie together is not known: what counts is how they lie to each other.
    apart = (found - found.mean(0)) - (true - true.mean(0))
    assert np.abs(true - true.mean(0)).mean() > 0.7
    assert np.abs(apart).mean() < 0.35


def test_one_frame_has_no_shift(bust) -> None:
    registration = Registration(bust)
    image = np.zeros((*SIZE[::-1], 3), np.uint8)
    registration.look(0, image, bust.posed(0, 0, 0.45), K, torch.ones(len(bust.vertices)))
    assert registration.solve() == {}
