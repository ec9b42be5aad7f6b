"""Infinite 3D Landmarks (Chandran et al., 2024, figure 2), equations 1 to 10 put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from backend.detect.infinite3d.architecture import Architecture
from backend.detect.infinite3d.camera import (
    HALF_WIDTH_M,
    focal_in_window,
    project,
    rotation_from_6d,
    transform,
    translation,
)
from backend.detect.infinite3d.canonical import Queries, canonical_head
from backend.detect.infinite3d.convnext import ConvNeXt
from backend.detect.infinite3d.queries import PositionEncoder, Predictor, QueryDeformer
from backend.detect.infinite3d.refine import Refiner, Round
from backend.detect.infinite3d.transformer import SpatialTransformer
from backend.detect.network import LOG_SIGMA_RANGE, N_CONTOUR, TAPS, EfficientNetLite0, normalise

_POSE = 6 + 3 + 1
_IDENTITY_6D = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@dataclass(frozen=True)
class Encoding:
    """What F says of B windows (equation 4)."""

    features: Tensor
    """(B,F) image descriptor f."""
    rotation: Tensor
    """(B,3,3) head to camera."""
    translation: Tensor
    """(B,3) metres."""
    focal: Tensor
    """(B,) f_fixed + f_d in window units: pixels over half the window's side."""
    presence: Tensor
    """(B,) logit of a face filling the window as the region of interest does."""
    contour: Tensor
    """(B,17,2) the jaw's visible silhouette, window units."""
    contour_log_sigma: Tensor
    """(B,17)."""
    fine: Tensor | None = None
    """(B,32,h,w) what the closer look sees; None where there is none."""

    def rows(self, chosen: Tensor) -> Encoding:
        """Of some of the windows."""
        kept = {name: value[chosen] for name, value in vars(self).items() if value is not None}
        return Encoding(**kept)


@dataclass(frozen=True)
class Landmarks:
    """K landmarks in each of B windows."""

    points: Tensor
    """(B,K,2) l', window units."""
    log_sigma: Tensor
    """(B,K) natural logarithm of the standard deviation, window units."""
    canonical: Tensor | None
    """(B,K,3) L^3d, metres in the head's frame; None for the 2D baseline."""
    before: Landmarks | None = None
    """As they were before the last round of the closer look."""


