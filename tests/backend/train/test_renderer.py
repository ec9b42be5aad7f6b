"""The renderer under EGL: what it draws, what it says of it, and people whom no basis spans."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from backend.errors import BadInputError
from backend.head import Head
from backend.train.generate import GenerateSettings, generate
from backend.train.renderer import FaceRenderer, FaceState
from backend.train.sampling import Light
from backend.train.scanned import OffsetCarrier, ScannedHeads
from backend.train.shards import ShardReader

from .conftest import TinyMaterial

SIZE = 96
CAMERA = (150.0, 47.5, 47.5)
PLAIN = Light(np.zeros((9, 3)), np.array([0.0, 0.0, -1.0]), np.ones(3), 0.9)


@pytest.fixture(scope="module")
def settings(
    tiny_material: TinyMaterial, tmp_path_factory: pytest.TempPathFactory
) -> GenerateSettings:
    pytest.importorskip("moderngl")
    m = tiny_material
    return GenerateSettings(
        m.assets, m.base, tmp_path_factory.mktemp("shards"), skins=m.skins, count=5,
        shard_size=3, image_size=SIZE, background_share=0.0,
    )  # fmt: skip


@pytest.fixture(scope="module")
def renderer(settings: GenerateSettings) -> FaceRenderer:
    return FaceRenderer(settings.assets, settings.base, SIZE, settings.skins)


@pytest.fixture(scope="module")
def scanned(tiny_material: TinyMaterial, renderer: FaceRenderer) -> ScannedHeads:
    return ScannedHeads.load(tiny_material.scanned, renderer.head, renderer.makehuman_vertex)


def state_at(x: float, turn: float, offset: NDArray[np.float16] | None = None) -> FaceState:
    rotations = np.zeros((4, 3))
    rotations[0, 1] = turn
    return FaceState(np.zeros(100), np.zeros(52), rotations, np.array([x, 0.0, 0.9]), offset)


def test_the_head_is_drawn_where_its_labels_say(
    settings: GenerateSettings, renderer: FaceRenderer
) -> None:
    from backend.train.dress import dress

    wardrobe = dress(renderer.library, renderer.skins, np.random.default_rng(1))
    image, labels = renderer.render(state_at(0.0, 0.0), wardrobe, CAMERA, PLAIN)
    moved, there = renderer.render(state_at(0.06, 0.0), wardrobe, CAMERA, PLAIN)
    covered = image[..., 3] > 128
    assert image.shape == (SIZE, SIZE, 4) and 0.1 < covered.mean() < 0.9
    assert image[covered][:, :3].std() > 3  # lit and textured, not one flat colour
    x, y = np.round(labels.landmarks_2d[27:68]).astype(int).T
    assert covered[y, x].all() and labels.visible[27:36].all()
    # Six centimetres at 0.9 m are ten pixels, for the labels and for what is drawn.
    shift = there.landmarks_2d[:68] - labels.landmarks_2d[:68]
    np.testing.assert_allclose(shift.mean(axis=0), [10.0, 0.0], atol=0.8)
    centre = [np.argwhere(a[:60, :, 3] > 128)[:, 1].mean() for a in (image, moved)]
    assert abs(centre[1] - centre[0] - 10.0) < 1.0


def test_what_is_turned_away_is_hidden(renderer: FaceRenderer) -> None:
    from backend.train.dress import dress

    wardrobe = dress(renderer.library, renderer.skins, np.random.default_rng(1))
    seen = []
    for turn in (-1.1, 1.1):
        _, labels = renderer.render(state_at(0.14 * turn, turn), wardrobe, CAMERA, PLAIN)
        inside = ((labels.landmarks_2d >= 0) & (labels.landmarks_2d < SIZE - 1)).all(axis=1)
        assert inside[:68].all()
        seen.append((labels.visible[36:42].mean(), labels.visible[42:48].mean()))
    (right, left), (right_after, left_after) = seen
    # Even software drawing leaves a lid or two of the far eye in sight past the nose.
    assert (right - left) * (right_after - left_after) < 0
    assert abs(right - left) + abs(right_after - left_after) > 0.8


def test_shards_hold_what_poses_the_head_again(
    settings: GenerateSettings, renderer: FaceRenderer
) -> None:
    generate(settings)
    reader = ShardReader(settings.out)
    assert len(reader) == 5 and [len(s) for s in reader.shards] == [3, 2]
    assert project_again(renderer.head, reader, "camera", exact=True) < 0.02


def test_scanned_people_are_labelled_exactly(
    settings: GenerateSettings, tiny_material: TinyMaterial, renderer: FaceRenderer, tmp_path: Path
) -> None:
    generate(replace(settings, out=tmp_path, scanned=tiny_material.scanned, count=3))
    reader = ShardReader(tmp_path)
    # Nobody takes the nearest head of the basis for the truth.
    assert all(reader[i]["camera"][0] == 0 for i in range(3))
    assert project_again(renderer.head, reader, "scanned_camera", exact=True) < 0.02
    assert project_again(renderer.head, reader, "scanned_camera", exact=False) > 0.05


def project_again(head: Head, reader: ShardReader, camera_field: str, exact: bool) -> float:
    """Largest distance, px, of stored landmarks from those of the stored camera and geometry."""
    from backend.head.landmarks import layout

    worst = 0.0
    for i in range(len(reader)):
        sample = reader[i]
        k, pose = sample[camera_field][:3], torch.tensor(sample[camera_field][3:18])
        c = torch.tensor(sample["coefficients"])
        shape = head.shape(c[:100], c[100:])
        if exact and "scanned_offset" in sample:
            shape = shape + torch.from_numpy(sample["scanned_offset"].astype(np.float32))
        transforms = head.joint_transforms(c[:100], pose[:12].reshape(4, 3), pose[12:])
        blended = torch.einsum("nj,jab->nab", head.skin_weights, transforms[:, :3])
        posed = torch.einsum("nab,nb->na", blended[..., :3], shape) + blended[..., 3]
        points = head.landmarks(posed, layout("dense703")).numpy()
        pixels = points[:, :2] / points[:, 2:] * k[0] + k[1:]
        stored = sample["landmarks"].astype(float) / 64
        worst = max(worst, float(np.abs(pixels - stored).max()))
    return worst


def test_scanned_heads_keep_eyes_round_and_mouths_shut(
    renderer: FaceRenderer, scanned: ScannedHeads
) -> None:
    head, rng = renderer.head, np.random.default_rng(2)
    basis = head.identity_basis.numpy().astype(float)
    template = head.template.numpy()
    upper, lower = scanned._lips.upper, scanned._lips.lower
    assert set(upper).isdisjoint(lower)
    for _ in range(4):
        person = scanned.sample(rng)
        assert np.abs(person.offset).max() < 0.03  # metres: nothing explodes
        nearest = template + np.einsum("k,kvc->vc", person.identity, basis)
        vertices = nearest + person.offset
        joints = head.joints(torch.from_numpy(person.identity)).numpy()
        for joint, side in ((2, "L"), (3, "R")):
            ball = vertices[head.regions[f"eye.{side}"]]
            radius = np.linalg.norm(ball - ball.mean(axis=0), axis=1)
            assert radius.std() < 1.5e-3
            assert np.linalg.norm(ball.mean(axis=0) - joints[joint]) < 4e-3
        opening = vertices[lower, 1].mean() - vertices[upper, 1].mean()
        shut = template[lower, 1].mean() - template[upper, 1].mean()
        assert opening < shut + 1.5e-3


def test_open_lips_are_closed(renderer: FaceRenderer, scanned: ScannedHeads) -> None:
    head, lips = renderer.head, scanned._lips
    vertices = head.template.double().numpy().copy()
    jaw = head.expression_basis[head.expression_names.index("jawOpen")].double().numpy()
    opened = vertices + 0.1 * jaw
    closed = lips.closed(opened)
    middle = np.abs(vertices[lips.upper, 0]) < 0.012

    def gap(v: NDArray[np.float64]) -> float:
        lower = np.interp(v[lips.upper, 0], *v[lips.lower][v[lips.lower, 0].argsort()][:, :2].T)
        return float((lower - v[lips.upper, 1])[middle].mean())

    assert gap(opened) > gap(vertices) + 2e-3
    assert gap(closed) < gap(vertices) + 0.6 * (gap(opened) - gap(vertices))
    still = np.setdiff1d(np.arange(len(vertices)), lips.rows)
    assert np.array_equal(closed[still], opened[still])


def test_the_neck_follows_the_head_and_the_body_does_not() -> None:
    head_vertex, base_vertex = np.arange(30), np.array([3, 100, 101])
    template = np.zeros((30, 3))
    template[:, 0] = np.linspace(0, 0.1, 30)
    carrier = OffsetCarrier(
        head_vertex, template, base_vertex, np.array([template[3], [0.1, 0.01, 0], [0.1, 2.0, 0]])
    )
    offset = np.tile([0.0, 0.0, 0.004], (30, 1))
    offset[3] = [0.001, 0.0, 0.0]
    out = carrier(offset)
    np.testing.assert_allclose(out[0], [0.001, 0, 0], atol=1e-9)
    assert 0.003 < out[1, 2] < 0.0041 and np.abs(out[2]).max() < 1e-9


def test_other_files_are_no_scans(renderer: FaceRenderer, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", mean=np.zeros(3))
    with pytest.raises(BadInputError, match="no scanned identities"):
        ScannedHeads.load(tmp_path / "a.npz", renderer.head, renderer.makehuman_vertex)
    np.savez(tmp_path / "b.npz", makehuman_vertex=[0], mean=np.zeros((1, 3)),
             identity=np.zeros((1, 1, 3)))  # fmt: skip
    with pytest.raises(BadInputError, match="lacks"):
        ScannedHeads.load(tmp_path / "b.npz", renderer.head, renderer.makehuman_vertex)
