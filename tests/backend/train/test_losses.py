"""The losses say what their equations say."""

from __future__ import annotations

import torch

from backend.detect.network import N_POINTS, Prediction
from backend.train.losses import (
    gaussian_nll,
    landmark_loss,
    landmark_weights,
    presence_loss,
    presence_target,
)


def test_gradients_against_finite_differences() -> None:
    torch.manual_seed(0)
    points = torch.randn(3, 5, 2, dtype=torch.float64, requires_grad=True)
    log_sigma = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    target = torch.randn(3, 5, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda p, s: gaussian_nll(p, s, target), (points, log_sigma))


def test_the_best_sigma_is_that_of_the_errors() -> None:
    """For errors drawn with sigma s, the loss is least at log s (two coordinates a point)."""
    torch.manual_seed(0)
    errors = 0.3 * torch.randn(20_000, 2, dtype=torch.float64)
    grid = torch.linspace(-3, 1, 401, dtype=torch.float64)
    loss = torch.stack(
        [gaussian_nll(errors, s.expand(len(errors)), 0 * errors).mean() for s in grid]
    )
    assert abs(float(grid[loss.argmin()]) - float(torch.tensor(0.3).log())) < 0.02


def _prediction(windows: int) -> Prediction:
    return Prediction(
        torch.zeros(windows, N_POINTS, 2),
        torch.zeros(windows, N_POINTS),
        torch.zeros(windows, requires_grad=True),
    )


def test_what_does_not_count_has_no_loss() -> None:
    target = torch.full((2, N_POINTS, 2), 5.0)
    valid = torch.ones(2, N_POINTS)
    assert landmark_loss(_prediction(2), target, valid, torch.zeros(2)) == 0
    assert landmark_loss(_prediction(2), target, 0 * valid, torch.ones(2)) == 0
    one = landmark_loss(_prediction(2), target, valid, torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(one, torch.tensor(25.0))  # 2 log 1 + (25 + 25) / 2


def test_inner_points_weigh_more_and_the_mean_is_one() -> None:
    weights = landmark_weights()
    assert weights.shape == (N_POINTS,)
    torch.testing.assert_close(weights.mean(), torch.tensor(1.0))
    assert weights[17:68].min() > weights[68:].max()


def test_presence_leaves_borderline_windows_out() -> None:
    logit = torch.tensor([0.0, 0.0, 3.0], requires_grad=True)
    presence_loss(logit, torch.tensor([1.0, 0.0, -1.0])).backward()
    torch.testing.assert_close(logit.grad, torch.tensor([-0.25, 0.25, 0.0]))


def test_presence_of_windows() -> None:
    offset = torch.tensor([0.0, 0.3, 0.6, 0.0, 0.0, 0.0])
    scale = torch.tensor([1.0, 1.0, 1.0, 0.3, 3.0, 1.0])
    has_face = torch.tensor([True, True, True, True, True, False])
    assert presence_target(offset, scale, has_face).tolist() == [1, -1, 0, 0, 0, 0]
