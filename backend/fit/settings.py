"""Settings and results of the fit."""

from __future__ import annotations

from dataclasses import dataclass, replace

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
    """Weight of the landmark term: neighbouring landmarks err together, and do so for many frames,
    so that 320 count as fewer."""
    independent_weight: float = 1.0
    """The same where all of the error changes from frame to frame; see `start.whiteness`."""
    identity_weight: float = 1.0
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
    """Weight of the squared motion of landmarks between frames, beyond that of the whole face, in
    units of 1 % of the face."""
    temporal_robust: float = 3.0
    """Such motion, in these units, beyond which more counts less: lids shut within a frame."""
    smoothness_weight: float = 1.0
    """Weight of the squared change of expression between frames."""
    smoothness_robust: float = 0.3
    """Change of an expression beyond which more counts less."""
    focal_weight: float = 2.0
    """Weight of the squared logarithm of the focal length over its start."""
    principal_point: tuple[float, float] | None = None
    """Pixels; the image's centre where not given."""
    distortion: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """K1, K2, K3 of the radial polynomial of Blender's movie clip; landmarks are undistorted."""
    zoom: bool = False
    """Whether the focal length may change within the shot, smoothly."""
    zoom_weight: float = 2.0
    """Weight of the squared logarithm of a frame's focal length over the shot's."""
    zoom_smoothness: float = 2e4
    """Weight of its squared change from frame to frame: one deviation is half a per cent."""
    intersection_weight: float = 20.0
    """Weight of the squared depth, in millimetres, of lids in eyeballs and lips in teeth."""
    correction_mm: float = 2.0
    """Deviation of the free-form correction of the person's head; 0 for none."""
    offset_mm: float = 2.0
    """Deviation of every landmark, along each axis, from where the head has it; 0 for none."""
    pin_sigma_px: float = 0.5
    """Deviation of points that an artist has pinned."""
    key_frames: int = 40
    """Frames from which identity and focal length are solved before the whole shot is."""
    iterations: int = 25
    """Most Levenberg-Marquardt iterations of each stage."""
    tolerance: float = 1e-4
    """A stage ends when an iteration lowers the cost by less than this share."""
    largest_gap: int = 8
    """Frames without a face over which motion is still smoothed."""


@dataclass(frozen=True)
class Pin:
    """A point of the head that an artist has set in a frame."""

    frame: int
    """Row of the shot."""
    point: str
    """Name of a landmark, such as ``ibug68/30``, or ``vertex/123``."""
    position: tuple[float, float]
    """Pixels, distorted as the footage is."""
    camera: int = 0
    sigma_px: float | None = None
    """Its deviation; `FitSettings.pin_sigma_px` where not given."""


@dataclass(frozen=True)
class Constraints:
    """What an artist knows of a shot."""

    pins: tuple[Pin, ...] = ()
    ignored_frames: tuple[int, ...] = ()
    """Frames whose landmarks do not count."""
    masked: NDArray[np.bool_] | None = None
    """(F,L) or (F,C,L) landmarks that do not count, such as those under a painted mask."""
    expression_ranges: tuple[tuple[str, float, float], ...] = ()
    """Name, least and largest coefficient."""
    identity: Array | None = None
    """(100,) of a person who is known: held."""
    correction: Array | None = None
    """(N,3) displacement of that person's head, metres."""


@dataclass(frozen=True)
class Rig:
    """C cameras about one another; maps from the first camera's frame to each."""

    rotmat: NDArray[np.float64]
    """(C,3,3)"""
    translation: NDArray[np.float64]
    """(C,3) metres."""
    focal_px: NDArray[np.float64] | None = None
    """(C,) where they are known or were solved."""


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
    correction: Array | None = None
    """(N,3) metres added to the mean head: what the identity's coefficients leave undone."""
    joint_correction: Array | None = None
    """(4,3) metres, of the joints' centres."""
    zoom: Array | None = None
    """(F,) focal length of a frame over `focal_px`, where it may change."""
    focal_sd_percent: float = 0.0
    """Deviation of the focal length under the energy's curvature; 0 where it was given."""
    rig: Rig | None = None
    """Of several cameras."""

    def seen_with(self, focal_px: float) -> ShotFit:
        """The same with another focal length, and the head as large in the picture as it was."""
        nearer = np.array([1.0, 1.0, focal_px / self.focal_px], np.float32)
        return replace(self, focal_px=focal_px, translation=self.translation * nearer)
