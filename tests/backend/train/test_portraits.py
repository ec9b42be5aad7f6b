"""The portrait factory on rendered heads with known truth, and on real portraits where they are."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from backend.errors import BadInputError
from backend.geometry.rasterizer import ShadingSettings, render_shaded
from backend.geometry.rotations import rotvec_to_rotmat
from backend.head import Head
from backend.head.landmarks import layout
from backend.train import portraits, portraits_crops, portraits_fit
from backend.train import portraits_projection as projection
from backend.train.portraits_fit import FitSettings, fit_portraits
from backend.train.portraits_points import N_MEDIAPIPE, Correspondence, calibrate
from backend.train.portraits_projection import PortraitFits, SurfacePoints
from backend.train.portraits_skin import SkinLifter
from backend.train.shards import ShardReader

SIZE = 448


@pytest.fixture(scope="module")
def head() -> Head:
    return Head.load()


def surface(name: str, count: int | None = None) -> SurfacePoints:
    """The first points of a layout with equal weights."""
    points = layout(name)
    return SurfacePoints(
        torch.from_numpy(points.vertices[:count]), torch.from_numpy(points.barycentric[:count]),
        torch.ones(len(points.vertices[:count]), dtype=torch.float64),
    )  # fmt: skip


def random_fits(head: Head, count: int, seed: int, yaw: float = 0.3) -> PortraitFits:
    """Heads in front of portrait cameras, float32."""
    generator = torch.Generator().manual_seed(seed)
    prior = head.identity_prior
    expression = torch.zeros(count, 52)
    for name in ("mouthSmileLeft", "mouthSmileRight", "jawOpen", "browInnerUp", "eyeBlinkLeft"):
        column = head.expression_names.index(name)
        expression[:, column] = 0.6 * torch.rand(count, generator=generator)
    turn = (torch.rand(count, 3, generator=generator) - 0.5) * torch.tensor([0.3, 2 * yaw, 0.2])
    place = (torch.rand(count, 3, generator=generator) - 0.5) * 0.05 + torch.tensor(
        [0.0, -0.03, 1.6]
    )
    return PortraitFits(
        identity=prior.means[1] + 0.5 * (prior.sample(count, generator) - prior.means[1]),
        expression=expression,
        rotation=rotvec_to_rotmat(turn),
        gaze=(torch.rand(count, 1, 2, generator=generator) - 0.5).expand(-1, 2, -1) * 0.3,
        translation=place,
        focal_px=torch.full((count,), 2000.0),
        cost=torch.zeros(count),
    )


def project(fits: PortraitFits, head: Head, points: SurfacePoints) -> torch.Tensor:
    """Pixels (B,L,2) of surface points."""
    vertices = fits.vertices(head)
    at = (vertices[:, points.corners] * points.barycentric[..., None].float()).sum(-2)
    return at[..., :2] / at[..., 2:] * fits.focal_px[:, None, None] + (SIZE - 1) / 2


def test_jacobian_against_differences(head: Head) -> None:
    fits = random_fits(head, 2, 0)
    fits = PortraitFits(**{k: v.double() for k, v in vars(fits).items()})
    fits = replace(fits, expression=fits.expression + 0.1)  # away from the bounds
    points = surface("dense320", 90)  # with the irises, which turn with the gaze
    basis = projection.restrict(Head.load(dtype=torch.float64), points)
    _, jacobian = projection.project_points(fits, basis, True)
    assert jacobian is not None and jacobian.shape == (2, 90, 2, 163)
    for column in (0, 37, 99, 100, 117, 151, *range(152, 163)):
        step = torch.zeros(2, 163, dtype=torch.float64)
        step[:, column] = 1e-5
        ahead, _ = projection.project_points(portraits_fit._apply_step(fits, step), basis, False)
        behind, _ = projection.project_points(portraits_fit._apply_step(fits, -step), basis, False)
        numeric = (ahead - behind) / 2e-5
        scale = float(numeric.abs().max()) + 1e-6
        assert (numeric - jacobian[..., column]).abs().max() < 1e-4 * scale, column


def test_fit_recovers_known_heads(head: Head) -> None:
    truth = random_fits(head, 5, 1)
    points = surface("dense320")
    noise = torch.randn(5, 320, 2, generator=torch.Generator().manual_seed(2)) * 0.4
    observed = project(truth, head, points) + noise
    observed[0, 100:110] = float("nan")  # missing points are left out
    fits = fit_portraits(head, points, observed, torch.full((5, 2), float(SIZE)), FitSettings())
    fits = PortraitFits(**{k: v.float() for k, v in vars(fits).items()})
    held_out = surface("dense703")
    face = torch.isin(held_out.corners, torch.from_numpy(head.regions["face"])).all(-1)
    interocular = 0.093 * 2000 / 1.6
    error = (project(fits, head, held_out) - project(truth, head, held_out)).norm(dim=-1)[:, face]
    assert error.mean() < 0.012 * interocular
    for name in ("mouthSmileLeft", "jawOpen", "eyeBlinkLeft"):
        column = head.expression_names.index(name)
        assert (fits.expression[:, column] - truth.expression[:, column]).abs().max() < 0.25, name
    assert (fits.gaze - truth.gaze).abs().max() < 0.12
    assert fits.expression.min() >= 0 and fits.expression.max() <= 1


def test_calibration_finds_where_points_lie(head: Head) -> None:
    truth = random_fits(head, 12, 3, yaw=0.15)
    cheeks = surface("dense703")
    template = head.template.double()
    at = (template[cheeks.corners] * cheeks.barycentric[..., None]).sum(1)
    flat = (at[:, 2] < 0.01) & (at[:, 1] > 0.02) & (at[:, 1] < 0.05) & (at[:, 0].abs() > 0.03)
    rows = flat.nonzero()[:12, 0]
    landmarks = np.full((12, N_MEDIAPIPE, 2), SIZE / 2)
    numbers = [50, 101, 118, 117, 205, 36, 280, 330, 347, 346, 425, 266][: len(rows)]
    landmarks[:, numbers] = project(truth, head, cheeks)[:, rows].numpy()
    landmarks[:, 10], landmarks[:, 152] = [SIZE / 2, 60], [SIZE / 2, SIZE - 60]
    found = calibrate(head, truth, landmarks, np.full((12, 2), SIZE))
    for number, row in zip(numbers, rows.tolist(), strict=True):
        index = int(np.flatnonzero(found.mediapipe == number)[0])
        corners = found.points.corners[index]
        place = (template[corners] * found.points.barycentric[index][:, None]).sum(0)
        assert (place - at[row]).norm() < 0.0015  # metres


def rendered(
    head: Head, fits: PortraitFits, texture: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Picture (S,S,3) on grey, vertices and K of the first head, in light from everywhere."""
    vertices = fits.vertices(head)[0]
    K = fits.intrinsics(torch.full((len(fits), 2), SIZE))[0]
    image = render_shaded(
        vertices, head.faces, K, (SIZE, SIZE), texture=texture, uv=head.uv, face_uv=head.face_uv,
        settings=ShadingSettings(ambient=1.0, background=(120, 120, 120, 255)),
    )  # fmt: skip
    return image[..., :3].copy(), vertices.numpy(), K.numpy()


