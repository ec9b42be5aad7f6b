"""Seams between texels that come from different frames, blended in the gradient domain.

Between two neighbouring texels the frames that show both agree on the step in colour; where the
chosen frames change, the merged colours have another step. What they differ by is spread over the
surroundings: the screened Poisson equation, after Perez et al., Poisson Image Editing (2003).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from backend.bake.sample_bank import SampleBank

REACH = 1 / 24
"""Distance over which a seam is blended, as a share of the texture's side: about 1.5 cm of skin."""

SWEEPS = 12
"""Relaxations on each level of the multigrid."""

CHUNK = 200_000
"""Pairs of texels compared at once."""


def blend_seams(
    color: Tensor, bank: SampleBank, position: Tensor, size: int, wanted: Tensor | None = None
) -> Tensor:
    """Colours (P, 3) without the steps where the chosen frames change.

    color: (P, 3) merged, linear light. bank: their samples. position: (P,) row * size + column.
    wanted: (P,) bool, where to blend; everywhere by default.
    """
    index = torch.full((size * size,), -1, dtype=torch.int64, device=color.device)
    measured = bank.measured if wanted is None else bank.measured & wanted
    index[position[measured]] = measured.nonzero()[:, 0]
    index = index.reshape(size, size)
    known = index >= 0
    steps = []
    for first, second in ((index[:, :-1], index[:, 1:]), (index[:-1], index[1:])):
        linked = (first >= 0) & (second >= 0)
        step = color.new_zeros(*first.shape, 3)
        step[linked] = _missing_steps(color, bank, first[linked], second[linked])
        steps.append(step)
    if not bool((steps[0] != 0).any()) and not bool((steps[1] != 0).any()):
        return color
    correction = solve_screened(steps[0], steps[1], known, 1 / (REACH * size) ** 2)
    result = color.clone()
    chosen = known.reshape(-1)[position]
    result[chosen] += correction.reshape(-1, 3)[position[chosen]]
    # A seam is a matter of tone: no correction may take more than half of the light.
    return torch.maximum(result, 0.5 * color)


def _missing_steps(color: Tensor, bank: SampleBank, first: Tensor, second: Tensor) -> Tensor:
    """(M, 3): the step that common frames see, less the step of the merged colours."""
    frames = bank.frames
    result = color.new_zeros(len(first), 3)
    changes = (bank.mark[first] != bank.mark[second]).nonzero()[:, 0]
    for rows in changes.split(CHUNK):
        a, b = first[rows], second[rows]
        weights_a, weights_b = bank.weights[a].float(), bank.weights[b].float()
        same = frames[a][:, :, None] == frames[b][:, None, :]
        joint = torch.minimum(weights_a[:, :, None], weights_b[:, None, :]) * same
        total = joint.sum((1, 2))
        step = torch.einsum("pij,pjc->pc", joint, bank.colors[b].float())
        step -= torch.einsum("pij,pic->pc", joint, bank.colors[a].float())
        step /= total[:, None].clamp(min=1e-8)
        missing = step - (color[b] - color[a])
        # Where no frame shows both, nothing says what the step should be.
        result[rows] = torch.where((total > 0)[:, None], missing, torch.zeros_like(missing))
    return result


def solve_screened(right: Tensor, down: Tensor, known: Tensor, screen: float) -> Tensor:
    """Values e (S, S, C) whose steps come near those wanted, and which stay near zero.

    Least squares of (e[x+1] - e[x] - right)^2 + (e[y+1] - e[y] - down)^2 + screen e^2 over known
    texels. right: (S, S-1, C), down: (S-1, S, C); known: (S, S) bool; S even or small. Coarse to
    fine: each level starts from the solution of half the size.
    """
    size, channels = known.shape[0], right.shape[-1]
    level = right.new_zeros(size, size, channels)
    if size > 32 and size % 2 == 0:
        problem = _halve(right, down, known)
        coarse = solve_screened(*problem, 4 * screen)
        share = problem[2].float()[..., None]
        planes = torch.cat((coarse * share, share), -1).permute(2, 0, 1)[None]
        fine = interpolate(planes, scale_factor=2, mode="bilinear", align_corners=False)[0]
        # What lies off the charts is zero and must not draw the values near their rims down.
        level = (fine[:-1] / fine[-1:].clamp(min=0.05)).permute(1, 2, 0)
    weight_x = (known[:, :-1] & known[:, 1:]).float()[..., None]
    weight_y = (known[:-1] & known[1:]).float()[..., None]
    source = torch.zeros_like(level)
    wanted_x, wanted_y = right * weight_x, down * weight_y
    source[:, 1:] += wanted_x
    source[:, :-1] -= wanted_x
    source[1:] += wanted_y
    source[:-1] -= wanted_y
    total = right.new_full((size, size, 1), screen)
    total[:, 1:] += weight_x
    total[:, :-1] += weight_x
    total[1:] += weight_y
    total[:-1] += weight_y
    sweeps = SWEEPS if size > 32 else 40 * SWEEPS
    for _ in range(sweeps):
        around = source.clone()
        around[:, 1:] += weight_x * level[:, :-1]
        around[:, :-1] += weight_x * level[:, 1:]
        around[1:] += weight_y * level[:-1]
        around[:-1] += weight_y * level[1:]
        # Weighted Jacobi: 4/5 damps what is fine on this level; the rest is the coarser ones'.
        level = 0.2 * level + 0.8 * around / total
    return level * known[..., None]


def _halve(right: Tensor, down: Tensor, known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same problem on 2 x 2 texels each."""
    size, channels = known.shape[0], right.shape[-1]
    share = avg_pool2d(known.float()[None, None], 2)[0, 0]
    # From the middle of one coarse texel to the next lie half of its own step (between its two
    # columns), the step across the border, and half of the next one's.
    inner = right[:, 0::2]
    across = right[:, 1::2]
    path = across + 0.5 * (inner[:, :-1] + inner[:, 1:])
    coarse_right = path.reshape(size // 2, 2, size // 2 - 1, channels).mean(1)
    inner, across = down[0::2], down[1::2]
    path = across + 0.5 * (inner[:-1] + inner[1:])
    coarse_down = path.reshape(size // 2 - 1, size // 2, 2, channels).mean(2)
    return coarse_right, coarse_down, share > 0.49
