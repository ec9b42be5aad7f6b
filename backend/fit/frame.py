"""One frame at a time, identity and focal length given: previews while a shot streams in."""

from __future__ import annotations

import math
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backend.errors import BadInputError, NoFaceError
from backend.geometry.cameras import focal_from_field_of_view
from backend.head import Head
from backend.head.landmarks import layout

from .behind_lips import behind_lips
from .observations import undistort
from .posed_points import PosedPoints
from .realtime.energy import FrameEnergy, FrameState, minimise_frame
from .realtime.fitter import LEAST_SEEN, cold_start, frame_fit
from .realtime.points import FramePoints
from .realtime.step import observe
from .realtime.turning import exponential
from .settings import FitSettings, FrameFit

COLD_ITERATIONS, FRAME_ITERATIONS = 8, 5
# The last frame's fit is a good start while it lies within this share of the face's size.
NEAR_ENOUGH = 0.15
# A preview does not need the last per mille.
TOLERANCE = 3e-3

_cache: WeakKeyDictionary[Head, dict[str, FramePoints]] = WeakKeyDictionary()


def fit_frame(
    head: Head, layout_name: str, landmarks_2d: ArrayLike, landmark_sigma: ArrayLike,
    image_size: tuple[int, int], settings: FitSettings | None = None,
    previous: FrameFit | None = None, identity: ArrayLike | None = None,
) -> FrameFit:  # fmt: skip
    """Fit pose and expression of one frame, with landmarks (L,2) and their sigma (L,) in pixels.

    previous: the last frame's fit, where this one starts unless the face has jumped; identity
    (100,), the mean where None. The focal length is the settings', or that of the starting field
    of view. Lids and lips are not kept out of what they touch. Raises: NoFaceError where too few
    landmarks are finite, BadInputError.
    """
    settings = settings or FitSettings()
    if settings.focal_px is not None and not 0 < settings.focal_px < math.inf:
        raise BadInputError(f"a focal length of {settings.focal_px} px: it must be positive")
    seen, given = np.asarray(landmarks_2d, np.float64), np.asarray(landmark_sigma, np.float64)
    count = len(layout(layout_name))
    if seen.shape != (count, 2) or given.shape != (count,):
        raise BadInputError(f"landmarks {seen.shape} and sigma {given.shape} of {count} points")
    width, height = image_size
    focal = settings.focal_px or focal_from_field_of_view(
        math.radians(settings.field_of_view_deg), width
    )
    centre = np.array(settings.principal_point or ((width - 1) / 2, (height - 1) / 2))
    if any(settings.distortion):
        seen = undistort(seen, centre, focal, settings.distortion)
    given = np.where(behind_lips(head, layout_name), np.inf, given)
    seen, precision, size = observe(seen, given, settings.sigma_floor, LEAST_SEEN)
    if size < 0:
        raise NoFaceError("the frame has no face to fit")
    points = _points(head, layout_name)
    if identity is not None:
        points = points.of_person(np.asarray(identity, np.float64))
    energy = FrameEnergy.of(
        points, settings, focal, centre, seen, precision, settings.robust_sigmas
    )
    state = None if previous is None else _resume(energy, previous, size)
    if state is None:
        found = cold_start(energy, COLD_ITERATIONS)
    else:
        found = minimise_frame(energy, state, FRAME_ITERATIONS, TOLERANCE)
    if not math.isfinite(found.cost):
        raise NoFaceError("the landmarks are no face's")
    return frame_fit(found.state, focal, found.cost)


def _resume(energy: FrameEnergy, previous: FrameFit, size: float) -> FrameState | None:
    """The last frame's parameters as a start; None where they are too far off."""
    state = FrameState(
        previous.expression.astype(np.float64), _rotmat(previous.rotations),
        previous.translation.astype(np.float64),
    )  # fmt: skip
    away = np.linalg.norm(energy.pixels(state) - energy.landmarks_2d, axis=1)
    known = energy.precision > 0
    return state if float(np.median(away[known])) < NEAR_ENOUGH * size else None


def _rotmat(rotations: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.stack([exponential(rotvec) for rotvec in rotations.astype(np.float64)])


def _points(head: Head, layout_name: str) -> FramePoints:
    """A head's landmark points, kept for the next frame: gathering them takes longer than a fit."""
    kept = _cache.setdefault(head, {})
    if layout_name not in kept:
        kept[layout_name] = FramePoints.of(PosedPoints.of(head, layout(layout_name)))
    return kept[layout_name]