class LiteEncoder(nn.Module):
    """EfficientNet-lite0 as F's backbone."""

    channels = 1280
    stride = 32
    taps = TAPS

    def __init__(self) -> None:
        super().__init__()
        self.net = EfficientNetLite0()

    def maps(self, x: Tensor) -> Tensor:
        """(B,3,h,w) RGB in [0,255] to (B,1280,h/32,w/32)."""
        return self.net(normalise(x))

    def maps_and_taps(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """As `maps`, and the finer maps before it."""
        return self.net.with_taps(normalise(x))

    def pool(self, maps: Tensor) -> Tensor:
        """(B,1280,h,w) averaged."""
        return maps.mean((2, 3))


class Infinite3D(nn.Module):
    """The whole network. `encode` looks at windows, `landmarks` asks for points on the head.

    The silhouette of the jaw is no point of the surface, so it is no query: a linear layer on F's
    pooled features gives it, as in the dense detector.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        a = self.architecture = architecture
        self.transformer = SpatialTransformer(a) if a.normalisation != "none" else None
        self.backbone = LiteEncoder() if a.encoder is None else ConvNeXt(a.encoder)
        channels = self.backbone.channels
        self.describe = nn.Linear(channels, a.features)
        self.pose = nn.Linear(channels, _POSE)
        self.presence = nn.Linear(channels, 1)
        self.contour = nn.Linear(channels, 3 * N_CONTOUR)
        nn.init.normal_(self.pose.weight, std=1e-3)
        nn.init.zeros_(self.pose.bias)
        nn.init.normal_(self.contour.weight, std=0.01)
        with torch.no_grad():
            self.contour.bias.zero_()[2::3] = -1.6
        self.deformer = (
            QueryDeformer(a.query_width, a.datasets, canonical_head().position_map)
            if a.deform_queries
            else None
        )
        self.encoder_of_queries = PositionEncoder(a.query_width)
        self.predictor = Predictor(
            a.features,
            a.query_width,
            a.predictor_width,
            a.predictor_layers,
            3 if a.predict_3d else 2,
        )
        self.refiner = (
            Refiner(self.backbone.taps, a.predictor_width, a.refine) if a.refine else None
        )

    def encode(self, windows: Tensor) -> Encoding:
        """Equation 4, for square windows (B,3,S,S), RGB in [0,255]."""
        return self.look(*self.backbone.maps_and_taps(windows))

    def look(self, maps: Tensor, taps: Sequence[Tensor]) -> Encoding:
        """What F says, from its backbone's last map and those before it."""
        encoding = self.describe_pooled(self.backbone.pool(maps))
        if self.refiner is None:
            return encoding
        return replace(encoding, fine=self.refiner.merge(taps))

    def describe_pooled(self, pooled: Tensor) -> Encoding:
        """Equation 5, from the backbone's pooled features (B,C); nothing to look closer at."""
        pose = self.pose(pooled).float()
        log_ratio = pose[:, 9].clamp(-1.5, 3.0)
        if not self.architecture.predict_focal:
            log_ratio = torch.zeros_like(log_ratio)
        focal = focal_in_window(log_ratio)
        contour = self.contour(pooled).unflatten(-1, (N_CONTOUR, 3)).float()
        return Encoding(
            features=self.describe(pooled),
            rotation=rotation_from_6d(pose[:, :6] + pose.new_tensor(_IDENTITY_6D)),
            translation=translation(pose[:, 6:9], focal),
            focal=focal,
            presence=self.presence(pooled)[:, 0].float(),
            contour=contour[..., :2],
            contour_log_sigma=contour[..., 2].clamp(*LOG_SIGMA_RANGE),
        )

    def encode_queries(self, queries: Queries, dataset: int = 0) -> Tensor:
        """q_k (K,Q), equation 6 after the deformer; the same for every picture."""
        points = queries.canonical
        if self.deformer is not None:
            points = self.deformer(queries, dataset)
        return self.encoder_of_queries(points)

    def landmarks(self, encoding: Encoding, query_features: Tensor, mean: Tensor) -> Landmarks:
        """Equations 7 to 10 for K queries, whose mean positions (K,3) are given."""
        offset, log_sigma, context = self.predictor(encoding.features, query_features)
        offset, log_sigma = offset.float(), log_sigma.float().clamp(*LOG_SIGMA_RANGE)
        if self.architecture.predict_3d:
            canonical = mean + offset
            camera = transform(canonical, encoding.rotation, encoding.translation)
            found = Landmarks(project(camera, encoding.focal), log_sigma, canonical)
            metres = (camera[..., 2:] / encoding.focal[:, None, None]).clamp(min=0.0)
        else:
            # The baseline starts from the mean face seen from the front.
            found = Landmarks(mean[:, :2] / HALF_WIDTH_M + offset, log_sigma, None)
            metres = None
        if self.refiner is None or encoding.fine is None:
            return found
        for layer in self.refiner.rounds:
            found = _refined(cast(Round, layer), encoding, found, context, metres)
        return found


def _refined(
    layer: Round, encoding: Encoding, found: Landmarks, context: Tensor, metres: Tensor | None
) -> Landmarks:
    """A round of the closer look; metres (B,K,1): what a window unit is at each landmark.

    The correction is learned apart from what it corrects, so that neither waits for the other.
    """
    assert encoding.fine is not None
    points = found.points.detach()
    correction, change = layer(encoding.fine, points, context)
    correction = correction.float()
    log_sigma = (found.log_sigma.detach() + change.float()).clamp(*LOG_SIGMA_RANGE)
    canonical = found.canonical
    if canonical is not None and metres is not None:
        across = functional.pad(correction * metres.detach(), (0, 1))
        canonical = canonical + across @ encoding.rotation.detach()
    return Landmarks(points + correction, log_sigma, canonical, before=found)
