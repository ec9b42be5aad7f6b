"""Labels of the next round, on a real photograph."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
import torch

from backend.detect.infinite3d.detector import Infinite3DDetector
from backend.errors import BadInputError
from backend.head import Head
from backend.head.landmarks import layout
from backend.train.portraits_points import IBUG_FROM_MEDIAPIPE
from backend.train.pseudo_labels import PseudoLabelSettings, combine, label, surface_queries

INNER = np.arange(17, 68)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> PseudoLabelSettings:
    """A folder with one photograph, one picture without a face, and a round's surface points."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, image in (("a.png", skimage.data.astronaut()), ("b.png", skimage.data.brick())):
        cv2.imwrite(str(folder / name), image[..., ::-1] if image.ndim == 3 else image)
    points = layout("ibug68")
    fits = folder.parent / f"{folder.name}_fits.npz"
    np.savez(
        fits,
        names=np.array(["nobody"]),
        mediapipe=np.array([IBUG_FROM_MEDIAPIPE[i][0] for i in INNER]),
        corners=points.vertices[INNER],
        barycentric=points.barycentric[INNER],
        weight=np.ones(len(INNER)),
        identity=np.zeros((1, 100)), expression=np.zeros((1, 52)), rotation=np.eye(3)[None],
        gaze=np.zeros((1, 2, 2)), translation=np.zeros((1, 3)), focal_px=np.ones(1),
        cost=np.zeros(1),
    )  # fmt: skip
    return PseudoLabelSettings(folder, fits, folder.parent / "labels.npz")


@pytest.fixture(scope="module")
def first(settings: PseudoLabelSettings) -> dict[str, np.ndarray]:
    return label(settings)


def test_queries_lie_where_the_surface_points_do() -> None:
    head, points = Head.load(), layout("ibug68")
    corners = np.concatenate([points.vertices, np.full((1, 3), 77)])
    weights = np.concatenate([points.barycentric, [[1.0, 0.0, 0.0]]])
    queries = surface_queries(corners, weights)
    template = head.template.numpy()
    expected = (template[corners] * weights[..., None]).sum(1)
    assert np.abs(queries.mean.numpy() - expected).max() < 1e-6


def test_the_surer_opinion_counts_more() -> None:
    first, ours = np.zeros((2, 2)), np.full((2, 2), 10.0)
    mean = combine(first, ours, np.array([0.1, 50.0]), size=100.0)
    assert 6.0 < mean[0, 0] < 9.0
    assert mean[1, 0] < 0.1


def test_a_picture_without_labels_gets_the_detectors(
    settings: PseudoLabelSettings, first: dict[str, np.ndarray]
) -> None:
    assert first["names"].tolist() == ["a.png"]
    detector = Infinite3DDetector.load()
    face = detector.find(skimage.data.astronaut(), quality="final")[0]
    size = np.linalg.norm(face.landmarks_2d[36] - face.landmarks_2d[45])
    numbers = [IBUG_FROM_MEDIAPIPE[i][0] for i in INNER]
    distance = np.linalg.norm(first["landmarks"][0, numbers, :2] - face.landmarks_2d[INNER], axis=1)
    assert distance.mean() < 0.03 * size
    assert np.isfinite(first["landmarks"][..., :2]).all()


def test_the_round_before_is_averaged_in(
    settings: PseudoLabelSettings, first: dict[str, np.ndarray], tmp_path: Path
) -> None:
    numbers = [IBUG_FROM_MEDIAPIPE[i][0] for i in INNER]
    moved = first["landmarks"].copy()
    moved[:, :, 0] += 1.0
    np.savez(tmp_path / "before.npz", names=first["names"], landmarks=moved)
    second = label(replace(settings, before=tmp_path / "before.npz"))
    shift = (second["landmarks"] - first["landmarks"])[0, numbers, 0]
    assert 0.1 < shift.mean() < 0.9
    # Labels of another face are not mixed with ours.
    moved[:, :, 0] += 400.0
    np.savez(tmp_path / "far.npz", names=first["names"], landmarks=moved)
    kept = label(replace(settings, before=tmp_path / "far.npz"))["landmarks"]
    assert np.allclose(kept[0, numbers, :2], moved[0, numbers, :2])


def test_an_empty_folder_is_refused(settings: PseudoLabelSettings, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no pictures"):
        label(replace(settings, pictures=tmp_path))


def test_the_file_is_what_the_portraits_read(
    settings: PseudoLabelSettings, first: dict[str, np.ndarray]
) -> None:
    from backend.train.portraits import load_portraits
    from backend.train.pseudo_labels import main

    main(settings)
    portraits = load_portraits(settings.pictures, settings.out)
    assert portraits.names == ("a.png",)
    assert torch.from_numpy(portraits.landmarks).isfinite().all()
