"""The three sizes of the network, and the switches that its ablation turns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from backend.errors import BadInputError

Size = Literal["small", "base", "paper"]
Normalisation = Literal["none", "similarity", "affine"]


@dataclass(frozen=True)
class ConvNeXtShape:
    """A ConvNeXt (Liu et al., 2022); 7 x 7 depthwise convolutions in four stages."""

    channels: tuple[int, int, int, int]
    """Channels of the stages."""
    blocks: tuple[int, int, int, int]
    """Blocks of the stages."""
    patch: int = 4
    """Side and stride of the first convolution, pixels."""
    is_shallow: bool = False
    """Start every block at full strength: what is trained from nothing has no time to grow, and a
    few blocks do not need the hundredth that deep networks start from."""


CONVNEXT_NANO = ConvNeXtShape((24, 48, 96, 192), (1, 1, 3, 1), patch=8, is_shallow=True)
CONVNEXT_TINY = ConvNeXtShape((96, 192, 384, 768), (3, 3, 9, 3))
CONVNEXT_BASE = ConvNeXtShape((128, 256, 512, 1024), (3, 3, 27, 3))


@dataclass(frozen=True)
class Architecture:
    """Everything that decides which weights a network has."""

    size: Size
    """The preset that it comes from."""
    transformer: ConvNeXtShape
    """The spatial transformer S."""
    encoder: ConvNeXtShape | None
    """The encoder F; None for EfficientNet-lite0, whose ImageNet weights can be had."""
    frame_size: int
    """Pixels of the square-padded frame that S looks at."""
    window_size: int
    """Pixels of the normalised face that F looks at."""
    features: int
    """Length of F's image descriptor f."""
    query_width: int
    """Neurons of a hidden layer of D and Q."""
    predictor_width: int
    """Neurons of a hidden layer of P."""
    predictor_layers: int
    """Hidden layers of P."""
    normalisation: Normalisation = "affine"
    """What S predicts; "none" is the baseline, which gets its windows from elsewhere."""
    predict_3d: bool = True
    """Equations 4 to 10: 3D offsets through pose and camera; else 2D, as the baseline."""
    predict_focal: bool = True
    """Add a displacement to the focal length of 60 mm."""
    deform_queries: bool = True
    """The query deformer D, with a code a dataset."""
    datasets: int = 2
    """Dataset codes."""
    refine: int = 0
    """Rounds of the closer look (refine.py) that follow; the paper has none."""


PRESETS: dict[Size, Architecture] = {
    "small": Architecture("small", CONVNEXT_NANO, None, 256, 128, 256, 64, 256, 3, refine=2),
    "base": Architecture("base", CONVNEXT_TINY, CONVNEXT_TINY, 256, 256, 512, 64, 512, 4, refine=2),
    "paper": Architecture("paper", CONVNEXT_TINY, CONVNEXT_BASE, 256, 256, 512, 64, 512, 4),
}


def encode_architecture(architecture: Architecture) -> str:
    """As JSON, for a weights file's metadata."""
    return msgspec.json.encode(architecture).decode()


def decode_architecture(text: str) -> Architecture:
    """The inverse of `encode_architecture`; raises `BadInputError`."""
    try:
        return msgspec.json.decode(text, type=Architecture)
    except msgspec.MsgspecError as error:
        raise BadInputError(f"not the description of a network: {error}") from error
