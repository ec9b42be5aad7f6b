"""Which detector does what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch

from backend.detect.dense import DenseDetector
from backend.detect.infinite3d.detector import Infinite3DDetector
from backend.detect.protocol import FaceDetector
from backend.settings import DetectorName

_LOADERS: dict[DetectorName, Callable[[Path | None, torch.device], FaceDetector]] = {
    "infinite3d": Infinite3DDetector.load,
    "dense": DenseDetector.load,
}


def load_detector(
    name: DetectorName, device: torch.device, weights: Path | None = None
) -> FaceDetector:
    """A detector by name, with the shipped weights or those of a file.

    Raises: MissingWeightsError where they are missing or of another network.
    """
    return _LOADERS[name](weights, device)


def detector_for(quality: Literal["preview", "final"]) -> DetectorName:
    """The detector that tracks at a quality: the most exact one, or the one for real time."""
    return "infinite3d" if quality == "final" else "dense"
