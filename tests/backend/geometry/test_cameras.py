"""The pinhole camera: known points, Jacobians, points behind it, fields of view."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from backend.geometry.cameras import (
    NEAR,
    field_of_view_from_focal,
    focal_from_field_of_view,
    project,
    project_jacobian,
)

CENTRE = torch.tensor([319.5, 239.5], dtype=torch.float64)
FOCAL = torch.tensor(800.0, dtype=torch.float64)


def test_a_known_point() -> None:
    point = torch.tensor([0.1, -0.05, 0.5], dtype=torch.float64)
    expected = torch.tensor([319.5 + 160.0, 239.5 - 80.0], dtype=torch.float64)
    torch.testing.assert_close(project(point, FOCAL, CENTRE), expected)


@pytest.mark.parametrize("shape", [(), (4,), (2, 3)])
def test_jacobian_against_autodiff(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(1)
    points = 0.1 * torch.randn(*shape, 3, generator=generator, dtype=torch.float64)
    points[..., 2] += 0.6
    by_point, by_focal = project_jacobian(points, FOCAL)
    assert by_point.shape == (*shape, 2, 3) and by_focal.shape == (*shape, 2)
    for point, own, own_focal in zip(
        points.reshape(-1, 3), by_point.reshape(-1, 2, 3), by_focal.reshape(-1, 2), strict=True
    ):

        def at(point: Tensor, log_focal: Tensor) -> Tensor:
            return project(point, log_focal.exp(), CENTRE)

        auto, auto_focal = torch.autograd.functional.jacobian(at, (point, FOCAL.log()))
        torch.testing.assert_close(own, auto, rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(own_focal, auto_focal, rtol=1e-6, atol=1e-9)


def test_a_point_behind_the_camera_stays_finite() -> None:
    point = torch.tensor([0.1, 0.0, -0.5], dtype=torch.float64)
    assert float(project(point, FOCAL, CENTRE)[0]) == pytest.approx(319.5 + 800 * 0.1 / NEAR)
    by_point, _ = project_jacobian(point, FOCAL)
    assert torch.isfinite(by_point).all() and float(by_point[0, 2]) == 0.0


def test_field_of_view_both_ways() -> None:
    focal = focal_from_field_of_view(math.radians(45), 1920)
    assert focal == pytest.approx(2317.6, abs=0.1)
    assert field_of_view_from_focal(focal, 1920) == pytest.approx(math.radians(45))
