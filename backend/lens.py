"""The stage that asks the skin's own features for the lens, and fits the shot to it again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from backend.fit import FitSettings, ShotFit
from backend.fit.tracks import FeatureSettings, FocalSolve, focal_from_skin, spread_rows
from backend.footage import Footage
from backend.head import Head
from backend.stages import Observations, Reporter

LANDMARKS_SD = 0.25
"""Deviation of the logarithm of a focal length fitted to a detector's landmarks, as measured on
rendered people (docs/fitting.md); the fit's own curvature knows nothing of the detector's bias."""

LEAST_ROWS = 12
"""Frames with a face below which a head has hardly turned."""


def lens_from_skin(
    head: Head, shot: Observations, footage: Footage, fit: ShotFit, settings: FitSettings,
    refit: Callable[[FitSettings, ShotFit], ShotFit], report: Reporter,
) -> ShotFit:  # fmt: skip
    """The fit with the focal length that landmarks and skin features give together.

    Reads the footage once more. The fit comes back as it is where the focal length is known or
    changes, and where the features cannot tell it.

    Args: head, fit: the first fit and the head it was made with; settings: those of the fit;
    refit: solves the shot from an earlier fit.
    """
    if settings.focal_px is not None or settings.zoom or shot.found.sum() < LEAST_ROWS:
        return fit
    width, height = footage.image_size
    centre = settings.principal_point or ((width - 1) / 2, (height - 1) / 2)
    features = FeatureSettings()
    rows = spread_rows(shot.found, features.frames)
    said = focal_from_skin(head, fit, _pictures(footage, shot, rows, report), centre, features)
    if said is None or not said.determined:
        return fit
    focal_px, sd = combined(fit.focal_px, said)
    solved = refit(replace(settings, focal_px=focal_px), fit)
    return replace(solved, focal_sd_percent=100.0 * sd)


def combined(landmarks_px: float, said: FocalSolve) -> tuple[float, float]:
    """Focal length in pixels from landmarks and features, and its logarithm's deviation."""
    features, prior = (0.01 * said.sd_percent) ** -2, LANDMARKS_SD**-2
    log_focal = features * math.log(said.focal_px) + prior * math.log(landmarks_px)
    return math.exp(log_focal / (features + prior)), (features + prior) ** -0.5


def _pictures(
    footage: Footage, shot: Observations, rows: NDArray[np.int64], report: Reporter
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    wanted = {int(shot.frame_index[row]): int(row) for row in rows}
    last = max(wanted)
    for frame in footage:
        report.check()
        if frame.index in wanted:
            yield wanted[frame.index], frame.image
        if frame.index >= last:
            return
