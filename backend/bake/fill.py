"""Filling the texels that no frame has measured."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, interpolate, max_pool2d

LOG_OFFSET = 0.01
"""Added before the logarithm when colours of the two sides are compared, linear light."""


def pull_push(color: Tensor, weight: Tensor) -> Tensor:
    """Spread known colours smoothly over the unknown ones.

    color: (S, S, C), weight: (S, S) 0 (unknown) to 1 (known); S a power of two. Returns
    (S, S, C): known pixels keep their colour, the others take a coarser mean of their
    surroundings. Without any known pixel the result is zero. After Gortler et al., The Lumigraph
    (SIGGRAPH 1996), section 3.4.
    """
    size = len(color)
    assert size & (size - 1) == 0, "the side must be a power of two"
    count = weight[None, None].float()
    level = color.permute(2, 0, 1)[None] * count
    means, counts = [level], [count]
    while len(means[-1][0, 0]) > 1:
        summed = avg_pool2d(means[-1] * counts[-1].clamp(min=1), 2)
        counts.append(4 * avg_pool2d(counts[-1], 2))
        # Below one known pixel the mean stays scaled by what is known of it.
        means.append(4 * summed / counts[-1].clamp(min=1))
    filled = means[-1] / counts[-1].clamp(min=1e-12, max=1)
    for fine, known in zip(means[-2::-1], counts[-2::-1], strict=True):
        coarse = interpolate(filled, scale_factor=2, mode="bilinear", align_corners=False)
        filled = fine + (1 - known).clamp(min=0) * coarse
    return filled[0].permute(1, 2, 0)


def sample_known(color: Tensor, known: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Bilinear colours from the known texels around a place.

    color: (S, S, C), known: (S, S) bool, pixels: (P, 2), nan allowed. Returns (P, C) and how much
    of the bilinear footprint was known, (P,) 0 to 1.
    """
    size = len(color)
    share = known.float()[..., None]
    stacked = torch.cat((color * share, share), -1).permute(2, 0, 1)[None]
    grid = (2 * pixels + 1) / size - 1
    usable = torch.isfinite(grid).all(-1)
    grid = torch.where(usable[:, None], grid, torch.zeros_like(grid))
    sampled = grid_sample(stacked, grid[None, None], align_corners=False)[0, :, 0].T
    coverage = sampled[:, -1] * usable
    return sampled[:, :-1] / sampled[:, -1:].clamp(min=1e-6), coverage


def match_tone(mirrored: Tensor, color: Tensor, known: Tensor, mirrored_known: Tensor) -> Tensor:
    """Give the mirrored side the tone of the side that it completes.

    mirrored, color: (S, S, 3) linear light; known, mirrored_known: (S, S) bool. Where both sides
    are known their ratio is the light's difference; it is spread smoothly over the rest (in the
    logarithm, limited to a factor of two) so that the completed part meets the measured one
    without a step. Returns the corrected (S, S, 3).
    """
    both = known & mirrored_known
    ratio = torch.log(color + LOG_OFFSET) - torch.log(mirrored.clamp(min=0) + LOG_OFFSET)
    ratio = pull_push(ratio.clamp(-0.7, 0.7) * both[..., None], both.float())
    return ((mirrored + LOG_OFFSET) * torch.exp(ratio) - LOG_OFFSET).clamp(min=0)


def pad_alpha(alpha: Tensor, radius: int) -> Tensor:
    """Grow an (S, S) u8 map outwards over its zeros by `radius` texels."""
    grown = alpha.float()[None, None]
    kernel = 2 * radius + 1
    grown = max_pool2d(grown, (kernel, 1), stride=1, padding=(radius, 0))
    grown = max_pool2d(grown, (1, kernel), stride=1, padding=(0, radius))
    return torch.where(alpha > 0, alpha, grown[0, 0].byte())
