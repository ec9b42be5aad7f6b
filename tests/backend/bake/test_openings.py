"""Eyes and teeth are taken from within lids and lips only."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from backend.bake.openings import openings_of


def _landmarks(height: float) -> np.ndarray:
    points = np.zeros((68, 2), np.float32)
    points[36:42] = [(0, 0), (10, -1), (20, -1), (30, 0), (20, 1), (10, 1)]
    points[36:42, 1] *= height / 2
    points[42:48] = points[36:42] + (60, 0)
    points[60:68] = [(0, 50), (8, 46), (15, 45), (22, 46), (30, 50), (22, 54), (15, 55), (8, 54)]
    return points


def test_distance_from_a_contour() -> None:
    openings = openings_of(_landmarks(12))
    assert openings is not None
    pixels = torch.tensor([[15.0, 0.0], [15.0, 5.0], [15.0, 9.0], [-4.0, 0.0], [40.0, 0.0]])
    inside = openings.inside("eye.R", pixels)
    np.testing.assert_allclose(inside.numpy(), (6, 1, -3, -4, -10), atol=1e-4)
    assert openings.inside("eye.L", pixels + torch.tensor([60.0, 0.0]))[0] == pytest.approx(6)
    assert openings.inside("mouth", torch.tensor([[15.0, 50.0]]))[0] > 3


def test_trust_is_full_in_the_middle_and_none_at_closed_lids() -> None:
    openings = openings_of(_landmarks(12))
    shut = openings_of(_landmarks(0.4))
    assert openings is not None and shut is not None
    trust = openings.trust("eye.R", torch.tensor([[15.0, 0.0], [15.0, 5.5], [15.0, 8.0]]))
    assert trust[0] == 1 and trust[1] == 0 and trust[2] == 0
    assert float(shut.trust("eye.R", torch.tensor([[15.0, 0.0], [8.0, 0.1]])).max()) == 0


def test_without_landmarks_there_are_none() -> None:
    assert openings_of(None) is None
    assert openings_of(np.full((68, 2), np.nan, np.float32)) is None
    assert openings_of(np.zeros((5, 2), np.float32)) is None


def test_skin_is_trusted_beyond_the_contour_only() -> None:
    openings = openings_of(_landmarks(12))
    shut = openings_of(_landmarks(0.4))
    assert openings is not None and shut is not None
    pixels = torch.tensor([[15.0, 0.0], [15.0, 6.1], [15.0, 9.0], [15.0, 30.0]])
    skin = openings.skin("eye.R", pixels)
    assert skin[0] == 0 and skin[1] < 0.1 and skin[2] == 1 and skin[3] == 1
    # What lies beyond the reach of a contour is not looked at.
    assert openings.is_near("eye.R", pixels).tolist() == [True, True, False, False]
    # Closed lids show their rims.
    assert shut.skin("eye.R", torch.tensor([[15.0, 1.0]]))[0] == 1


def test_lashes_hide_the_upper_part_of_an_eye() -> None:
    openings = openings_of(_landmarks(12))
    assert openings is not None
    above, below = openings.trust("eye.R", torch.tensor([[15.0, -3.0], [15.0, 3.0]]))
    assert above < below
