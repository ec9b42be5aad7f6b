"""The spatial transformer S: where in the frame the normalised face is (equations 1 to 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from backend.detect.infinite3d.architecture import Architecture
from backend.detect.infinite3d.convnext import ConvNeXt


class SpatialTransformer(nn.Module):
    """A square-padded frame to a 2 x 3 matrix, and whether it shows a face.

    The matrix A maps window coordinates to the frame's, both [-1,1] from their outer pixel edges.
    Two departures from the paper: beside theta there is a presence logit, since with several
    windows the best one must be chosen; and the last feature map is not averaged before the linear
    layer, since an average forgets where things are.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        assert architecture.normalisation != "none"
        self.is_affine = architecture.normalisation == "affine"
        self.backbone = ConvNeXt(architecture.transformer)
        cells = (architecture.frame_size // self.backbone.stride) ** 2
        outputs = (6 if self.is_affine else 4) + 1
        self.linear = nn.Linear(cells * self.backbone.channels, outputs)
        nn.init.normal_(self.linear.weight, std=1e-3)
        nn.init.zeros_(self.linear.bias)
        with torch.no_grad():
            self.linear.bias[0] = 0.5  # the middle half of the frame
            if self.is_affine:
                self.linear.bias[4] = 0.5

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """(B,3,S,S) RGB in [0,255] to matrices (B,2,3) and presence logits (B,)."""
        maps = self.backbone.maps(frames).permute(0, 2, 3, 1)
        out = self.linear(self.backbone.norm(maps).flatten(1))
        theta, presence = out[:, :-1], out[:, -1]
        if self.is_affine:
            return theta.unflatten(1, (2, 3)), presence
        # theta = (a, b, x, y): scale and turn as one complex number, and the window's centre.
        a, b, x, y = theta.unbind(1)
        return torch.stack([a, -b, x, b, a, y], 1).unflatten(1, (2, 3)), presence


def resample(frames: Tensor, matrices: Tensor, size: int) -> Tensor:
    """Windows (B,3,size,size) of frames (B,3,H,H) at matrices (B,2,3), by bilinear interpolation.

    Beyond the frame is mid grey, as in every window.
    """
    grid = functional.affine_grid(matrices, [len(frames), 3, size, size], align_corners=False)
    sampled = functional.grid_sample(frames - 127.0, grid.to(frames.dtype), align_corners=False)
    return sampled + 127.0


def to_frame(points: Tensor, matrices: Tensor) -> Tensor:
    """Window coordinates (B,K,2) as the frame's: the inverse of the resampling."""
    return points @ matrices[:, :, :2].mT + matrices[:, None, :, 2]


def log_scale(matrices: Tensor) -> Tensor:
    """(B,) logarithm of how much larger a length is in window than in frame coordinates, negated.

    Adding it to a log sigma of window units gives that of the frame's.
    """
    return 0.5 * torch.linalg.det(matrices[:, :, :2]).abs().clamp(min=1e-8).log()
