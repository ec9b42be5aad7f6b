"""What live tracking asks of the networks: a full look, and a light one between two of them.

The light look is Infinite 3D Landmarks' closer look (`infinite3d/refine.py`) alone. The first
estimates that it corrects are those of the last full look, moved along with the landmarks since
then, and so is what the predictor knew of each landmark; only the backbone's first maps are worked
out anew. First estimates keep their errors that way, which the corrections were trained on: made to
correct its own last results it corrects them twice, and drifts off within frames.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from backend.detect.infinite3d.layout_net import LayoutNet
from backend.detect.infinite3d.network import LiteEncoder
from backend.detect.infinite3d.refine import Refiner, Round, corrected
from backend.detect.network import LOG_SIGMA_RANGE, Prediction, normalise


class DenseLook(nn.Module):
    """The dense detector's landmarks at some rows."""

    rows: Tensor

    def __init__(self, net: nn.Module, rows: NDArray[np.int64]) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("rows", torch.from_numpy(rows), persistent=False)

    def forward(self, windows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(1,3,S,S) to points (1,L,2), log sigma (1,L) and presence (1,)."""
        found: Prediction = self.net(windows)
        return found.points[:, self.rows], found.log_sigma[:, self.rows], found.presence


class FullLook(nn.Module):
    """Infinite 3D Landmarks, and what a light look needs of it."""

    def __init__(self, net: LayoutNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, windows: Tensor) -> tuple[Tensor, ...]:
        """(1,3,S,S) to points (1,L,2), log sigma (1,L), presence (1,); then first estimates
        (1,L,2), their log sigma (1,L), and for each round what was known (1,L,128)."""
        whole, layout = self.net.net, self.net
        encoding = whole.encode(windows)
        _, _, context = whole.predictor(encoding.features, layout.query_features)
        found = whole.landmarks(encoding, layout.query_features, layout.mean)
        first = found
        while first.before is not None:
            first = first.before
        rounds = [cast(Round, layer) for layer in cast(Refiner, whole.refiner).rounds]
        known = [layer.known(context) for layer in rounds]
        parts = (found.points, found.log_sigma, encoding.presence, first.points, first.log_sigma)
        return (*parts, *known)


class LightLook(nn.Module):
    """The closer look alone."""

    def __init__(self, net: LayoutNet) -> None:
        super().__init__()
        self.backbone = cast(LiteEncoder, net.net.backbone)
        self.refiner = cast(Refiner, net.net.refiner)

    def forward(
        self, windows: Tensor, points: Tensor, log_sigma: Tensor, *known: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(1,3,S,S), first estimates, their log sigma and what was known to points, log sigma."""
        fine = self.refiner.merge(self.backbone.net.taps(normalise(windows)))
        for layer, knows in zip(self.refiner.rounds, known, strict=True):
            correction, change = corrected(cast(Round, layer), fine, points, knows)
            points = points + correction
            log_sigma = (log_sigma + change).clamp(*LOG_SIGMA_RANGE)
        return points, log_sigma


def can_look_lightly(net: LayoutNet) -> bool:
    """Whether a network has what a light look takes."""
    return isinstance(net.net.backbone, LiteEncoder) and net.net.refiner is not None
