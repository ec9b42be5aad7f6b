"""Portraits seen from elsewhere: a rendered portrait with known truth, and the whole factory."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from backend.geometry.rasterizer import ShadingSettings, render_shaded, to_pixels
from backend.head import Head
from backend.train.batches import SamplePool
from backend.train.portraits_crops import CROP, CropMaker
from backend.train.portraits_fit import PortraitFits, SurfacePoints
from backend.train.portraits_points import N_MEDIAPIPE, Correspondence
from backend.train.portraits_warp import PortraitWarper, WarpSettings
from backend.train.shards import KIND_WARP, ShardWriter
from backend.train.warp_source import GRID, TEXTURE, SourceMaker, WarpSource, moved_grid

SIZE = 400


def correspondence(head: Head) -> Correspondence:
    """Every FaceMesh point on a vertex of the face."""
    chosen = head.regions["face"][:: len(head.regions["face"]) // N_MEDIAPIPE][:N_MEDIAPIPE]
    corners = torch.from_numpy(np.repeat(chosen[:, None], 3, axis=1).astype(np.int64))
    weights = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64).expand(N_MEDIAPIPE, 3)
    points = SurfacePoints(corners, weights, torch.ones(N_MEDIAPIPE))
    return Correspondence(np.arange(N_MEDIAPIPE), points)


class Portrait:
    """One shaded head as a portrait, and its source."""

    def __init__(self) -> None:
        self.head = Head.load()
        self.fits = PortraitFits(
            identity=torch.zeros(1, 100), expression=torch.zeros(1, 52),
            rotation=torch.eye(3)[None], gaze=torch.zeros(1, 2, 2),
            translation=torch.tensor([[0.0, -0.03, 1.6]]), focal_px=torch.tensor([1700.0]),
            cost=torch.zeros(1),
        )  # fmt: skip
        self.vertices = self.fits.vertices(self.head)[0]
        K = self.fits.intrinsics(torch.tensor([[SIZE, SIZE]]))[0].float()
        self.K = K.numpy()
        shaded = render_shaded(
            self.vertices, self.head.faces, K, (SIZE, SIZE), settings=ShadingSettings(),
        )  # fmt: skip
        self.image = np.asarray(shaded[..., :3]).astype(np.uint8)
        self.flat = to_pixels(self.vertices, K)[:, :2].numpy()
        found = correspondence(self.head)
        self.observed = self.flat[found.points.corners[:, 0].numpy()].astype(np.float64)
        self.maker = SourceMaker(self.head, CropMaker(self.head, found))

    def source(self, observed: np.ndarray | None = None) -> WarpSource | None:
        """The source with these observed points (478,2), px; the true ones when not given."""
        points = self.observed if observed is None else observed
        return self.maker.make(self.image, self.fits, 0, points, None)


@pytest.fixture(scope="module")
def portrait() -> Portrait:
    return Portrait()


def transforms(portrait: Portrait, source: WarpSource, turn: float = 0.0) -> np.ndarray:
    """(4,4,4) of the source's state, the whole head turned by some radians of yaw."""
    rotations = source.rotations.copy()
    rotations[0, 1] += turn
    return (
        portrait.head.joint_transforms(
            torch.from_numpy(source.coefficients[:100]),
            torch.from_numpy(rotations).float(),
            torch.from_numpy(source.translation).float(),
        )
        .double()
        .numpy()
    )


def test_the_grid_at_rest_is_the_portrait(portrait: Portrait) -> None:
    source = portrait.source()
    assert source is not None
    same = transforms(portrait, source)
    grid = moved_grid(source, portrait.vertices.numpy(), same, same, np.zeros(3))
    focal, centre = portrait.K[0, 0], portrait.K[:2, 2]
    pixels = grid[:, :2] / grid[:, 2:] * focal + centre
    before = source.grid_points[:, :2] / source.grid_points[:, 2:] * focal + centre
    np.testing.assert_allclose(pixels, before, atol=0.05)


