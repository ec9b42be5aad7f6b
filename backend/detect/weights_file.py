"""Reading and writing the network's shipped weights."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from backend.detect.network import DenseLandmarkNet
from backend.errors import MissingWeightsError

SHIPPED = Path(__file__).parent / "weights" / "dense320.safetensors"


def half_precision(net: DenseLandmarkNet) -> dict[str, Tensor]:
    """A network's state in float16, without the counters that only training needs."""
    return {
        name: value.detach().cpu().to(torch.float16).contiguous()
        for name, value in net.state_dict().items()
        if value.is_floating_point()
    }


def load_network(path: Path | None = None, device: torch.device | str = "cpu") -> DenseLandmarkNet:
    """The trained network, ready to predict; raises `MissingWeightsError`.

    path: a safetensors file; by default the one that is shipped.
    """
    path = path or SHIPPED
    if not path.is_file():
        raise MissingWeightsError(f"{path}: the detector's weights are missing.")
    net = DenseLandmarkNet()
    try:
        state = {name: value.float() for name, value in load_file(path).items()}
        missing, unexpected = net.load_state_dict(state, strict=False)
    except (SafetensorError, RuntimeError) as error:
        raise MissingWeightsError(f"{path}: not weights of this network ({error}).") from error
    wrong = [name for name in missing if not name.endswith("num_batches_tracked")] + unexpected
    if wrong:
        raise MissingWeightsError(f"{path}: not weights of this network ({wrong[0]}).")
    net.eval()
    return net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
