"""Points that an artist has set, as landmarks that are certain on the frames where they were."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from backend.errors import BadInputError
from backend.head import Head
from backend.head.landmarks import layout

from .observations import undistort
from .posed_points import PosedPoints
from .settings import Constraints, FitSettings, Pin
from .terms import Target

# Pins are never outvoted.
FIRM = 1e4


@dataclass(frozen=True)
class ArtistConstraints(Constraints):
    """Constraints with frames in which the face is at rest."""

    neutral_frames: tuple[int, ...] = ()
    """Rows whose expressions are all 0."""


def locate_pins(head: Head, points: PosedPoints, pins: tuple[Pin, ...]) -> PosedPoints:
    """The points with one more for every pin; raises BadInputError for names that are none."""
    every = layout("dense703")
    corners, weights = [], []
    for pin in pins:
        kind, _, number = pin.point.partition("/")
        if pin.point in every.names:
            at = every.names.index(pin.point)
            corners.append(every.vertices[at])
            weights.append(every.barycentric[at])
        elif kind == "vertex" and number.isdigit() and int(number) < head.n_vertices:
            corners.append(np.full(3, int(number)))
            weights.append(np.array([1.0, 0.0, 0.0]))
        else:
            raise BadInputError(f"{pin.point!r} is no point of the head: ibug68/30, or vertex/123")
    own = PosedPoints.at(
        head, torch.from_numpy(np.stack(corners)), torch.from_numpy(np.stack(weights))
    )
    return replace(
        points,
        template=torch.cat([points.template, own.template]),
        expression_basis=torch.cat([points.expression_basis, own.expression_basis]),
        identity_basis=torch.cat([points.identity_basis, own.identity_basis]),
        skin=torch.cat([points.skin, own.skin]),
    )


def add_pins(
    target: Target, pins: tuple[Pin, ...], centres: NDArray[np.float64],
    focal_px: NDArray[np.float64], settings: FitSettings,
) -> Target:  # fmt: skip
    """The target with one more landmark for every pin; raises BadInputError for other frames."""
    frames, cameras = target.landmarks_2d.shape[:2]
    count = len(pins)
    landmarks = target.landmarks_2d.new_zeros(frames, cameras, count, 2)
    certainty = landmarks.new_zeros(frames, cameras, count)
    for i, pin in enumerate(pins):
        if not (0 <= pin.frame < frames and 0 <= pin.camera < cameras):
            raise BadInputError(f"a pin on frame {pin.frame}, camera {pin.camera}: there is none")
        position = np.asarray(pin.position, np.float64)
        if any(settings.distortion):
            position = undistort(
                position, centres[pin.camera], focal_px[pin.camera], settings.distortion
            )
        landmarks[pin.frame, pin.camera, i] = landmarks.new_tensor(position)
        # The landmark term's weight is for landmarks that err together; a pin stands for itself.
        gain = settings.landmark_weight**-0.5
        certainty[pin.frame, pin.camera, i] = gain / (pin.sigma_px or settings.pin_sigma_px)
    if target.precision.ndim == 5:
        certainty = certainty[..., None, None] * torch.eye(2).to(certainty)
    return Target(
        torch.cat([target.landmarks_2d, landmarks], 2),
        torch.cat([target.precision, certainty], 2),
        torch.cat([target.robust, target.robust.new_full((count,), FIRM)]),
    )
