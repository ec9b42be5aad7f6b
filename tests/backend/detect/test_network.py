"""The network's shapes, its windows over larger pictures, and what freezing keeps."""

from __future__ import annotations

import pytest
import torch

from backend.detect.network import LOG_SIGMA_RANGE, N_POINTS, DenseLandmarkNet, fuse


@pytest.fixture(scope="module")
def net() -> DenseLandmarkNet:
    torch.manual_seed(0)
    return DenseLandmarkNet().eval()


@pytest.mark.parametrize("size", [96, 128])
@torch.no_grad()
def test_shapes(net: DenseLandmarkNet, size: int) -> None:
    prediction = net(torch.rand(2, 3, size, size) * 255)
    assert prediction.points.shape == (2, N_POINTS, 2)
    assert prediction.log_sigma.shape == (2, N_POINTS)
    assert prediction.presence.shape == (2,)
    assert LOG_SIGMA_RANGE[0] <= prediction.log_sigma.min()


@torch.no_grad()
def test_a_pyramid_of_one_window_is_that_window(net: DenseLandmarkNet) -> None:
    image = torch.rand(1, 3, 128, 128) * 255
    one, many = net(image), net.forward_pyramid(image)
    assert many.points.shape == (1, 1, 1, N_POINTS, 2)
    torch.testing.assert_close(many.points[:, 0, 0], one.points, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(many.presence[:, 0, 0], one.presence, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_pyramid_counts_windows_by_cells(net: DenseLandmarkNet) -> None:
    many = net.forward_pyramid(torch.rand(1, 3, 192, 256) * 255)
    assert many.presence.shape == (1, 3, 5)


@torch.no_grad()
def test_folding_normalisations_changes_nothing(net: DenseLandmarkNet) -> None:
    torch.manual_seed(1)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    image = torch.rand(2, 3, 128, 128) * 255
    one, other = net(image), fuse(net)(image)
    torch.testing.assert_close(other.points, one.points, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(other.log_sigma, one.log_sigma, atol=1e-4, rtol=1e-3)


def test_frozen_blocks_keep_weights_and_statistics() -> None:
    torch.manual_seed(0)
    net = DenseLandmarkNet()
    net.backbone.freeze(3)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net.train()
    optimiser = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    prediction = net(torch.rand(4, 3, 96, 96) * 255)
    (prediction.points.square().mean() + prediction.presence.mean()).backward()
    optimiser.step()
    after = net.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    frozen = ("backbone._conv_stem", "backbone._bn0", *(f"backbone._blocks.{i}." for i in range(3)))
    assert not [name for name in changed if name.startswith(frozen)]
    assert any(name.startswith("backbone._blocks.3.") for name in changed)
    assert "linear.weight" in changed
