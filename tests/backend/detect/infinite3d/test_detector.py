"""The detector with its shipped weights, on a real photograph."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import skimage.data
import torch
from numpy.typing import NDArray

from backend.detect import graph
from backend.detect.choice import load_detector
from backend.detect.graph import Graph, GraphNet
from backend.detect.infinite3d.architecture import PRESETS, ConvNeXtShape
from backend.detect.infinite3d.camera import project, transform
from backend.detect.infinite3d.canonical import canonical_head
from backend.detect.infinite3d.detector import Infinite3DDetector, window_of
from backend.detect.infinite3d.layout_net import layout_net
from backend.detect.infinite3d.network import Infinite3D
from backend.detect.infinite3d.weights_file import load_infinite3d
from backend.detect.window_detector import FindSettings, as_input
from backend.detect.windows import Window, crop, roi
from backend.errors import MissingWeightsError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def astronaut() -> NDArray[np.uint8]:
    return skimage.data.astronaut()


@pytest.fixture(scope="module")
def detector() -> Infinite3DDetector:
    return Infinite3DDetector.load()


def test_finds_the_face_that_the_dense_detector_finds(
    detector: Infinite3DDetector, astronaut: NDArray[np.uint8]
) -> None:
    ours = detector.find(astronaut, quality="final")[0]
    theirs = load_detector("dense", CPU).find(astronaut, quality="final")[0]
    a, b = ours.ibug68()[0], theirs.ibug68()[0]
    eyes = float(np.linalg.norm(b[45] - b[36]))
    assert np.linalg.norm(a - b, axis=1)[17:].mean() < 0.06 * eyes
    assert ours.focal_px is not None and 200 < ours.focal_px < 20000


@pytest.mark.parametrize("scale", [1.0, 0.35])
def test_finds_a_small_face_off_the_centre(
    detector: Infinite3DDetector, astronaut: NDArray[np.uint8], scale: float
) -> None:
    frame = np.full((720, 1280, 3), 100, np.uint8)
    step = round(1 / scale)
    small = astronaut[::step, ::step]
    frame[60 : 60 + small.shape[0], 700 : 700 + small.shape[1]] = small
    faces = detector.find(frame)
    assert len(faces) == 1
    expected = detector.find(astronaut)[0].landmarks_2d / step + [700, 60]
    side = roi(expected).side
    assert np.linalg.norm(faces[0].landmarks_2d - expected, axis=1).mean() < 0.04 * side


def test_no_face_in_noise(detector: Infinite3DDetector) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3)).astype(np.uint8)
    assert detector.find(noise) == []


def test_mirrored_picture_gives_mirrored_landmarks(
    detector: Infinite3DDetector, astronaut: NDArray[np.uint8]
) -> None:
    """Eight looks, half of them mirrored, are the same for a mirrored picture."""
    face = detector.find(astronaut, quality="final")[0]
    window = roi(face.landmarks_2d)
    width = astronaut.shape[1]
    twin = Window(width - 1 - window.x, window.y, window.side, -window.roll)
    plain = detector.look(astronaut, [window], "final")[0]
    flipped = np.ascontiguousarray(astronaut[:, ::-1])
    turned = detector.look(flipped, [twin], "final")[0]
    mirror = detector._mirror.numpy()[:320]
    back = turned.landmarks_2d[mirror] * [-1, 1] + [width - 1, 0]
    assert np.abs(back - plain.landmarks_2d).mean() < 0.01 * window.side


@pytest.mark.parametrize("name", ["dense703", "all"])
def test_queried_points_are_the_projection_of_the_canonical_ones(
    detector: Infinite3DDetector, astronaut: NDArray[np.uint8], name: str
) -> None:
    face = detector.find(astronaut)[0]
    found = detector.query(astronaut, face, canonical_head().layout(name))
    canonical, rotation, translation = (
        torch.from_numpy(x)[None] for x in (found.canonical, found.rotation, found.translation)
    )
    focal = torch.tensor([found.focal_px / (0.5 * found.window.side)], dtype=torch.float32)
    seen = project(transform(canonical, rotation, translation), focal)[0].numpy()
    assert np.abs(found.window.to_image(seen) - found.landmarks_2d).max() < 0.05
    if name == "dense703":
        first = face.landmarks_2d - found.landmarks_2d[:320]
        assert np.abs(first).mean() < 0.02 * found.window.side


def test_window_of_a_similarity_is_that_similarity() -> None:
    part = Window(100.0, 80.0, 60.0, 0.2)
    window = part.jittered((0.1, -0.05), 0.4, 0.3)
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    place = part.to_window(window.to_image(corners))
    matrix = np.stack([place[1] - place[0], place[2] - place[0], place[0]], 1)
    again = window_of(part, matrix)
    assert again.x == pytest.approx(window.x) and again.y == pytest.approx(window.y)
    assert again.side == pytest.approx(window.side) and again.roll == pytest.approx(window.roll)


def test_a_network_with_larger_windows_is_given_larger_windows() -> None:
    tiny = ConvNeXtShape((8, 16, 24, 32), (1, 1, 1, 1))
    shape = replace(PRESETS["base"], transformer=tiny, encoder=tiny)
    torch.manual_seed(0)
    brief = FindSettings(largest=1.0, smallest=1.0, last_resort=(), candidates=2)
    large = Infinite3DDetector(Infinite3D(shape).eval(), brief)
    image = np.random.default_rng(1).integers(0, 255, (300, 400, 3)).astype(np.uint8)
    for _ in range(14):  # by then the graph is compiled for its size
        face = large.look(image, [Window(200.0, 150.0, 120.0)])[0]
    assert face.landmarks_2d.shape == (320, 2)
    large.find(image)


@pytest.mark.skipif(not graph.is_available(), reason="OpenVINO is not installed")
def test_graphs_say_what_torch_says(astronaut: NDArray[np.uint8]) -> None:
    fast = layout_net(load_infinite3d())
    compiled = GraphNet(fast, 128, patience=0)
    windows = as_input([crop(astronaut, Window(224, 120, s), 128) for s in (150, 220)], CPU)
    transformer = fast.net.transformer
    assert transformer is not None
    frames = as_input([crop(astronaut, Window(255, 255, 512), 256)], CPU)
    with torch.inference_mode():
        expected, found = fast(windows), compiled(windows)
        matrix, presence = transformer(frames)
        matrix_graph, presence_graph = Graph(transformer, 256, patience=0)(frames)
    assert (found.points - expected.points).abs().max() * 64 < 0.05
    assert torch.allclose(found.log_sigma, expected.log_sigma, atol=1e-2)
    assert found.focal is not None and expected.focal is not None
    assert torch.allclose(found.focal, expected.focal, rtol=1e-3)
    assert (matrix_graph - matrix).abs().max() * 128 < 0.05
    assert torch.allclose(presence_graph, presence, atol=1e-2)


def test_weights_of_the_other_network_are_refused() -> None:
    from backend.detect.weights_file import SHIPPED as DENSE

    with pytest.raises(MissingWeightsError, match=DENSE.name):
        load_infinite3d(DENSE)
