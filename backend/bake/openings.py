"""What shows through lids and lips: eyes and teeth lie within their detected contours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CONTOURS: dict[str, tuple[int, ...]] = {
    "eye.R": (36, 37, 38, 39, 40, 41),
    "eye.L": (42, 43, 44, 45, 46, 47),
    "mouth": (60, 61, 62, 63, 64, 65, 66, 67),
}
"""iBUG's points around each opening."""

BEHIND: dict[str, tuple[str, ...]] = {
    "eye.R": ("eye.R",),
    "eye.L": ("eye.L",),
    "mouth": ("mouth", "teeth_upper", "teeth_lower", "tongue"),
}
"""Parts of the head that show through each."""


INSET = (0.16, 0.42)
"""How far within a contour nothing, and all, of what shows through is trusted, as shares of its
height: its points lie on the lids' outer rims."""
OUTSET = (0.02, 0.16)
"""How far beyond it nothing, and all, of the skin is trusted: a fitted lid lies a little beside the
picture's, and would take the white of the eye."""
LASHES = 0.12
"""How far down lashes reach from the upper lid, as a share of the way to the lower."""
UPPER = {"eye.R": ((1, 5), (2, 4)), "eye.L": ((1, 5), (2, 4))}
"""Points of the upper lid in each contour, and those of the lower lid below them."""


@dataclass(frozen=True)
class Openings:
    """The contours of lids and lips in one frame."""

    contours: dict[str, Tensor]
    """(n, 2) pixels in order, by opening."""

    def to(self, device: torch.device) -> Openings:
        """The same contours on a device."""
        return Openings({name: contour.to(device) for name, contour in self.contours.items()})

    def trust(self, name: str, pixels: Tensor) -> Tensor:
        """How sure pixels (P, 2) show what is behind an opening, (P,) 0 to 1."""
        first, full = (max(share * self.height(name), 0.5) for share in INSET)
        below = self.contours[name].clone()
        for upper, lower in UPPER.get(name, ()):
            below[upper] += LASHES * (below[lower] - below[upper])
        return ((_inside(below, pixels) - first) / max(full - first, 0.5)).clamp(0, 1)

    def skin(self, name: str, pixels: Tensor) -> Tensor:
        """How sure pixels (P, 2) show the skin around an opening, (P,) 0 to 1."""
        first, full = (share * self.height(name) for share in OUTSET)
        return ((-self.inside(name, pixels) - first) / max(full - first, 0.5)).clamp(0, 1)

    def height(self, name: str) -> float:
        """Pixels between the lids or lips: of an ellipse with the contour's area and width."""
        corners = self.contours[name]
        x, y = corners.unbind(-1)
        area = 0.5 * float((x * y.roll(-1) - y * x.roll(-1)).sum().abs())
        return 1.27 * area / max(float((corners.amax(0) - corners.amin(0)).norm()), 1e-6)

    def is_near(self, name: str, pixels: Tensor) -> Tensor:
        """(P,) bool: which pixels (P, 2) lie where `skin` may be below 1."""
        corners = self.contours[name].to(pixels)
        margin = OUTSET[1] * self.height(name) + 0.5
        low, high = corners.amin(0) - margin, corners.amax(0) + margin
        return ((pixels >= low) & (pixels <= high)).all(1)

    def inside(self, name: str, pixels: Tensor) -> Tensor:
        """Distance (P,) of pixels (P, 2) from a contour, pixels, negative outside of it."""
        return _inside(self.contours[name], pixels)


def _inside(contour: Tensor, pixels: Tensor) -> Tensor:
    corners = contour.to(pixels)
    edge = corners.roll(-1, 0) - corners
    offset = pixels[:, None] - corners
    along = (offset * edge).sum(-1) / edge.square().sum(-1).clamp(min=1e-6)
    nearest = (offset - along.clamp(0, 1)[..., None] * edge).norm(dim=-1).amin(1)
    # A ray to the right crosses the contour an odd number of times from within.
    y, below = pixels[:, None, 1], corners[:, 1] > pixels[:, None, 1]
    crosses = below != below.roll(-1, 1)
    steep = torch.where(edge[:, 1].abs() < 1e-6, torch.full_like(edge[:, 1], 1e-6), edge[:, 1])
    at = corners[:, 0] + (y - corners[:, 1]) * edge[:, 0] / steep
    within = (crosses & (pixels[:, None, 0] < at)).sum(1) % 2 == 1
    return torch.where(within, nearest, -nearest)


def openings_of(landmarks_2d: NDArray[np.float32] | None) -> Openings | None:
    """The openings of a frame from its landmarks (L, 2), pixels, iBUG's 68 first; None without."""
    if landmarks_2d is None or len(landmarks_2d) < 68 or not np.isfinite(landmarks_2d[:68]).all():
        return None
    points = torch.from_numpy(np.asarray(landmarks_2d[:68], np.float32))
    return Openings({name: points[list(rows)] for name, rows in CONTOURS.items()})
