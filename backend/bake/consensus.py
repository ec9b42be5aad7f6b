"""What the head's surface looks like in most of a shot: the colours that a cover departs from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from backend.bake.head_view import HeadView
from backend.bake.sample_bank import weighted_median
from backend.bake.texels import TexelMap, build_texel_map

NOISE = (0.02, 0.01, 0.01)
"""Smallest spread of the three features of `features`: a video's noise and its compression."""


def features(linear: Tensor) -> Tensor:
    """Brightness and two differences of colour, (..., 3), of linear light (..., 3).

    Of its square root, which is about even in what the eye and a camera's noise see.
    """
    root = linear.clamp(min=0).sqrt()
    red, green, blue = root.unbind(-1)
    return torch.stack((0.3 * red + 0.6 * green + 0.1 * blue, red - green, green - blue), -1)


@dataclass(frozen=True)
class Consensus:
    """The usual look of the surface, in a coarse texture of S x S texels."""

    color: Tensor
    """(S, S, 3) linear light, zeros where nothing is known."""
    spread: Tensor
    """(S, S, 3) robust standard deviation of the features over the shot."""
    trust: Tensor
    """(S, S) 0 to 1: rises with the frames that show the texel."""

    def at(self, uv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Colour (h, w, 3), spread (h, w, 3) and trust (h, w) at uv (h, w, 2), v up."""
        stacked = torch.cat((self.color, self.spread, self.trust[..., None]), -1)
        grid = torch.stack((2 * uv[..., 0] - 1, 1 - 2 * uv[..., 1]), -1)[None]
        value = grid_sample(
            stacked.permute(2, 0, 1)[None], grid, align_corners=False, padding_mode="border"
        )[0].permute(1, 2, 0)
        known = value[..., 6:7].clamp(min=1e-3)
        # Unknown texels are zeros: what is interpolated towards them is scaled back.
        return value[..., :3] / known, value[..., 3:6] / known, value[..., 6]


class ConsensusBuilder:
    """Gathers a bounded number of frames at coarse texels, and finds what they agree on."""

    def __init__(self, uv: Tensor, face_uv: Tensor, size: int) -> None:
        """uv: (M, 2), face_uv: (T, 3), v up; size: side of the coarse texture."""
        self.texels: TexelMap = build_texel_map(uv, face_uv, size)
        self.colors: list[Tensor] = []
        self.trusts: list[Tensor] = []
        self.places: list[Tensor] = []
        self.normals: list[Tensor] = []

    def add(self, view: HeadView, corners: Tensor) -> None:
        """Take the colours of one frame.

        corners: (T, 3, 6) x, y in the view's pixels, a depth-tested visibility, and the normal of
        every corner of every triangle.
        """
        everything = torch.arange(len(self.texels.position), device=corners.device)
        values = self.texels.interpolate(corners, everything)
        place = values[:, :2]
        sampled = sample_image(view.color, place)
        normal = torch.nn.functional.normalize(values[:, 3:6], dim=-1)
        shown = sample_image(view.cosine[..., None].clamp(min=0), place)[:, 0]
        trust = values[:, 2].clamp(0, 1) * (values[:, 2] > 0.5) * ((shown - 0.2) / 0.4).clamp(0, 1)
        height, width = view.face_index.shape
        inside = (place >= 0).all(-1) & (place[:, 0] <= width - 1) & (place[:, 1] <= height - 1)
        self.colors.append(sampled.half())
        self.trusts.append((trust * inside).half())
        self.places.append(place)
        self.normals.append(normal.half())

    def solve(self, gains: list[Tensor] | None, covered: list[Tensor] | None) -> Consensus:
        """The robust middle of all frames at every texel.

        gains: per frame (P, 3), what its colours are divided by; covered: per frame (P,) 0 to 1,
        what takes its weight away.
        """
        colors = torch.stack([color.float() for color in self.colors], 1)
        weights = torch.stack([trust.float() for trust in self.trusts], 1)
        if gains is not None:
            colors = colors / torch.stack(gains, 1).clamp(min=0.05)
        if covered is not None:
            weights = weights * (1 - torch.stack(covered, 1)).clamp(min=0.02)
        shown = (weights > 0).any(1)
        feature = features(colors)
        size = self.texels.size
        color, spread = weights.new_zeros(2, size * size, 3)
        trust = weights.new_zeros(size * size)
        position = self.texels.position[shown]
        weights, feature, colors = weights[shown], feature[shown], colors[shown]
        middle = torch.stack([weighted_median(feature[..., k], weights) for k in range(3)], -1)
        deviation = (feature - middle[:, None]).abs()
        # From the nearer 40 % (1.9 times their limit is a Gaussian's deviation), so that a cover in
        # a third of the frames does not pass as a face that changes much.
        scale = torch.stack(
            [1.9 * weighted_median(deviation[..., k], weights, 0.4) for k in range(3)], -1
        )
        noise = feature.new_tensor(NOISE)
        distance = (deviation / (scale + noise)[:, None]).square().sum(-1)
        kept = weights * (1 - distance / 27).clamp(min=0) ** 2 + 1e-9 * weights
        color[position] = (kept[..., None] * colors).sum(1) / kept.sum(1, keepdim=True)
        spread[position] = scale
        # Two good looks are trusted half, six nearly whole.
        trust[position] = 1 - torch.exp(-0.35 * weights.sum(1))
        reach = trust[:, None]
        return Consensus(
            color=(color * reach).reshape(size, size, 3),
            spread=(spread * reach).reshape(size, size, 3),
            trust=trust.reshape(size, size),
        )


def sample_image(image: Tensor, pixels: Tensor) -> Tensor:
    """Bilinear values (P, C) of an image (h, w, C) at pixels (P, 2), the border repeated."""
    size = pixels.new_tensor((image.shape[1], image.shape[0]))
    grid = ((2 * pixels + 1) / size - 1)[None, None]
    sampled = grid_sample(
        image.permute(2, 0, 1)[None], grid, padding_mode="border", align_corners=False
    )
    return sampled[0, :, 0].T
