"""The face's own motion in the picture, and what the temporal terms make of quick ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from backend.evaluate.acting import perform
from backend.fit import FitSettings, ShotFit, fit_shot
from backend.fit.bulk_motion import bulk_motion
from backend.head import Head
from backend.head.landmarks import layout

FRAMES, FOCAL, SIZE = 16, 1100.0, (1280, 720)
BLINK = 8


def test_what_most_landmarks_do_is_the_face_s_motion() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(100, 300, (60, 2))
    seen = np.stack([points * 1.01**f + [4.0 * f, -3.0 * f] for f in range(8)])[:, None]
    sigma, size = np.full((8, 1, 60), 1.0), np.full((8, 1), 200.0)
    moved = seen[1:] - seen[:-1]
    odd = seen.copy()
    odd[3, 0, :12] += 40.0  # a hand passes
    sigma[:, 0, 12] = np.inf
    motion = bulk_motion(odd, sigma, np.ones(7), size)
    assert np.abs(motion - moved).max() < 0.6
    # Nothing goes over a cut, and a tremble is no motion.
    cut = seen.copy()
    cut[4:] += 300.0
    link = np.ones(7)
    link[3] = 0
    motion = bulk_motion(cut, sigma, link, size)
    assert np.abs(motion[3]).max() < 1e-9 and np.abs(motion[2] - moved[2]).max() < 0.6
    rest = points[None, None] + rng.normal(0, 0.3, (8, 1, 60, 2))
    assert np.abs(bulk_motion(rest, sigma, np.ones(7), size)).max() < 0.05


@pytest.fixture(scope="module")
def quick() -> tuple[Head, np.ndarray, ShotFit]:
    """A head that goes to the side and turns, and blinks in a single frame; landmarks that err."""
    head = Head.load()
    to, names = head.template.new_tensor, head.expression_names
    expression = np.zeros((FRAMES, head.n_expression))
    expression[BLINK, [names.index("eyeBlinkLeft"), names.index("eyeBlinkRight")]] = 1.0
    acted = perform(head, FRAMES, 1, 1.0, 0.6)
    step = np.arange(FRAMES) - FRAMES / 2
    base = Rotation.from_rotvec(acted.rotations[0, 0])
    turn = Rotation.from_rotvec(np.radians(1.0) * step[:, None] * [0.0, 1.0, 0.0])
    rotations = np.zeros((FRAMES, 4, 3))
    rotations[:, 0] = (turn * base).as_rotvec()
    translation = acted.translation[:1] + 0.006 * step[:, None] * [1.0, 0.0, 0.0]
    lay = layout("dense320")
    with torch.no_grad():
        vertices = head(
            torch.zeros(head.n_identity), to(expression), to(rotations), to(translation)
        )
        points = head.landmarks(vertices, lay).double().numpy()
    centre = (np.array(SIZE) - 1) / 2
    true = points[..., :2] / points[..., 2:] * FOCAL + centre
    rng = np.random.default_rng(1)
    seen = true + rng.normal(0, 1.0, true.shape[1:]) + rng.normal(0, 0.3, true.shape)
    fitted = fit_shot(
        head, "dense320", seen, np.full(seen.shape[:2], 1.3), np.ones(FRAMES, bool), SIZE,
        FitSettings(correction_mm=0.0, focal_px=FOCAL),
    )  # fmt: skip
    with torch.no_grad():
        vertices = head(
            to(fitted.identity), to(fitted.expression), to(fitted.rotations),
            to(fitted.translation),
        )  # fmt: skip
        points = head.landmarks(vertices, lay).double().numpy()
    return head, points[..., :2] / points[..., 2:] * FOCAL + centre - true, fitted


def test_the_first_and_the_last_frame_are_not_held_back(
    quick: tuple[Head, np.ndarray, ShotFit],
) -> None:
    off = np.linalg.norm(quick[1].mean(1), axis=-1)
    assert off[[0, -1]].max() < 0.4, "the head goes on by 12 pixels a frame"


def test_a_blink_of_one_frame_is_kept(quick: tuple[Head, np.ndarray, ShotFit]) -> None:
    head, _, fitted = quick
    names = head.expression_names
    lids = fitted.expression[:, [names.index("eyeBlinkLeft"), names.index("eyeBlinkRight")]]
    assert lids[BLINK].min() > 0.75
    assert lids[[BLINK - 1, BLINK + 1]].max() < 0.2
