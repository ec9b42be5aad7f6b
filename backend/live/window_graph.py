"""One look of a network at one window, with as little beside the network as can be.

OpenVINO takes the crop's bytes as they are; torch runs the same network where it is not installed.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from backend.detect import graph
from backend.detect.infinite3d.canonical import canonical_head
from backend.detect.infinite3d.layout_net import layout_net
from backend.detect.infinite3d.weights_file import load_infinite3d
from backend.detect.network import INPUT_SIZE, fuse
from backend.detect.weights_file import load_network
from backend.detect.window_detector import as_input
from backend.detect.windows import Window, crop

from .landmark_rows import LAYOUT, landmark_rows
from .looks import DenseLook, FullLook, LightLook, can_look_lightly
from .places import start_of, to_image
from .settings import LiveSettings

Arrays = Sequence[NDArray[np.float32]]
Run = Callable[..., Arrays]
_N_ROUNDS_AT = 5
"""Outputs of a full look before what each round knew."""
_KNOWN = 128


@dataclass(frozen=True)
class Look:
    """What the network says of a window."""

    landmarks_2d: NDArray[np.float64]
    """(L,2) pixels of the image."""
    landmark_sigma: NDArray[np.float64]
    """(L,) pixels."""
    score: float
    """Presence, 0 to 1; of a light look, the last full one's."""
    is_light: bool = False


@dataclass
class _Memory:
    """What is kept of the last full look; window units."""

    points: NDArray[np.float32]
    """(L,2)"""
    first: NDArray[np.float32]
    """(L,2) before they were corrected."""
    log_sigma: NDArray[np.float32]
    """(1,L) likewise."""
    known: Arrays
    score: float
    age: int = 0


class WindowGraph:
    """The networks of live tracking, one window at a time, on one thread of a processor."""

    def __init__(self, settings: LiveSettings) -> None:
        """Raises: MissingWeightsError, BadInputError."""
        self.settings = settings
        self.rows = landmark_rows(settings.n_landmarks)
        full, light, self.size = _networks(settings, self.rows)
        self.precision = "f32"
        if settings.precision == "fast" and graph.has_bf16():
            self.precision = "bf16"
        self._full, is_compiled = self._runner(full, ())
        self.runtime = f"OpenVINO {self.precision}" if is_compiled else "torch"
        """What runs the networks, in words."""
        self._light: Run | None = None
        if light is not None and settings.full_every > 1:
            count = len(self.rows)
            known = [(1, count, _KNOWN)] * len(light.refiner.rounds)
            self._light = self._runner(light, ((1, count, 2), (1, count), *known))[0]
        self._memory: _Memory | None = None

    def look(
        self, image: NDArray[np.uint8], window: Window,
        foreseen: NDArray[np.float64] | None = None,
    ) -> Look:  # fmt: skip
        """Landmarks in a window of an image (H,W,3) RGB, whether or not it shows a face.

        foreseen (L,2): where they are thought to be, px; with it a light look may do.
        """
        pixels = crop(image, window, self.size)
        memory = self._memory
        is_due = memory is None or memory.age + 1 >= self.settings.full_every
        if foreseen is None or is_due or self._light is None:
            points, log_sigma, score = self._look_fully(pixels)
        else:
            assert memory is not None
            memory.age += 1
            start = start_of(memory.first, memory.points, foreseen, window)
            found = self._light(pixels, start, memory.log_sigma, *memory.known)
            points, log_sigma, score = found[0][0], found[1][0], memory.score
        is_light = foreseen is not None and not is_due and self._light is not None
        return Look(*to_image(points, log_sigma, window), score, is_light)

    def _look_fully(
        self, pixels: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
        found = self._full(pixels)
        score = float(1.0 / (1.0 + np.exp(-float(found[2][0]))))
        if self._light is not None:
            known = [array.copy() for array in found[_N_ROUNDS_AT:]]
            self._memory = _Memory(
                found[0][0].copy(), found[3][0].copy(), found[4].copy(), known, score
            )
        return found[0][0], found[1][0], score

    def _runner(self, net: nn.Module, shapes: Sequence[tuple[int, ...]]) -> tuple[Run, bool]:
        """What runs a network on a crop (S,S,3) u8 and further inputs; whether it is compiled."""
        net = net.eval().requires_grad_(False)
        if graph.is_available():
            try:
                return self._compiled(net, shapes), True
            except Exception as error:  # a plugin that this processor does not suit, say
                warnings.warn(f"OpenVINO cannot run a network, torch does: {error}", stacklevel=2)

        @torch.inference_mode()
        def run(pixels: NDArray[np.uint8], *further: NDArray[np.float32]) -> Arrays:
            given = [torch.from_numpy(array) for array in further]
            found = net(as_input([pixels], torch.device("cpu")), *given)
            return [array.numpy() for array in found]

        return run, False

    def _compiled(self, net: nn.Module, shapes: Sequence[tuple[int, ...]]) -> Run:
        import openvino

        example = [torch.zeros(1, 3, self.size, self.size), *(torch.zeros(s) for s in shapes)]
        steps = openvino.preprocess.PrePostProcessor(graph.convert(net, *example))
        # The crop's bytes as they lie in memory.
        picture = steps.input(0)
        picture.tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
        picture.model().set_layout(openvino.Layout("NCHW"))
        compiled = graph.compile_model(steps.build(), self.precision, 1)
        request: Any = compiled.create_infer_request()
        arrays: list[Any] = [np.zeros((1, self.size, self.size, 3), np.uint8)]
        arrays += [np.zeros(shape, np.float32) for shape in shapes]
        for number, array in enumerate(arrays):
            request.set_input_tensor(number, openvino.Tensor(array, shared_memory=True))
        outputs = [request.get_output_tensor(i).data for i in range(len(compiled.outputs))]

        def run(*given: NDArray[Any]) -> Arrays:
            for array, value in zip(arrays, given, strict=True):
                array[...] = value
            request.infer()
            return outputs

        return run


def _networks(
    settings: LiveSettings, rows: NDArray[np.int64]
) -> tuple[nn.Module, LightLook | None, int]:
    """Networks that look fully and lightly at these landmarks, and the pixels of their window."""
    if settings.detector == "dense":
        return DenseLook(fuse(load_network(None, "cpu")), rows), None, INPUT_SIZE
    infinite = load_infinite3d()
    queries = canonical_head().layout(LAYOUT)
    index = torch.from_numpy(rows)
    # Only the chosen landmarks are asked for: the closer look costs by the landmark.
    chosen = dataclasses.replace(
        queries, uv=queries.uv[index], canonical=queries.canonical[index], mean=queries.mean[index]
    )
    fast = layout_net(infinite, chosen)
    light = LightLook(fast) if can_look_lightly(fast) else None
    return FullLook(fast), light, infinite.architecture.window_size
