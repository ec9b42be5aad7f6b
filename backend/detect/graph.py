"""Networks as compiled graphs, where OpenVINO is installed: several times faster on a CPU.

``pip install "mien[cpu]"`` brings it. Without it, or on a GPU, torch runs the same network, which
stays the reference that a test holds the graph to.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor, nn

from backend.detect.network import INPUT_SIZE, STRIDE, DenseLandmarkNet, Prediction

_PATIENCE = 12
"""Calls after which compiling a network, which takes about a second, pays."""


@lru_cache(maxsize=1)
def _core() -> Any:
    """OpenVINO, or None where it is not installed."""
    # Importing it would report that over the network; without this module it does not.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError:
        return None
    return openvino.Core()


def is_available() -> bool:
    """Whether graphs can be compiled here."""
    return _core() is not None


class Graph:
    """A network with one picture batch (B,3,S,S) as input, compiled once it is used in earnest.

    net: gives a tensor or a tuple of them, and runs itself until then. Any number of pictures.
    """

    def __init__(self, net: nn.Module, size: int | None, patience: int = _PATIENCE) -> None:
        """size: S; None for pictures (B,3,h,w) of any shape."""
        self._net = net
        self._size = size
        self._patience = patience
        self._compiled: Any = None

    def __call__(self, images: Tensor) -> Sequence[Tensor]:
        """Run it on pictures (B,3,S,S), RGB in [0,255]."""
        if self._compiled is None:
            self._patience -= 1
            if self._patience >= 0 or images.device.type != "cpu" or not is_available():
                out = self._net(images)
                return out if isinstance(out, tuple) else (out,)
            self.prepare()
            if self._compiled is None:
                return self(images)
        outputs = self._compiled(images.contiguous().numpy())
        return [torch.from_numpy(outputs[i]) for i in range(len(outputs))]

    def prepare(self) -> None:
        """Compile it now, where that is possible, for those who cannot wait in mid-stream."""
        if self._compiled is not None or not is_available():
            return
        try:
            self._compile()
        except Exception as error:  # a plugin that this processor does not suit, say
            warnings.warn(f"OpenVINO cannot run a network, torch does: {error}", stacklevel=2)
            self._patience = sys.maxsize

    def _compile(self) -> None:
        size = self._size or 128
        model = convert(self._net, torch.zeros(1, 3, size, size))
        side = self._size or -1
        model.reshape([-1, 3, side, side])
        # Processors that have half precision would use it, and the landmarks would move.
        self._compiled = compile_model(model, "f32", torch.get_num_threads())


def convert(net: nn.Module, *example: Tensor) -> Any:
    """OpenVINO's model of a network, traced on an example of its inputs, whose shapes it keeps."""
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with torch.inference_mode():
        traced = torch.jit.trace(net, example, check_trace=False)
    # The same as openvino.convert_model, which would also report its use over the network.
    frontend = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchScriptPythonDecoder(traced, example_input=example)
    model = frontend.convert(frontend.load(decoder))
    model.reshape({number: list(given.shape) for number, given in enumerate(example)})
    return model


def compile_model(model: Any, precision: str, threads: int) -> Any:
    """A model ready to run on the processor; precision: "f32", or "bf16" where there is that."""
    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
    }
    return _core().compile_model(model, "CPU", settings)


def has_bf16() -> bool:
    """Whether the processor computes in bfloat16."""
    core = _core()
    return core is not None and "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class _AsTuple(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, windows: Tensor) -> tuple[Tensor, ...]:
        p = cast(Prediction, self.net(windows))
        parts = (p.points, p.log_sigma, p.presence)
        return parts if p.focal is None else (*parts, p.focal)


class _Maps(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = cast(DenseLandmarkNet, net)

    def forward(self, image: Tensor) -> Tensor:
        return self.net.maps(image)


class GraphNet:
    """A landmark network whose windows and feature maps go through graphs."""

    def __init__(self, net: nn.Module, size: int, patience: int = _PATIENCE) -> None:
        """net: a `DenseLandmarkNet` or a `LayoutNet`, fused; size: pixels of a window."""
        self._net = cast(DenseLandmarkNet, net)
        self.n_points: int = self._net.n_points
        self._graph = Graph(_AsTuple(net), size, patience)
        self._maps = Graph(_Maps(net), None, patience)

    def __call__(self, windows: Tensor) -> Prediction:
        """Predict for windows (B,3,S,S), RGB in [0,255]."""
        return Prediction(*self._graph(windows))

    def forward_pyramid(
        self, image: Tensor, cells: int = INPUT_SIZE // STRIDE, least_score: float = 0.0
    ) -> Prediction:
        """Predict for every window of `cells` cells over larger images (B,3,h,w)."""
        return self._net.decode_maps(self._maps(image)[0], cells, least_score)

    def prepare(self) -> None:
        """Compile both graphs now."""
        self._graph.prepare()
        self._maps.prepare()
