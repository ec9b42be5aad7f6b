"""What the detector says of one face."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .markup import as_marked


@dataclass(frozen=True)
class FaceLandmarks:
    """One face's dense landmarks, in pixels of the full image (pixel centres at integers)."""

    landmarks_2d: NDArray[np.float32]
    """(L,2) expected positions."""
    landmark_sigma: NDArray[np.float32]
    """(L,) standard deviation of each coordinate."""
    score: float
    """How sure it is that this is a face, 0 to 1."""
    layout: str = "dense320"
    """Name of the landmarks' layout."""
    contour_2d: NDArray[np.float32] | None = None
    """(17,2) the visible silhouette of the jaw, as people mark iBUG's points 0 to 16."""
    contour_sigma: NDArray[np.float32] | None = None
    """(17,) standard deviation of each coordinate."""
    focal_px: float | None = None
    """The camera's focal length as this one picture tells it, where the detector says so."""

    def ibug68(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Points (68,2) and sigma (68,) as people mark them, with the jaw's visible silhouette."""
        points, sigma = as_marked(self.landmarks_2d, self.landmark_sigma)
        if self.contour_2d is not None and self.contour_sigma is not None:
            points[:17], sigma[:17] = self.contour_2d, self.contour_sigma
        return points, sigma
