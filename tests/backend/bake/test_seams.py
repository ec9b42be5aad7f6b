"""Steps between chosen frames are spread, and what frames agree on stays."""

from __future__ import annotations

import torch

from backend.bake.sample_bank import SampleBank
from backend.bake.seams import blend_seams, solve_screened


def test_wanted_steps_are_met_where_nothing_speaks_against_them() -> None:
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    truth = (torch.sin(x / 7) * torch.cos(y / 11) + torch.sin(y / 2.5))[..., None]
    truth = truth - truth.mean()
    known = torch.ones(64, 64, dtype=torch.bool)
    right, down = truth[:, 1:] - truth[:, :-1], truth[1:] - truth[:-1]
    found = solve_screened(right, down, known, 1e-7)
    error = (found - found.mean() - truth).abs().max()
    assert float(error) < 0.1 * float(truth.max() - truth.min())


def test_a_seam_between_two_frames_is_spread() -> None:
    size, half = 128, 64
    position = torch.arange(size * size)
    column = position % size
    bank = SampleBank(size * size, 2)
    pattern = 0.3 + 0.05 * torch.sin(column / 3.0)
    # Frame 0 sees all, frame 1 the right half, brighter and with more weight.
    everything = position
    bank.insert(everything, pattern[:, None].expand(-1, 3), torch.full((size * size,), 0.2), 0)
    right = position[column >= half]
    bank.insert(right, 1.3 * pattern[right, None].expand(-1, 3), torch.ones(len(right)), 1)
    merged = torch.where(column >= half, 1.3 * pattern, pattern)[:, None].expand(-1, 3).clone()
    blended = blend_seams(merged, bank, position, size).reshape(size, size, 3)
    before = merged.reshape(size, size, 3)
    truth = pattern.reshape(size, size)

    def step(picture: torch.Tensor) -> float:
        expected = truth[:, half] - truth[:, half - 1]
        return float((picture[:, half, 0] - picture[:, half - 1, 0] - expected).abs().mean())

    assert step(before) > 0.05
    assert step(blended) < 0.2 * step(before)
    # The correction fades away from the seam, and the pattern stays.
    assert float((blended - before)[:, :8].abs().max()) < 0.2 * step(before)


def test_without_a_change_of_frames_nothing_changes() -> None:
    bank = SampleBank(64 * 64, 2)
    colors = torch.rand(64 * 64, 3)
    bank.insert(torch.arange(64 * 64), colors, torch.ones(64 * 64), 5)
    assert torch.equal(blend_seams(colors, bank, torch.arange(64 * 64), 64), colors)
