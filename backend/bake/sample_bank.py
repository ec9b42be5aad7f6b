"""The best few colour samples of every texel, and their robust mean."""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 250_000
"""Texels merged at once; bounds the memory of the merge at about 60 MB for eight samples."""

MIN_SPREAD = 0.015
"""Smallest spread of brightness that the merge allows for, square root of linear light: the noise
of a video frame and of resampling."""


class SampleBank:
    """Keeps the samples of highest weight, `depth` a texel, in float16."""

    def __init__(self, n_texels: int, depth: int, device: torch.device | str = "cpu") -> None:
        """n_texels and depth: its size; device: where it is kept and merged."""
        self.colors = torch.zeros(n_texels, depth, 3, dtype=torch.float16, device=device)
        self.weights = torch.zeros(n_texels, depth, dtype=torch.float16, device=device)
        self.frames = torch.full((n_texels, depth), -1, dtype=torch.int16, device=device)
        """Number of the frame that each sample is from."""
        self.n_offered = 0

    @property
    def measured(self) -> Tensor:
        """(P,) bool: texels with a sample."""
        return (self.weights > 0).any(1)

    @property
    def mark(self) -> Tensor:
        """(P,) a number that differs where the samples are from different frames."""
        # A sum of scrambled frame numbers does not depend on the order of the samples.
        number = self.frames.long() + 2
        return (number * number * 2654435761 % 1000003).sum(1)

    def insert(self, texels: Tensor, colors: Tensor, weights: Tensor, frame: int = 0) -> None:
        """Offer one sample a texel; it replaces the weakest one if it is stronger.

        texels: (M,) distinct indices; colors: (M, 3) linear light; weights: (M,) above zero;
        frame: a number of the frame that they are from, below 32,768.
        """
        self.n_offered += len(texels)
        weights = weights.to(torch.float16)
        weakest, slot = self.weights[texels].min(1)
        better = (weights > weakest).nonzero()[:, 0]
        row, slot = texels[better], slot[better]
        self.weights[row, slot] = weights[better]
        self.colors[row, slot] = colors[better].to(torch.float16)
        self.frames[row, slot] = frame

    def merge(self, power: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Robust mean of every texel's samples, (P, 3) linear light; zeros where there is none.

        power: (P,) that weights are raised to; above 1 the best samples count more. Returns also
        how much of its weight each texel's samples agreed on, (P,) 0 to 1.

        The weighted median of brightness picks the level that most of the weight agrees on;
        samples far from it, against the weighted median deviation, lose their weight (Tukey's
        biweight), and the rest is averaged. Highlights that move, blinks and passing hands go,
        and noise still averages out.
        """
        device = self.weights.device
        result = torch.zeros(len(self.weights), 3, device=device)
        agreement = torch.zeros(len(self.weights), device=device)
        for begin in range(0, len(result), CHUNK):
            part = slice(begin, begin + CHUNK)
            weights = self.weights[part].float()
            rows = (weights > 0).any(1).nonzero()[:, 0]
            weights = weights[rows]
            if power is not None:
                best = weights.amax(1, keepdim=True)
                weights = (weights / best) ** power[part][rows][:, None]
            merged, agreed = robust_mean(self.colors[part][rows].float(), weights)
            result[part][rows], agreement[part][rows] = merged, agreed
        return result, agreement


def robust_mean(colors: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean of the samples near the weighted median of brightness.

    colors: (M, S, 3) linear light. weights: (M, S), at least one above zero in a row. Returns
    (M, 3), and the share of the weight (M,) that lies near.
    """
    # The square root of luminance is about even in what the eye and a camera's noise see.
    luminance = colors @ colors.new_tensor((0.2126, 0.7152, 0.0722))
    brightness = luminance.clamp(min=0).sqrt()
    median = weighted_median(brightness, weights)
    deviation = (brightness - median[:, None]).abs()
    spread = 1.4826 * weighted_median(deviation, weights) + MIN_SPREAD
    kept = (1 - (deviation / (3 * spread[:, None])) ** 2).clamp(min=0) ** 2 * weights
    mean = (kept[..., None] * colors).sum(1) / kept.sum(1, keepdim=True)
    # Near in the absolute: samples that scatter widely agree on nothing, whatever their spread.
    near = weights * (deviation < 4 * MIN_SPREAD + 0.03)
    return mean, near.sum(1) / weights.sum(1)


def weighted_median(values: Tensor, weights: Tensor, share: float = 0.5) -> Tensor:
    """Value at which half (or another share) of the weight is reached: (M, S), (M, S) to (M,)."""
    ordered, order = values.sort(1)
    reached = weights.gather(1, order).cumsum(1)
    index = (reached < share * reached[:, -1:]).sum(1, keepdim=True)
    return ordered.gather(1, index.clamp(max=values.shape[1] - 1))[:, 0]
