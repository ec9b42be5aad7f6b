"""The network asked for fixed queries: what the finder and the tracker run."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional

from backend.detect.infinite3d.canonical import Queries, canonical_head
from backend.detect.infinite3d.network import Encoding, Infinite3D, LiteEncoder
from backend.detect.network import N_CONTOUR, Prediction, fuse_backbone


class LayoutNet(nn.Module):
    """Windows to the landmarks of one layout and one dataset code, then the jaw's silhouette.

    Query features do not depend on the picture and are worked out once.
    """

    query_features: Tensor
    mean: Tensor

    def __init__(self, net: Infinite3D, queries: Queries | None = None, dataset: int = 0) -> None:
        """queries: by default `dense320`."""
        super().__init__()
        self.net = net
        queries = queries if queries is not None else canonical_head().layout("dense320")
        device = next(net.parameters()).device
        queries = queries.to(device)
        with torch.no_grad():
            features = net.encode_queries(queries, dataset)
        self.register_buffer("query_features", features, persistent=False)
        self.register_buffer("mean", queries.mean, persistent=False)
        self.n_points = len(queries) + N_CONTOUR

    def forward(self, windows: Tensor) -> Prediction:
        """Predict for windows (B,3,S,S), RGB in [0,255]."""
        return self.decode(self.net.encode(windows))

    def decode(self, encoding: Encoding) -> Prediction:
        """The landmarks of windows that F has looked at."""
        found = self.net.landmarks(encoding, self.query_features, self.mean)
        return Prediction(
            points=torch.cat([found.points, encoding.contour], 1),
            log_sigma=torch.cat([found.log_sigma, encoding.contour_log_sigma], 1),
            presence=encoding.presence,
            focal=encoding.focal,
        )

    def forward_pyramid(
        self, image: Tensor, cells: int = 4, least_score: float = 0.0
    ) -> Prediction:
        """Predict for every window of `cells` x `cells` cells over larger images (B,3,h,w).

        As `DenseLandmarkNet.forward_pyramid`; leading shape (B, rows, columns).
        """
        return self.decode_maps(self.maps(image), cells, least_score)

    def maps(self, image: Tensor) -> Tensor:
        """F's last feature map of images (B,3,h,w), RGB in [0,255]."""
        return self.net.backbone.maps(image)

    def decode_maps(self, maps: Tensor, cells: int, least_score: float = 0.0) -> Prediction:
        """Predict for every window of `cells` x `cells` cells of a feature map.

        Landmarks of windows whose presence is below `least_score` are not asked for: NaN.
        """
        maps = functional.avg_pool2d(maps, cells, 1)
        batch, _, rows, columns = maps.shape
        single = maps.permute(0, 2, 3, 1).flatten(0, 2)
        pooled = self.net.backbone.pool(single[..., None, None])
        presence = self.net.presence(pooled)[:, 0]
        chosen = (presence.sigmoid() >= least_score).nonzero()[:, 0]
        found = self.decode(self.net.describe_pooled(pooled[chosen]))
        points = maps.new_full((len(presence), self.n_points, 2), torch.nan)
        log_sigma = maps.new_full((len(presence), self.n_points), torch.nan)
        points[chosen], log_sigma[chosen] = found.points, found.log_sigma
        shape = (batch, rows, columns)
        return Prediction(
            points=points.unflatten(0, shape),
            log_sigma=log_sigma.unflatten(0, shape),
            presence=presence.unflatten(0, shape),
        )


def layout_net(net: Infinite3D, queries: Queries | None = None, dataset: int = 0) -> LayoutNet:
    """A copy of the network that only predicts, as fast as it can; queries: by default dense320."""
    copy = deepcopy(net).eval().requires_grad_(False)
    if isinstance(copy.backbone, LiteEncoder):
        fuse_backbone(copy.backbone.net)
        copy.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return LayoutNet(copy, queries, dataset)
