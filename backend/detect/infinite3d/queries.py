"""What turns queries into landmarks: deformer D, position encoder Q and predictor P."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from backend.detect.infinite3d.canonical import Queries

_OCTAVES = 5
_DISPLACEMENT = 0.02
"""UV units that D's output of one stands for: a few millimetres on the face."""
_OFFSET_M = 0.02
"""Metres that P's output of one stands for."""
CODE_LENGTH = 2


def _mlp(inputs: int, width: int, hidden: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for number in range(hidden):
        layers += [nn.Linear(inputs if number == 0 else width, width), nn.GELU()]
    return nn.Sequential(*layers, nn.Linear(width, outputs))


class QueryDeformer(nn.Module):
    """D: a displacement in UV space for every query, by the code of the dataset.

    Section 3.3: p_k' is the canonical head's position map at uv_k + d_k. The map's finite
    resolution must not move a query that is not displaced, so only its change is added to p_k.
    """

    position_map: Tensor

    def __init__(self, width: int, datasets: int, position_map: Tensor) -> None:
        super().__init__()
        self.codes = nn.Parameter(0.5 * torch.randn(datasets, CODE_LENGTH))
        self.mlp = _mlp(2 + CODE_LENGTH, width, 2, 2)
        last = self.mlp[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        # (1,3,S,S), row 0 at v = 1.
        image = position_map.permute(2, 0, 1)[None].contiguous()
        self.register_buffer("position_map", image, persistent=False)

    def displacement(self, uv: Tensor, dataset: int) -> Tensor:
        """d_k (K,2) of queries at uv (K,2), in UV units."""
        code = self.codes[dataset].expand(len(uv), -1)
        return _DISPLACEMENT * self.mlp(torch.cat([2 * uv - 1, code], 1))

    def forward(self, queries: Queries, dataset: int) -> Tensor:
        """p_k' (K,3) in the units of `Queries.canonical`."""
        moved = queries.uv + self.displacement(queries.uv, dataset)
        return queries.canonical + self._sample(moved) - self._sample(queries.uv)

    def _sample(self, uv: Tensor) -> Tensor:
        place = torch.stack([2 * uv[:, 0] - 1, 1 - 2 * uv[:, 1]], -1)[None, None]
        sampled = functional.grid_sample(
            self.position_map, place, padding_mode="border", align_corners=False
        )
        return sampled[0, :, 0].T


class PositionEncoder(nn.Module):
    """Q, equation 6: a perceptron on the query.

    A departure from the paper: it also gets sines of the coordinates, without which the two lips
    and lids, centimetres apart, are slow to be told from each other.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = _mlp(3 + 6 * _OCTAVES, width, 2, width)

    def forward(self, points: Tensor) -> Tensor:
        """p_k' (K,3) to q_k (K,width)."""
        angles = (points[:, :, None] * 2.0 ** torch.arange(_OCTAVES).to(points) * 2.0).flatten(1)
        return self.mlp(torch.cat([points, angles.sin(), angles.cos()], 1))


class Predictor(nn.Module):
    """P, equation 7: image and query features to an offset and a confidence."""

    def __init__(
        self, features: int, query_width: int, width: int, layers: int, dimensions: int
    ) -> None:
        super().__init__()
        self.dimensions = dimensions
        self.image = nn.Linear(features, width)
        self.query = nn.Linear(query_width, width, bias=False)
        self.hidden = nn.ModuleList([nn.Linear(width, width) for _ in range(layers - 1)])
        self.last = nn.Linear(width, dimensions + 1)
        nn.init.normal_(self.last.weight, std=0.01)
        nn.init.zeros_(self.last.bias)
        with torch.no_grad():
            self.last.bias[-1] = -2.0

    def forward(
        self, image_features: Tensor, query_features: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """f (B,F) and q (K,Q) to offsets (B,K,dimensions), log sigma (B,K) and last layer (B,K,W).

        Offsets are metres in 3D and window units in 2D, log sigma is of window units.
        """
        # One layer on the concatenation (f, q) is the sum of a layer on each.
        x = functional.gelu(self.image(image_features)[:, None] + self.query(query_features))
        for layer in self.hidden:
            x = x + functional.gelu(layer(x))
        out = self.last(x)
        offset = out[..., :-1]
        return offset * _OFFSET_M if self.dimensions == 3 else offset, out[..., -1], x
