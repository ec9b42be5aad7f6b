"""Infinite 3D Landmarks as a detector: the spatial transformer finds, the encoder looks again.

The paper's transformer looks once at the whole frame. Here it also looks at parts of it, so that
small faces are large enough in one of them, its window is re-cropped from the full-resolution
frame around the landmarks that were found in it, and where it is not sure the encoder itself
searches, as the dense detector does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from backend.detect.graph import Graph, GraphNet
from backend.detect.infinite3d.canonical import Queries
from backend.detect.infinite3d.layout_net import layout_net
from backend.detect.infinite3d.network import Infinite3D
from backend.detect.infinite3d.weights_file import load_infinite3d
from backend.detect.landmarks import FaceLandmarks
from backend.detect.window_detector import (
    VIEWS,
    Face,
    FindSettings,
    Quality,
    WindowDetector,
    as_input,
    as_landmarks,
    differ,
)
from backend.detect.windows import Window, crop, roi

_PARTS = (1.0, 0.55, 0.3, 0.17)
"""Sides of the parts that the transformer looks at, over the frame's longer side."""
_QUICK_PARTS = 3
"""How many of these sizes are looked at where there is a frame's time."""
_STEP = 0.5
"""Distance of neighbouring parts in sides; a face of a third of a part lies whole in one."""
_PRESENCE = 0.3
"""The transformer's presence above which its window is looked at."""


@dataclass(frozen=True)
class QueriedLandmarks:
    """K points of the head on one face."""

    landmarks_2d: NDArray[np.float32]
    """(K,2) px of the image."""
    landmark_sigma: NDArray[np.float32]
    """(K,) px."""
    canonical: NDArray[np.float32]
    """(K,3) L^3d, metres in the head's own frame."""
    rotation: NDArray[np.float32]
    """(3,3) head to the camera that looks through the middle of the window."""
    translation: NDArray[np.float32]
    """(3,) metres, in that camera."""
    focal_px: float
    """Focal length in pixels of the image."""
    window: Window
    """The window that canonical points, rotation, translation and focal length were seen in:
    through them, each point is projected to its place there."""


