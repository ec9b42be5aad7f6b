"""Features of a textured head that turns before a known camera."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from backend.fit import ShotFit
from backend.fit.tracks import FeatureSettings, focal_from_skin, spread_rows
from backend.fit.tracks.focal import choose_keys, follow_all
from backend.fit.tracks.pictures import Crop, picture_of
from backend.fit.tracks.posed import PosedShot, pose_shot
from backend.geometry.rasterizer import ShadingSettings, render_shaded
from backend.head import Head
from shared.conventions import intrinsics

SIZE, FOCAL, FRAMES = (420, 420), 560.0, 12
CENTRE = (209.5, 209.5)
SETTINGS = FeatureSettings(keys=3)


@dataclass(frozen=True)
class Clip:
    head: Head
    truth: ShotFit
    images: list[NDArray[np.uint8]]


@pytest.fixture(scope="module")
def clip() -> Clip:
    """A head whose skin is mottled, with a little noise; no expression but a slight smile."""
    head = Head.load()
    phase = np.linspace(0, 2 * np.pi, FRAMES, endpoint=False)
    rotations = np.zeros((FRAMES, 4, 3), np.float32)
    rotations[:, 0, 0], rotations[:, 0, 1] = 0.2 * np.sin(2 * phase), 0.45 * np.sin(phase)
    translation = np.tile(np.array([0.0, 0.0, 0.5], np.float32), (FRAMES, 1))
    expression = np.zeros((FRAMES, head.n_expression), np.float32)
    smile = [head.expression_names.index(f"mouthSmile{side}") for side in ("Left", "Right")]
    expression[:, smile] = 0.3 * np.sin(phase[:, None]) ** 2
    truth = ShotFit(
        np.zeros(head.n_identity, np.float32), expression, rotations, translation, FOCAL,
        np.ones(FRAMES, bool), (),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    grain = sum(
        cv2.resize(rng.normal(0, 1, (n, n)).astype(np.float32), (1024, 1024), interpolation=2)
        for n in (96, 192)
    )
    texture = np.clip(140 + 14 * np.asarray(grain), 0, 255).astype(np.uint8)[..., None].repeat(3, 2)
    posed = pose_shot(head, truth, np.arange(FRAMES), CENTRE)
    images = []
    for vertices in posed.vertices:
        drawn = render_shaded(
            vertices, head.faces, intrinsics(FOCAL, SIZE), SIZE, texture=texture, uv=head.uv,
            face_uv=head.face_uv, settings=ShadingSettings(supersample=2),
        )[..., :3].astype(np.float64)  # fmt: skip
        images.append(np.clip(drawn + rng.normal(0, 1.0, drawn.shape), 0, 255).astype(np.uint8))
    return Clip(head, truth, images)


def wrong(truth: ShotFit, factor: float) -> ShotFit:
    """The truth with a lens too long, and the head as much too far away."""
    return replace(
        truth, focal_px=truth.focal_px * factor,
        translation=truth.translation * np.array([1, 1, factor], np.float32),
    )  # fmt: skip


def test_features_are_found_where_the_surface_is(clip: Clip) -> None:
    """Also with a mesh that is a little off, by which the pictures are warped."""
    off = wrong(clip.truth, 1.2)
    off = replace(off, translation=off.translation + np.array([0.002, -0.001, 0.0], np.float32))
    truth, posed = (pose_shot(clip.head, f, np.arange(FRAMES), CENTRE) for f in (clip.truth, off))
    tracks = follow_all(_pictures(clip, posed), posed, SETTINGS)
    errors = []
    for track in tracks:
        key = int(np.flatnonzero((track.deviation == 0).any(1))[0])
        expected = _on_surface(truth, key, track.position[key])
        errors.append(np.linalg.norm(track.position - expected, axis=-1)[np.arange(FRAMES) != key])
    error = np.concatenate([e.ravel() for e in errors])
    error = error[np.isfinite(error)]
    assert len(error) > 400
    assert np.median(error) < 0.2
    assert np.quantile(error, 0.9) < 0.8


@pytest.mark.parametrize("factor", [0.8, 1.3])
def test_focal_length_of_a_textured_head(clip: Clip, factor: float) -> None:
    fit = wrong(clip.truth, factor)
    solved = focal_from_skin(clip.head, fit, enumerate(clip.images), CENTRE, SETTINGS)
    assert solved is not None and solved.determined
    assert abs(solved.focal_px / FOCAL - 1) < 0.05
    assert abs(np.log(solved.focal_px / FOCAL)) < 3 * solved.sd_percent / 100
    assert solved.tracks > 60 and solved.turn_deg > 40


def test_nothing_is_said_without_texture(clip: Clip) -> None:
    blank = [np.full_like(image, 128) for image in clip.images]
    assert focal_from_skin(clip.head, clip.truth, enumerate(blank), CENTRE, SETTINGS) is None


def test_what_hides_the_skin_is_not_followed(clip: Clip) -> None:
    """A picture that lies over the lower face and does not move with it."""
    rng = np.random.default_rng(1)
    images = [image.copy() for image in clip.images]
    cover = rng.integers(0, 255, (150, 420, 3)).astype(np.uint8)
    for image in images:
        image[240:390] = cv2.GaussianBlur(cover, (0, 0), 2.0)
    solved = focal_from_skin(clip.head, clip.truth, enumerate(images), CENTRE, SETTINGS)
    assert solved is None or abs(np.log(solved.focal_px / FOCAL)) < 3 * solved.sd_percent / 100


def test_crop_maps_there_and_back() -> None:
    crop = Crop(np.array([10.0, 20.0]), 0.4, (100, 100))
    pixels = np.random.default_rng(0).uniform(0, 200, (7, 2))
    np.testing.assert_allclose(crop.to_frame(crop.to_crop(pixels)), pixels, atol=1e-9)


def test_rows_and_keys() -> None:
    found = np.ones(100, bool)
    found[40:60] = False
    rows = spread_rows(found, 9)
    assert len(rows) == 9 and found[rows].all() and rows[0] == 0 and rows[-1] == 99
    turn = np.linspace(-0.5, 0.5, 21)
    rotmat = np.array([[[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]]
                       for a in turn])  # fmt: skip
    assert set(choose_keys(rotmat, 3)) == {0, 10, 20}


def _pictures(clip: Clip, posed: PosedShot) -> list:
    made = [
        picture_of(image, i, posed.pixels[i], posed.vertices[i, :, 2], posed.faces, 640)
        for i, image in enumerate(clip.images)
    ]
    return [picture for picture in made if picture is not None]


def _on_surface(posed: PosedShot, key: int, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(F,P,2) pixels of the skin that is at points (P,2) in frame key; nan beside the mesh."""
    from backend.geometry.rasterizer import rasterize

    where = np.concatenate([posed.pixels[key], posed.vertices[key][:, 2:]], 1)
    index = rasterize(torch.from_numpy(where), posed.faces, SIZE, cull_backfaces=True)[0].numpy()
    x, y = np.round(points).astype(int).T
    corners = posed.faces[index[y, x]]
    a, b, c = (posed.pixels[key][corners[:, i]] for i in range(3))
    share = np.linalg.solve(np.stack([b - a, c - a], -1), (points - a)[..., None])[..., 0]
    weights = np.column_stack([1 - share.sum(1), share])
    out = (posed.pixels[:, corners] * weights[..., None]).sum(2)
    out[:, index[y, x] < 0] = np.nan
    return out
