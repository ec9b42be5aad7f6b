"""Reading and writing the weights of Infinite 3D Landmarks, the architecture beside them."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from backend.atomic import atomic_path
from backend.detect.infinite3d.architecture import decode_architecture, encode_architecture
from backend.detect.infinite3d.network import Infinite3D
from backend.errors import BadInputError, MissingWeightsError

SHIPPED = Path(__file__).parents[1] / "weights" / "infinite3d_small.safetensors"


def save_network(net: Infinite3D, path: Path) -> None:
    """Write a network in float16, without the counters that only training needs."""
    state = {
        name: value.detach().cpu().to(torch.float16).contiguous()
        for name, value in net.state_dict().items()
        if value.is_floating_point()
    }
    with atomic_path(path) as temporary:
        save_file(state, temporary, {"architecture": encode_architecture(net.architecture)})


def load_infinite3d(path: Path | None = None, device: torch.device | str = "cpu") -> Infinite3D:
    """The trained network, ready to predict; raises `MissingWeightsError`.

    path: a safetensors file; by default the one that is shipped.
    """
    path = path or SHIPPED
    if not path.is_file():
        raise MissingWeightsError(f"{path}: the detector's weights are missing.")
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get("architecture", "")
            state = {name: file.get_tensor(name).float() for name in file.keys()}
    except SafetensorError as error:
        raise MissingWeightsError(f"{path}: not a weights file ({error}).") from error
    try:
        net = Infinite3D(decode_architecture(text))
        missing, unexpected = net.load_state_dict(state, strict=False)
    except (BadInputError, RuntimeError) as error:
        raise MissingWeightsError(f"{path}: not weights of this network ({error}).") from error
    wrong = [name for name in missing if not name.endswith("num_batches_tracked")] + unexpected
    if wrong:
        raise MissingWeightsError(f"{path}: not weights of this network ({wrong[0]}).")
    net.eval()
    return net.to(device)