class Infinite3DDetector(WindowDetector):
    """Finds faces in images and any landmarks of theirs."""

    def __init__(self, net: Infinite3D, settings: FindSettings | None = None) -> None:
        fast = layout_net(net)
        a = net.architecture
        device = next(net.parameters()).device
        super().__init__(GraphNet(fast, a.window_size), device, settings, a.window_size)
        self.network = fast.net
        self._frame_size = a.frame_size
        transformer = fast.net.transformer
        self._transformer = Graph(transformer, a.frame_size) if transformer is not None else None

    @classmethod
    def load(
        cls, weights: Path | None = None, device: torch.device | str = "cpu"
    ) -> Infinite3DDetector:
        """The detector with the shipped weights, or those of a file.

        Raises: MissingWeightsError where they are missing or of another network.
        """
        return cls(load_infinite3d(weights, device))

    @torch.inference_mode()
    def query(
        self,
        image: NDArray[np.uint8],
        face: FaceLandmarks,
        queries: Queries,
        quality: Quality = "fast",
        dataset: int = 0,
    ) -> QueriedLandmarks:
        """Any points of the head on a face that was found.

        image (H,W,3) RGB; queries from `canonical_head()`: a layout, a UV grid, points on
        triangles, the whole mesh; quality "final" averages five looks, none of them
        mirrored, for points may have no twins; dataset: the code of the convention to answer in.
        """
        region = roi(face.landmarks_2d)
        windows = [region]
        if quality == "final":
            windows += [region.jittered((x, y), scale, 0.0) for x, y, scale in VIEWS]
        crops = [crop(image, window, self.window_size) for window in windows]
        encoding = self.network.encode(as_input(crops, self.device))
        queries = queries.to(self.device)
        features = self.network.encode_queries(queries, dataset)
        found = self.network.landmarks(encoding, features, queries.mean)
        assert found.canonical is not None
        half = np.array([0.5 * window.side for window in windows])
        points = found.points.cpu().numpy().astype(np.float64)
        seen = np.mean([w.to_image(p) for w, p in zip(windows, points, strict=True)], axis=0)
        log_sigma = found.log_sigma.cpu().numpy() + np.log(half)[:, None]
        return QueriedLandmarks(
            landmarks_2d=seen.astype(np.float32),
            landmark_sigma=np.exp(log_sigma.mean(0)).astype(np.float32),
            canonical=found.canonical[0].cpu().numpy(),
            rotation=encoding.rotation[0].cpu().numpy(),
            translation=encoding.translation[0].cpu().numpy(),
            focal_px=float(encoding.focal[0]) * float(half[0]),
            window=region,
        )

    def find_stepwise(self, image: NDArray[np.uint8], step: int) -> list[FaceLandmarks]:
        """As its base's, after three steps of the spatial transformer, which is far quicker."""
        if self._transformer is None:
            return super().find_stepwise(image, step)
        turn, number = divmod(step, 2 * _QUICK_PARTS)
        if number >= _QUICK_PARTS:
            return super().find_stepwise(image, turn * _QUICK_PARTS + number - _QUICK_PARTS)
        parts = _parts(image, _PARTS[number])
        faces = self._refine(image, self._transform(image, parts, ()))
        return [as_landmarks(face) for face in faces]

    def prepare(self) -> None:
        """Compile the networks now, where that is possible, in place of some calls later."""
        super().prepare()
        if self._transformer is not None:
            self._transformer.prepare()

    def _first(self, image: NDArray[np.uint8], max_faces: int) -> list[Face]:
        if self._transformer is None:
            return []
        found: list[Face] = []
        for share in _PARTS:
            windows = self._transform(image, _parts(image, share), [f.window for f in found])
            found = self.distinct(found + self._refine(image, windows))
            if max_faces == 1 and any(map(self._certain, found)):
                break
        return found

    @torch.inference_mode()
    def _transform(
        self, image: NDArray[np.uint8], parts: Sequence[Window], known: Sequence[Window]
    ) -> list[Window]:
        """Windows that the spatial transformer gives for parts of the frame, the surest first."""
        assert self._transformer is not None
        frames = as_input([crop(image, part, self._frame_size) for part in parts], self.device)
        matrices, presence = self._transformer(frames)
        score = presence.sigmoid().cpu().numpy()
        kept: list[Window] = []
        for number in np.argsort(-score):
            if score[number] < _PRESENCE:
                break
            window = window_of(parts[number], matrices[number].cpu().numpy().astype(float))
            if all(differ(window, other) for other in [*known, *kept]):
                kept.append(window)
        return kept


def window_of(part: Window, matrix: NDArray[np.float64]) -> Window:
    """The square window nearest to an affine one.

    matrix (2,3): window to the part's coordinates, as the transformer gives it.
    """
    x, y = part.to_image(matrix[:, 2])
    linear = matrix[:, :2]
    side = part.side * float(np.sqrt(max(abs(np.linalg.det(linear)), 1e-8)))
    turn = float(np.arctan2(linear[1, 0] - linear[0, 1], linear[0, 0] + linear[1, 1]))
    return Window(float(x), float(y), side, part.roll + turn)


def _parts(image: NDArray[np.uint8], share: float) -> list[Window]:
    """Square parts of the frame that overlap; the first is the square-padded frame itself."""
    height, width = image.shape[:2]
    side = share * max(height, width)
    if share >= 1.0:
        return [Window((width - 1) / 2, (height - 1) / 2, side)]
    centres = [_along(length, side) for length in (width, height)]
    return [Window(x, y, side) for y in centres[1] for x in centres[0]]


def _along(length: int, side: float) -> list[float]:
    if length <= side:
        return [(length - 1) / 2]
    count = int(np.ceil((length - side) / (_STEP * side))) + 1
    return np.linspace(side / 2 - 0.5, length - side / 2 - 0.5, count).tolist()
