"""A closer look at every landmark: features around its first estimate correct it.

Not in the paper, whose landmarks depend on one vector a picture: averaged over the whole window, it
says little of where exactly an edge runs. Here each landmark also sees the fine feature maps around
where equation 10 put it, in one or more rounds with finer steps, as cascaded regression does (Xiong
and De la Torre, "Supervised descent method", 2013). The correction is within the image plane; the
canonical point moves along with it, so that equations 9 and 10 still hold for the result.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

_CHANNELS = 32
_WIDTH = 128
_STEPS = (0.10, 0.05, 0.025)
"""Distance of neighbouring samples in the rounds, window units: 6, 3 and 1.6 pixels of 128."""
_CORRECTION = 0.05
"""Window units that an output of one stands for."""


class FineMap(nn.Module):
    """The backbone's maps of strides 4, 8 and 16, merged at the finest."""

    def __init__(self, channels: Sequence[int]) -> None:
        """channels: of the maps, the finest first."""
        super().__init__()
        fine, *coarser = channels
        self.fine = nn.Conv2d(fine, _CHANNELS, 3, padding=1)
        self.coarser = nn.ModuleList([nn.Conv2d(c, _CHANNELS, 1) for c in coarser])
        self.norm = nn.GroupNorm(4, _CHANNELS)
        self.mix = nn.Conv2d(_CHANNELS, _CHANNELS, 3, padding=1)

    def forward(self, taps: Sequence[Tensor]) -> Tensor:
        """Maps (B,C_i,h_i,w_i), the finest first, to one (B,32,h_0,w_0)."""
        x = self.fine(taps[0])
        for halvings, (layer, tap) in enumerate(zip(self.coarser, taps[1:], strict=True), 1):
            x = x + functional.interpolate(layer(tap), scale_factor=float(2**halvings))
        x = functional.gelu(self.norm(x))
        return x + functional.gelu(self.mix(x))


class Round(nn.Module):
    """One correction of all landmarks."""

    offsets: Tensor

    def __init__(self, context: int, step: float) -> None:
        """context: length of what P knows of a landmark; step: between samples, window units."""
        super().__init__()
        along = torch.tensor([-step, 0.0, step])
        grid = torch.stack(torch.meshgrid(along, along, indexing="xy"), -1).flatten(0, 1)
        self.register_buffer("offsets", grid, persistent=False)
        self.seen = nn.Linear(_CHANNELS * len(grid), _WIDTH)
        self.known = nn.Linear(context, _WIDTH)
        self.hidden = nn.Linear(_WIDTH, _WIDTH)
        self.last = nn.Linear(_WIDTH, 3)
        nn.init.normal_(self.last.weight, std=1e-3)
        nn.init.zeros_(self.last.bias)

    def forward(self, fine: Tensor, points: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Corrections (B,K,2), window units, and of the log sigma (B,K).

        fine (B,32,h,w): the window's map; points (B,K,2); context (B,K,C).
        """
        return corrected(self, fine, points, self.known(context))


def corrected(layer: Round, fine: Tensor, points: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """A round whose layer on the context has been worked out: known (B,K,128)."""
    places = points[:, :, None] + layer.offsets
    seen = functional.grid_sample(fine, places, align_corners=False)
    x = functional.gelu(layer.seen(seen.permute(0, 2, 1, 3).flatten(2)) + known)
    x = x + functional.gelu(layer.hidden(x))
    out = layer.last(x)
    return _CORRECTION * out[..., :2], out[..., 2]


class Refiner(nn.Module):
    """The merged map and the rounds that look at it."""

    def __init__(self, taps: Sequence[int], context: int, rounds: int) -> None:
        """taps: channels of the backbone's maps; context: as `Round`'s; rounds: one to three."""
        super().__init__()
        self.merge = FineMap(taps)
        self.rounds = nn.ModuleList([Round(context, step) for step in _STEPS[:rounds]])
