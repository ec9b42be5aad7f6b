"""ConvNeXt (Liu et al., 2022) out of torch's own blocks.

The module names are torchvision's, so that published ImageNet weights load.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from backend.detect.infinite3d.architecture import ConvNeXtShape

_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


class LayerNorm2d(nn.LayerNorm):
    """Normalises the channels of (B,C,h,w)."""

    def forward(self, x: Tensor) -> Tensor:
        """(B,C,h,w) to the same."""
        x = x.permute(0, 2, 3, 1)
        x = functional.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class _Permute(nn.Module):
    def __init__(self, *order: int) -> None:
        super().__init__()
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(self.order)


class Block(nn.Module):
    """Depthwise 7 x 7, then a two-layer perceptron a pixel, scaled and added."""

    def __init__(self, channels: int, scale: float) -> None:
        super().__init__()
        self.layer_scale = nn.Parameter(torch.full((channels, 1, 1), scale))
        self.block = nn.Sequential(
            nn.Conv2d(channels, channels, 7, padding=3, groups=channels),
            _Permute(0, 2, 3, 1),
            nn.LayerNorm(channels, eps=1e-6),
            nn.Linear(channels, 4 * channels),
            nn.GELU(),
            nn.Linear(4 * channels, channels),
            _Permute(0, 3, 1, 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B,C,h,w) to the same."""
        return x + self.layer_scale * self.block(x)


class ConvNeXt(nn.Module):
    """The convolutional part: (B,3,h,w) RGB in [0,255] to (B,C) averaged features."""

    mean: Tensor
    std: Tensor

    def __init__(self, shape: ConvNeXtShape) -> None:
        super().__init__()
        channels = shape.channels
        scale = 1.0 if shape.is_shallow else 1e-2
        stages: list[nn.Module] = [
            nn.Sequential(
                nn.Conv2d(3, channels[0], shape.patch, shape.patch),
                LayerNorm2d(channels[0], eps=1e-6),
            )
        ]
        for stage, count in enumerate(shape.blocks):
            if stage:
                stages.append(
                    nn.Sequential(
                        LayerNorm2d(channels[stage - 1], eps=1e-6),
                        nn.Conv2d(channels[stage - 1], channels[stage], 2, 2),
                    )
                )
            stages.append(nn.Sequential(*(Block(channels[stage], scale) for _ in range(count))))
        self.features = nn.Sequential(*stages)
        self.norm = nn.LayerNorm(channels[-1], eps=1e-6)
        self.channels = channels[-1]
        self.taps = channels[:3]
        """Channels of the first three stages' maps, for finer looks."""
        self.stride = 8 * shape.patch
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(1, 3, 1, 1), persistent=False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                if shape.is_shallow:
                    nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
                else:
                    nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def maps(self, x: Tensor) -> Tensor:
        """(B,3,h,w) RGB in [0,255] to (B,C,h/stride,w/stride)."""
        return self.maps_and_taps(x)[0]

    def maps_and_taps(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """As `maps`, and the maps of the first three stages."""
        x = (x - self.mean) / self.std
        stages: list[Tensor] = []
        for number, module in enumerate(self.features):
            x = module(x)
            if number % 2:
                stages.append(x)
        return x, stages[:3]

    def pool(self, maps: Tensor) -> Tensor:
        """(B,C,h,w) averaged and normalised: (B,C)."""
        return self.norm(maps.mean((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        """(B,3,h,w) RGB in [0,255] to (B,C)."""
        return self.pool(self.maps(x))
