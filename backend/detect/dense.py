"""The dense detector: Wood et al.'s network in the windows of a finder."""

from __future__ import annotations

from pathlib import Path

import torch

from backend.detect.graph import GraphNet
from backend.detect.network import INPUT_SIZE, DenseLandmarkNet, fuse
from backend.detect.weights_file import load_network
from backend.detect.window_detector import FindSettings, WindowDetector


class DenseDetector(WindowDetector):
    """Finds faces in images and their dense landmarks."""

    def __init__(self, net: DenseLandmarkNet, settings: FindSettings | None = None) -> None:
        super().__init__(GraphNet(fuse(net), INPUT_SIZE), next(net.parameters()).device, settings)

    @classmethod
    def load(cls, weights: Path | None = None, device: torch.device | str = "cpu") -> DenseDetector:
        """The detector with the shipped weights, or those of a file.

        Raises: MissingWeightsError where they are missing or of another network.
        """
        return cls(load_network(weights, device))
