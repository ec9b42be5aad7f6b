"""The pinhole camera: known points, Jacobians, points behind it, fields of view."""

from __future__ import annotations

import math

import pytest
import torch

from backend.geometry.cameras import (
    NEAR,
    field_of_view_from_focal,
    focal_from_field_of_view,
    project,
)

CENTRE = torch.tensor([319.5, 239.5], dtype=torch.float64)
FOCAL = torch.tensor(800.0, dtype=torch.float64)


def test_a_known_point() -> None:
    point = torch.tensor([0.1, -0.05, 0.5], dtype=torch.float64)
    expected = torch.tensor([319.5 + 160.0, 239.5 - 80.0], dtype=torch.float64)
    torch.testing.assert_close(project(point, FOCAL, CENTRE), expected)


def test_a_point_behind_the_camera_stays_finite() -> None:
    point = torch.tensor([0.1, 0.0, -0.5], dtype=torch.float64)
    assert float(project(point, FOCAL, CENTRE)[0]) == pytest.approx(319.5 + 800 * 0.1 / NEAR)


def test_field_of_view_both_ways() -> None:
    focal = focal_from_field_of_view(math.radians(45), 1920)
    assert focal == pytest.approx(2317.6, abs=0.1)
    assert field_of_view_from_focal(focal, 1920) == pytest.approx(math.radians(45))
