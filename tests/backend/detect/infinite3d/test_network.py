"""Infinite 3D Landmarks: each equation on its own, then the network as a whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from backend.detect.infinite3d.architecture import (
    PRESETS,
    decode_architecture,
    encode_architecture,
)
from backend.detect.infinite3d.camera import (
    FIXED_FOCAL_MM,
    SENSOR_WIDTH_MM,
    focal_in_window,
    project,
    rotation_from_6d,
    seen,
    transform,
    translation,
)
from backend.detect.infinite3d.canonical import canonical_head
from backend.detect.infinite3d.convnext import ConvNeXt
from backend.detect.infinite3d.layout_net import layout_net
from backend.detect.infinite3d.network import Infinite3D
from backend.detect.infinite3d.refine import Round
from backend.detect.infinite3d.transformer import log_scale, resample, to_frame
from backend.detect.infinite3d.weights_file import load_infinite3d, save_network
from backend.errors import BadInputError, MissingWeightsError
from backend.head.landmarks import layout


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def small() -> Infinite3D:
    torch.manual_seed(1)
    net = Infinite3D(PRESETS["small"])
    with torch.no_grad():  # away from the zeros that training starts from
        assert net.deformer is not None
        for parameter in (net.pose.weight, net.predictor.last.weight):
            parameter.normal_(std=0.05)
        last = net.deformer.mlp[-1]
        assert isinstance(last, torch.nn.Linear)
        last.weight.normal_(std=0.3)
    return net.eval()


def test_rotation_from_6d_is_a_rotation() -> None:
    matrices = rotation_from_6d(torch.randn(50, 6, dtype=torch.float64))
    eye = torch.eye(3, dtype=torch.float64).expand(50, 3, 3)
    assert torch.allclose(matrices.mT @ matrices, eye, atol=1e-10)
    assert torch.allclose(torch.linalg.det(matrices), torch.ones(50, dtype=torch.float64))
    straight = torch.tensor([[1.0, 0, 0, 0, 1, 0]])
    assert torch.equal(rotation_from_6d(straight)[0], torch.eye(3))


def test_translation_and_what_is_seen_of_it_are_inverse() -> None:
    focal, values = torch.tensor([3.0, 9.0]), torch.tensor([[0.1, -0.2, 0.3], [0.0, 0.4, -0.5]])
    assert torch.allclose(seen(translation(values, focal), focal), values, atol=1e-6)


def test_projection_is_that_of_a_pinhole() -> None:
    focal = focal_in_window(torch.zeros(1))
    assert float(focal) == pytest.approx(FIXED_FOCAL_MM / (SENSOR_WIDTH_MM / 2))
    point = torch.tensor([[[0.1, -0.2, 2.0]]])
    seen = project(transform(point, torch.eye(3)[None], torch.tensor([[0.0, 0, 1.0]])), focal)
    assert torch.allclose(seen[0, 0], float(focal) * torch.tensor([0.1 / 3, -0.2 / 3]))


def test_resampling_and_its_inverse_agree() -> None:
    """A bright pixel of the frame is found in the window where `to_frame` says."""
    frame = torch.zeros(1, 3, 256, 256)
    frame[..., 90:94, 150:154] = 255.0
    c, s = np.cos(0.4), np.sin(0.4)
    matrix = torch.tensor([[[0.4 * c, -0.4 * s, 0.15], [0.4 * s, 0.4 * c, -0.2]]]).float()
    window = resample(frame, matrix, 128)[0, 0]
    weight = window / window.sum()
    place = (2 * torch.arange(128) + 1) / 128 - 1
    centre = torch.stack([(weight.sum(0) * place).sum(), (weight.sum(1) * place).sum()])
    back = to_frame(centre[None, None], matrix)[0, 0]
    expected = torch.tensor([(2 * 151.5 + 1) / 256 - 1, (2 * 91.5 + 1) / 256 - 1])
    assert torch.allclose(back, expected, atol=2e-3)
    assert float(log_scale(matrix)) == pytest.approx(np.log(0.4))


def test_a_query_that_is_not_displaced_stays_where_it_is(small: Infinite3D) -> None:
    fresh = Infinite3D(PRESETS["small"]).deformer
    queries = canonical_head().layout("dense703")
    assert fresh is not None and small.deformer is not None
    assert torch.allclose(fresh(queries, 0), queries.canonical, atol=1e-5)
    moved = [small.deformer(queries, dataset) for dataset in (0, 1)]
    assert (moved[0] - moved[1]).abs().max() > 1e-3


def test_lips_and_lids_are_apart_on_the_canonical_head() -> None:
    queries = canonical_head().layout("ibug68")
    for above, below in ((62, 66), (37, 41), (43, 47)):
        apart = (queries.canonical[above] - queries.canonical[below]).norm() * 0.1
        assert apart > 0.005


@pytest.mark.parametrize("name", ["ibug68", "dense320", "dense703", "all"])
def test_any_layout_can_be_asked_for(small: Infinite3D, name: str) -> None:
    queries = canonical_head().layout(name)
    with torch.no_grad():
        encoding = small.encode(torch.rand(2, 3, 128, 128) * 255)
        found = small.landmarks(encoding, small.encode_queries(queries), queries.mean)
    assert found.points.shape == (2, len(layout(name)), 2)
    assert found.canonical is not None and torch.isfinite(found.points).all()


def test_uv_grid_covers_the_head(small: Infinite3D) -> None:
    queries, texels = canonical_head().uv_grid(64)
    assert len(queries) == len(texels) > 800
    centre = torch.stack([(texels % 64 + 0.5) / 64, 1 - (texels // 64 + 0.5) / 64], 1)
    assert (queries.uv - centre).abs().max() < 1e-4


def test_answers_do_not_depend_on_the_company_of_a_query(small: Infinite3D) -> None:
    queries = canonical_head().layout("dense320")
    with torch.no_grad():
        encoding = small.encode(torch.rand(1, 3, 128, 128) * 255)
        together = small.landmarks(encoding, small.encode_queries(queries), queries.mean)
        one = queries[torch.tensor([30])]
        alone = small.landmarks(encoding, small.encode_queries(one), one.mean)
    assert torch.allclose(together.points[:, 30:31], alone.points, atol=1e-5)


def test_layout_net_predicts_what_the_network_does(small: Infinite3D) -> None:
    fast = layout_net(small)
    queries = canonical_head().layout("dense320")
    windows = torch.rand(2, 3, 128, 128) * 255
    with torch.no_grad():
        encoding = small.encode(windows)
        slow = small.landmarks(encoding, small.encode_queries(queries), queries.mean)
        prediction = fast(windows)
        pyramid = fast.forward_pyramid(windows)
    assert torch.allclose(prediction.points[:, :320], slow.points, atol=1e-4)
    first = slow
    while first.before is not None:
        first = first.before
    assert first is not slow
    assert torch.allclose(pyramid.points[:, 0, 0, :320], first.points, atol=1e-4)
    assert torch.allclose(pyramid.presence[:, 0, 0], prediction.presence, atol=1e-4)


def test_a_closer_look_moves_canonical_points_along(small: Infinite3D) -> None:
    assert small.refiner is not None
    with torch.no_grad():
        for layer in small.refiner.rounds:
            assert isinstance(layer, Round)
            layer.last.weight.normal_(std=0.3)
        queries = canonical_head().layout("ibug68")
        encoding = small.encode(torch.rand(2, 3, 128, 128) * 255)
        found = small.landmarks(encoding, small.encode_queries(queries), queries.mean)
    assert found.before is not None and found.before.before is not None
    assert (found.points - found.before.before.points).norm(dim=-1).mean() > 1e-3
    assert found.canonical is not None
    camera = transform(found.canonical, encoding.rotation, encoding.translation)
    assert torch.allclose(project(camera, encoding.focal), found.points, atol=1e-4)


def test_a_closer_look_finds_what_lies_beside_the_first_estimate() -> None:
    """Trained on bright dots beside guesses, a round learns to go to the dot."""
    torch.manual_seed(0)
    layer = Round(4, 0.1)
    optimiser = torch.optim.Adam(layer.parameters(), 3e-3)
    axis = torch.linspace(-1 + 1 / 32, 1 - 1 / 32, 32)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    errors = []
    for _ in range(150):
        dot = torch.rand(16, 8, 2) - 0.5
        guess = dot + 0.16 * (torch.rand(16, 8, 2) - 0.5)
        place = torch.stack([x, y], -1)[None, None] - dot[:, :, None, None]
        maps = torch.exp(-place.square().sum(-1) / (2 * 0.08**2)).flatten(0, 1)[:, None]
        fine = maps.expand(-1, 32, -1, -1)
        correction, _ = layer(fine, guess.flatten(0, 1)[:, None], torch.zeros(128, 1, 4))
        left = (guess.flatten(0, 1)[:, None] + correction - dot.flatten(0, 1)[:, None]).norm(dim=-1)
        optimiser.zero_grad()
        left.mean().backward()
        optimiser.step()
        errors.append(float(left.mean().detach()))
    assert errors[-1] < 0.3 * errors[0]


@pytest.mark.parametrize(
    "switches",
    [
        {"normalisation": "none", "predict_3d": False, "deform_queries": False},
        {"normalisation": "similarity"},
        {"predict_focal": False},
        {"deform_queries": False},
        {"refine": 0},
    ],
)
def test_every_row_of_the_ablation_can_be_built(switches: dict[str, object]) -> None:
    net = Infinite3D(replace(PRESETS["small"], **switches)).eval()  # type: ignore[arg-type]
    queries = canonical_head().layout("ibug68")
    with torch.no_grad():
        encoding = net.encode(torch.rand(1, 3, 128, 128) * 255)
        found = net.landmarks(encoding, net.encode_queries(queries), queries.mean)
    assert (found.canonical is None) == (switches.get("predict_3d") is False)
    if switches.get("predict_focal") is False:
        assert float(encoding.focal) == pytest.approx(60 / 18)
    if switches.get("normalisation") == "similarity":
        assert net.transformer is not None
        matrix, _ = net.transformer(torch.rand(1, 3, 256, 256) * 255)
        a, b = matrix[0, 0, 0], matrix[0, 1, 0]
        assert torch.equal(matrix[0, 1, 1], a) and torch.equal(matrix[0, 0, 1], -b)


def test_convnext_names_are_those_of_published_weights() -> None:
    names = set(ConvNeXt(PRESETS["base"].transformer).state_dict())
    assert {
        "features.0.0.weight",
        "features.1.0.layer_scale",
        "features.1.0.block.0.weight",
        "features.2.1.weight",
        "features.5.8.block.5.bias",
        "features.7.2.block.3.weight",
    } <= names
    count = sum(v.numel() for v in ConvNeXt(PRESETS["base"].transformer).features.parameters())
    # ConvNeXt-T has 28.59 M, 0.77 M of them in the classifier and its normalisation.
    assert count / 1e6 == pytest.approx(27.82, abs=0.01)


def test_weights_file_keeps_the_network(small: Infinite3D, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_network(small, path)
    again = load_infinite3d(path)
    assert again.architecture == small.architecture
    windows = torch.rand(1, 3, 128, 128) * 255
    with torch.no_grad():
        a, b = small.encode(windows), again.encode(windows)
    assert torch.allclose(a.features, b.features, atol=0.02)
    with pytest.raises(MissingWeightsError, match="missing"):
        load_infinite3d(tmp_path / "none.safetensors")
    path.write_bytes(b"no weights")
    with pytest.raises(MissingWeightsError, match="not a weights file"):
        load_infinite3d(path)


def test_architecture_survives_a_file() -> None:
    for preset in PRESETS.values():
        assert decode_architecture(encode_architecture(preset)) == preset
    with pytest.raises(BadInputError):
        decode_architecture("{}")