def test_texture_coordinates_show_the_fitted_pixels(portrait: Portrait) -> None:
    source = portrait.source()
    assert source is not None
    shown = source.opacity > 0.99
    at = (source.st[shown] * TEXTURE - 0.5).astype(np.float32)
    blurred = cv2.GaussianBlur(portrait.image, (0, 0), 1.0)
    own = cv2.remap(source.texture, at[None, :, 0], at[None, :, 1], cv2.INTER_LINEAR)[0]
    flat = portrait.flat[shown].astype(np.float32)
    there = cv2.remap(blurred, flat[None, :, 0], flat[None, :, 1], cv2.INTER_LINEAR)[0]
    face = portrait.maker.opacity[shown] > 0.99
    assert np.median(np.abs(own[face].astype(float) - there[face])) < 6


def test_a_turned_head_takes_its_surroundings_along_and_leaves_the_border(
    portrait: Portrait,
) -> None:
    source = portrait.source()
    assert source is not None
    before, after = transforms(portrait, source), transforms(portrait, source, 0.4)
    posed = portrait.vertices.numpy()
    relative = after[1] @ np.linalg.inv(before[1])
    turned = posed @ relative[:3, :3].T + relative[:3, 3]
    grid = moved_grid(source, turned, before, after, np.zeros(3))
    moved = np.linalg.norm(grid - source.grid_points, axis=1).reshape(GRID, GRID)
    assert moved[[0, -1]].max() < 0.02 and moved[:, [0, -1]].max() < 0.02
    inside = np.zeros(GRID * GRID, bool)
    inside[source.grid_inside] = True
    beside = cv2.dilate(inside.reshape(GRID, GRID).astype(np.uint8), np.ones((3, 3))) > 0
    rim = beside & ~inside.reshape(GRID, GRID)
    assert np.median(moved[rim]) > 0.01
    assert np.isfinite(grid).all() and (grid[:, 2] > 0).all()


def test_a_fit_that_misses_its_points_gives_no_source(portrait: Portrait) -> None:
    assert portrait.source(portrait.observed + 12.0) is None


def test_the_pool_gives_warped_portraits_their_share(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path, 8, CROP)
    picture, points = np.zeros((CROP, CROP, 3), np.uint8), np.zeros((703, 2))
    for number in range(24):
        writer.add(
            images=picture, landmarks=points, contour=points[:17], visible=np.ones(703),
            kind=KIND_WARP if number % 2 else 0,
        )  # fmt: skip
    pool = SamplePool([tmp_path], {KIND_WARP: 0.25})
    rng = np.random.default_rng(0)
    share = np.mean([int(pool.sample(rng)["kind"]) == KIND_WARP for _ in range(800)])
    assert 0.2 < share < 0.3


@pytest.fixture(scope="module")
def library() -> dict[str, Path]:
    """Where the factory's material lies on this machine."""
    names = ("PORTRAITS", "PORTRAIT_LANDMARKS", "PORTRAIT_LIBRARY", "ASSETS", "TRAINING_BASE")
    missing = [f"MIEN_{n}" for n in names if not os.environ.get(f"MIEN_{n}")]
    if missing:
        pytest.skip(f"set {', '.join(missing)} to warp real portraits")
    return {n: Path(os.environ[f"MIEN_{n}"]) for n in names}


def test_labels_are_the_projection_of_the_stored_state(
    library: dict[str, Path], tmp_path: Path
) -> None:
    warper = PortraitWarper(
        WarpSettings(
            library["PORTRAITS"], library["PORTRAIT_LANDMARKS"], library["PORTRAIT_LIBRARY"],
            library["ASSETS"], library["TRAINING_BASE"], tmp_path, per_portrait=2,
        )
    )  # fmt: skip
    samples, head = warper.samples(), warper.renderer.head
    for _ in range(4):
        row = next(samples)
        camera, coefficients = row["camera"], torch.as_tensor(row["coefficients"]).float()
        assert isinstance(camera, np.ndarray) and isinstance(row["images"], np.ndarray)
        vertices = head(
            coefficients[:100], coefficients[100:], torch.from_numpy(camera[3:15].reshape(4, 3)),
            torch.from_numpy(camera[15:18]),
        ).numpy()  # fmt: skip
        points = warper.crops.points(vertices)
        pixels = points[:, :2] / points[:, 2:] * camera[0] + camera[1:3]
        np.testing.assert_allclose(pixels, row["landmarks"], atol=0.02)
        assert row["images"].std() > 10