def test_lifting_returns_the_texture(head: Head) -> None:
    rng = np.random.default_rng(0)
    coarse = rng.normal(0, 9, (12, 12, 1)) + rng.normal(0, 2, (12, 12, 3))
    texture = cv2.resize(coarse, (512, 512), interpolation=cv2.INTER_CUBIC) + [190, 140, 115]
    texture = np.clip(0.5 * (texture + texture[:, ::-1]), 0, 255).astype(np.uint8)
    fits = random_fits(head, 1, 4, yaw=0.5)
    fits = replace(fits, expression=torch.zeros(1, 52))
    image, vertices, K = rendered(head, fits, texture)
    lifter = SkinLifter(head)
    lifted = lifter.lift(image, vertices, K)
    assert lifted.image.shape == (512, 512, 3) and lifted.image.dtype == np.uint8
    known = (lifted.seen > 0.9) & (lifter.front > 0) & lifter.head_mask
    assert known.sum() > 0.35 * (lifter.front > 0).sum()
    error = np.abs(lifted.image.astype(float) - texture)[known]
    assert error.mean() < 4.0 and np.percentile(error, 95) < 12.0
    # The completed rest of the head is of the skin's colour.
    hidden = (lifted.seen < 0.1) & lifter.head_mask
    assert np.abs(lifted.image[hidden].mean(axis=0) - texture[known].mean(axis=0)).max() < 15


def test_eyes_are_not_painted_on_the_lids(head: Head) -> None:
    texture = np.full((512, 512, 3), (200, 150, 125), np.uint8)
    eyes = head.uv.numpy()[
        head.face_uv.numpy()[np.isin(head.faces.numpy(), head.regions["eye.L"]).all(1)]
    ]
    right = head.uv.numpy()[
        head.face_uv.numpy()[np.isin(head.faces.numpy(), head.regions["eye.R"]).all(1)]
    ]
    for triangle in np.concatenate([eyes, right]):
        corner = np.column_stack([triangle[:, 0], 1 - triangle[:, 1]]) * 512
        cv2.fillConvexPoly(texture, np.round(corner).astype(np.int32), (0, 0, 255))
    fits = replace(random_fits(head, 1, 5, yaw=0.1), expression=torch.zeros(1, 52))
    image, vertices, K = rendered(head, fits, texture)
    assert ((image[..., 2] > 200) & (image[..., 0] < 60)).sum() > 100  # the eyes are open
    lifter = SkinLifter(head)
    lifted = lifter.lift(image, vertices, K).image
    assert lifted[lifter.head_mask & (lifter.front > 0)][:, 2].max() < 150


