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
from backend.detect.windows import Window

from .landmark_rows import LAYOUT, landmark_rows
from .looks import DenseLook, FullLook, LightLook, can_look_lightly
from .places import cut, start_of, to_image
from .settings import LiveSettings
from .trust import carry_on, changed_by, signature_of

Arrays = Sequence[NDArray[np.float32]]
Run = Callable[..., Arrays]
_N_ROUNDS_AT = 5
"""Outputs of a full look before what each round knew."""
MOST_CHANGE = 0.35
"""Change of the window's picture since the last whole look, in units of its contrast, beyond which
no light look will do: the head has turned, or something came before it."""
CARRY_ON = 0.6
"""What a light look leaves undone of a motion of the whole head, over what it does: measured by
whole looks at the same windows."""
MOST_CORRECTION, MUCH_CORRECTION = 0.01, 0.006
"""Median distance of a light look's landmarks from where they were foreseen, over the window's
side, beyond which it is not believed (it corrects what is near, and stops short of what is not),
and beyond which the next look is a whole one."""
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
    signature: NDArray[np.float64]
    """What the window looked like."""
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
        pixels = cut(image, window, self.size)
        if self._light is None:
            found = self._full(pixels)
            return Look(*to_image(found[0][0], found[1][0], window), _share(found[2]))
        signature = signature_of(pixels)
        seen = None if foreseen is None else self._look_lightly(pixels, signature, window, foreseen)
        return seen or self._look_fully(pixels, signature, window)

    def _look_lightly(
        self, pixels: NDArray[np.uint8], signature: NDArray[np.float64], window: Window,
        foreseen: NDArray[np.float64],
    ) -> Look | None:  # fmt: skip
        """None where a light look will not do, by what it would start from or by its result."""
        memory = self._memory
        if self._light is None or memory is None or memory.age + 1 >= self.settings.full_every:
            return None
        if changed_by(signature, memory.signature) > MOST_CHANGE:
            return None
        memory.age += 1
        start = start_of(memory.first, memory.points, foreseen, window)
        found = self._light(pixels, start, memory.log_sigma, *memory.known)
        pixels_2d, sigma = to_image(found[0][0], found[1][0], window)
        carried, correction = carry_on(pixels_2d, foreseen, CARRY_ON)
        if correction > MOST_CORRECTION * window.side:
            return None
        if correction > MUCH_CORRECTION * window.side:
            memory.age = self.settings.full_every
        return Look(carried, sigma, memory.score, True)

    def _look_fully(
        self, pixels: NDArray[np.uint8], signature: NDArray[np.float64], window: Window
    ) -> Look:
        found = self._full(pixels)
        score = _share(found[2])
        known = [array.copy() for array in found[_N_ROUNDS_AT:]]
        self._memory = _Memory(
            found[0][0].copy(), found[3][0].copy(), found[4].copy(), known, score, signature
        )
        return Look(*to_image(found[0][0], found[1][0], window), score)

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

        held: list[Any] = [None] * len(arrays)

        def run(*given: NDArray[Any]) -> Arrays:
            for number, value in enumerate(given):
                if value is not held[number]:  # what was known is given again, look after look
                    arrays[number][...] = value
                    held[number] = value
            request.infer()
            return outputs

        return run


def _share(logit: NDArray[np.float32]) -> float:
    return float(1.0 / (1.0 + np.exp(-float(logit[0]))))


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
