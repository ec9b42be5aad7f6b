"""Settings and results of the fit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True)
class FitSettings:
    """Weights of the energy's terms (Wood et al., section 3.2) and how long to minimise it."""

    focal_px: float | None = None
    """Fixed focal length in pixels; solved from the shot where not given."""
    field_of_view_deg: float = 45.0
    """Horizontal field of view where the solve of the focal length starts (their supplement)."""
    sigma_floor: float = 0.006
    """Least landmark deviation, as a share of the face's size: no landmark is more exact."""
    robust_sigmas: float = 4.0
    """Deviations beyond which a landmark counts less and less (Geman-McClure); hands and hair."""
    landmark_weight: float = 0.15
    """Weight of the landmark term: neighbouring landmarks err together, so 320 count as fewer."""
    identity_weight: float = 0.6
    """Weight of -log p of the identity under the mixture."""
    expression_weight: float = 1.0
    """Weight of the squared expression coefficients."""
    range_weight: float = 60.0
    """Weight of the squared excess of expression coefficients outside 0 to 1."""
    joint_weight: float = 8.0
    """Weight of the squared rotation of the head against the neck, radians."""
    eye_weight: float = 6.0
    """Weight of the squared rotation of the eyes, radians; about the gaze a hundred times more."""
    temporal_weight: float = 0.1
    """Weight of the squared motion of landmarks between frames, in units of 1 % of the face."""
    smoothness_weight: float = 1.0
    """Weight of the squared change of expression between frames."""
    focal_weight: float = 2.0
    """Weight of the squared logarithm of the focal length over its start."""
    key_frames: int = 40
    """Frames from which identity and focal length are solved before the whole shot is."""
    iterations: int = 25
    """Most Levenberg-Marquardt iterations of each stage."""
    tolerance: float = 1e-4
    """A stage ends when an iteration lowers the cost by less than this share."""
    largest_gap: int = 8
    """Frames without a face over which motion is still smoothed."""


@dataclass(frozen=True)
class FrameFit:
    """One fitted frame with a given identity and focal length."""

    expression: Array
    """(52,)"""
    rotations: Array
    """(4,3) rotation vectors of neck, head, left and right eye."""
    translation: Array
    """(3,) metres."""
    focal_px: float
    cost: float


@dataclass(frozen=True)
class ShotFit:
    """A fitted shot of F frames."""

    identity: Array
    """(100,)"""
    expression: Array
    """(F,52)"""
    rotations: Array
    """(F,4,3) rotation vectors."""
    translation: Array
    """(F,3) metres."""
    focal_px: float
    found: NDArray[np.bool_]
    """(F,) frames with landmarks; the others are carried by the temporal terms."""
    cost_history: tuple[float, ...]
    """Cost after every accepted step of the last stage."""
