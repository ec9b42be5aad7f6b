"""The iris is found on an eyeball of which lids leave a part."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from backend.bake.iris import find_iris


def _eye(x: float, y: float, iris: float = 0.15) -> tuple[torch.Tensor, ...]:
    """Places (P, 2) metres, brightness and trust: an iris at (x, y) millimetres between lids."""
    side = torch.arange(-0.012, 0.012, 0.0005)
    place = torch.cartesian_prod(side, side)
    distance = (place - torch.tensor([x, y]) * 1e-3).norm(dim=-1)
    brightness = torch.where(distance < 0.0058, iris, 0.8)
    brightness = torch.where(distance < 0.002, 0.02, brightness)
    noise = torch.from_numpy(np.random.default_rng(0).normal(0, 0.02, len(place))).float()
    between = (place[:, 1].abs() < 0.0045) & (place[:, 0].abs() < 0.01)
    return place, brightness + noise, between.float()


@pytest.mark.parametrize(("x", "y"), [(0.0, 0.0), (1.8, -0.6), (-1.2, 0.9)])
def test_the_iris_is_found_between_lids(x: float, y: float) -> None:
    found = find_iris(*_eye(x, y))
    assert found is not None
    np.testing.assert_allclose(1e3 * found, (x, y), atol=0.5)


def test_nothing_is_found_where_no_iris_is_seen() -> None:
    place, brightness, trust = _eye(0, 0, iris=0.8)
    even = torch.full_like(brightness, 0.7) + (brightness - brightness.mean()) * 0.01
    assert find_iris(place, even, trust) is None
    assert find_iris(place, _eye(0, 0)[1], trust * 0) is None
