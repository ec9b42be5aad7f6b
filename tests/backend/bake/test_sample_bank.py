"""The bank keeps the strongest samples and its mean forgets outliers."""

from __future__ import annotations

import torch

from backend.bake.sample_bank import SampleBank, robust_mean, weighted_median


def test_weighted_median_of_known_rows() -> None:
    values = torch.tensor([[3.0, 1.0, 2.0], [5.0, 1.0, 9.0]])
    weights = torch.tensor([[1.0, 1.0, 1.0], [0.1, 0.1, 5.0]])
    assert weighted_median(values, weights).tolist() == [2.0, 9.0]


def test_the_strongest_samples_stay() -> None:
    bank = SampleBank(4, 2)
    for value, weight in ((0.1, 1.0), (0.2, 3.0), (0.21, 2.0), (0.9, 0.5)):
        bank.insert(torch.tensor([1, 3]), torch.full((2, 3), value), torch.full((2,), weight))
    assert bank.measured.tolist() == [False, True, False, True]
    assert sorted(bank.weights[1].tolist()) == [2.0, 3.0]
    merged, _ = bank.merge()
    torch.testing.assert_close(merged[3], torch.full((3,), 0.204), atol=0.002, rtol=0)
    assert (merged[0] == 0).all()


def test_outliers_go_and_noise_averages_out() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(500, 1, 3, generator=generator) * 0.5 + 0.2
    noisy = (truth + 0.01 * torch.randn(500, 8, 3, generator=generator)).clamp(min=0)
    spoiled = noisy.clone()
    spoiled[:, :2] = 1.0
    weights = torch.ones(500, 8)
    clean_error = (noisy.mean(1) - truth[:, 0]).square().mean().sqrt()
    error = (robust_mean(spoiled, weights)[0] - truth[:, 0]).square().mean().sqrt()
    assert error < 1.7 * clean_error
    assert (spoiled.mean(1) - truth[:, 0]).abs().mean() > 20 * error