def correspondence(name: str, count: int) -> Correspondence:
    return Correspondence(np.arange(count), surface(name, count))


def test_crop_labels_and_their_correction(head: Head) -> None:
    fits = random_fits(head, 1, 6, yaw=0.2)
    image, vertices, K = rendered(head, fits, np.full((8, 8, 3), 170, np.uint8))
    found = correspondence("dense320", 320)
    found = Correspondence(np.arange(320) + 140, found.points)  # clear of FaceMesh's outline
    maker = portraits_crops.CropMaker(head, found)
    observed = np.zeros((N_MEDIAPIPE, 2))
    observed[found.mediapipe] = project(fits, head, found.points)[0].numpy()
    plain = maker.make(image, vertices, K, observed, np.zeros(152, np.float32), cv2.BORDER_CONSTANT)
    assert plain is not None and plain.image.shape == (160, 160, 3)
    assert plain.valid[68:].mean() > 0.3 and plain.valid[17:68].all() and plain.weight == 1.0
    assert not (plain.valid & ~plain.visible).any()
    # The crop's own camera projects the fitted head onto the labels.
    focal, cx, cy = plain.camera[:3]
    points = head.landmarks(torch.from_numpy(vertices), layout("dense703")).numpy()
    np.testing.assert_allclose(
        points[:, :2] / points[:, 2:] * focal + [cx, cy], plain.landmarks, atol=0.05
    )
    # Points seen elsewhere than the mesh says pull the labels along.
    interocular = 0.093 * 2000 / float(np.median(vertices[:, 2]))
    observed[found.mediapipe] += [0.02 * interocular, 0.0]
    moved = maker.make(image, vertices, K, observed, np.zeros(152, np.float32), cv2.BORDER_CONSTANT)
    assert moved is not None
    zoom = moved.camera[0] / K[0, 0]
    middle = (np.array(moved.landmarks[30]) - moved.camera[1:3]) - (
        plain.landmarks[30] - plain.camera[1:3]
    )
    np.testing.assert_allclose(middle / zoom, [0.02 * interocular, 0.0], atol=0.3)
    observed[found.mediapipe] += [0.1 * interocular, 0.0]
    assert maker.make(image, vertices, K, observed, np.zeros(152), cv2.BORDER_CONSTANT) is None


def test_head_pose_is_the_heads_own(head: Head) -> None:
    fits = random_fits(head, 1, 7)
    pose = portraits_crops.head_pose(
        head, *(vars(fits)[k][0].numpy() for k in ("identity", "rotation", "gaze", "translation"))
    )
    posed = head(
        fits.identity[0], fits.expression[0], torch.from_numpy(pose[:12]).float().reshape(4, 3),
        torch.from_numpy(pose[12:]).float(),
    )  # fmt: skip
    assert (posed - fits.vertices(head)[0]).norm(dim=-1).max() < 1e-4  # metres


def test_background_windows_avoid_the_head() -> None:
    image = np.zeros((300, 300, 3), np.uint8)
    image[80:200, 100:200] = 255
    points = np.array([[100, 80], [200, 200]])
    windows = portraits_crops.background_windows(image, points, np.random.default_rng(0), 6)
    assert len(windows) == 6
    assert all(w.shape == (160, 160, 3) and w.max() == 0 for w in windows)


def test_missing_portraits_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="are not there"):
        portraits.load_portraits(tmp_path / "none", tmp_path / "none.npz")
    points = np.full((1, N_MEDIAPIPE, 3), np.nan)
    np.savez(tmp_path / "p.npz", names=np.array(["a.jpg"]), landmarks=points)
    with pytest.raises(BadInputError, match="usable"):
        portraits.load_portraits(tmp_path, tmp_path / "p.npz")


def test_real_portraits_to_shards(head: Head, tmp_path: Path) -> None:
    folder, points = os.environ.get("MIEN_PORTRAITS"), os.environ.get("MIEN_PORTRAIT_LANDMARKS")
    if not folder or not points:
        pytest.skip("set MIEN_PORTRAITS (pictures) and MIEN_PORTRAIT_LANDMARKS (npz, FaceMesh's)")
    everyone = portraits.load_portraits(Path(folder), Path(points))
    few = portraits.PortraitSet(
        everyone.names[:40], everyone.folder, everyone.landmarks[:40], everyone.image_size[:40]
    )
    fits, found = portraits.fit_all(head, few, calibration=20)
    fits = PortraitFits(**{k: v.float() for k, v in vars(fits).items()})
    error = portraits.point_errors(head, few, fits, found)
    assert np.nanmedian(error) < 0.012
    faces, background = portraits.write_crops(head, few, fits, found, tmp_path, 2, seed=0)
    assert faces >= 38 and background > 40
    assert len(ShardReader(tmp_path)) == faces + background
