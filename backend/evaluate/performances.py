"""Landmarks of rendered performances against the true ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backend.detect.markup import as_marked
from backend.evaluate.followers import Followed
from backend.evaluate.motion import TemporalError, temporal_error
from backend.evaluate.truth import read_truth
from backend.head import Head
from backend.head.landmarks import layout

_LAYOUT = "dense320"


@dataclass(frozen=True)
class Performance:
    """Where the landmarks of F frames truly are, pixels."""

    surface: NDArray[np.float64]
    """(F,320,2) points of the surface."""
    marked: NDArray[np.float64]
    """(F,68,2) as people mark them; the jaw's 17 are points of the surface, not its silhouette."""


def true_landmarks(truth_file: Path) -> Performance:
    """The landmarks of a performance from its truth (see `read_truth`)."""
    truth = read_truth(truth_file, Head.load())
    points = layout(_LAYOUT)
    corners = truth.vertices[:, points.vertices].astype(np.float64)
    landmarks = (corners * points.barycentric[..., None]).sum(2) @ truth.K.T
    surface = landmarks[..., :2] / landmarks[..., 2:]
    sigma = np.ones(surface.shape[1], np.float32)
    marked = np.stack([as_marked(frame.astype(np.float32), sigma)[0] for frame in surface])
    return Performance(surface, marked.astype(np.float64))


def temporal_figures(followed: Followed, performance: Performance) -> dict[str, float]:
    """Equation 11 over the inner 51 points, as people mark them, so that all systems compare.

    `_surface`: over the 320 points of the surface, of detectors that give these.
    """
    points = followed.tracks()[0]
    result = _named(temporal_error(points[:, 17:], performance.marked[: len(points), 17:]), "")
    result["temporal_frames_found"] = float(np.isfinite(points).all((1, 2)).sum())
    if any(face is not None and face.layout == _LAYOUT for face in followed.faces):
        missing = np.full(performance.surface.shape[1:], np.nan)
        own = np.stack([missing if f is None else f.landmarks_2d for f in followed.faces])
        result |= _named(temporal_error(own, performance.surface[: len(own)]), "_surface")
    return result


def _named(error: TemporalError, suffix: str) -> dict[str, float]:
    return {
        f"temporal_error{suffix}": error.signed,
        f"temporal_error_absolute{suffix}": error.absolute,
        f"temporal_error_pooled{suffix}": error.pooled,
        f"temporal_left_out_percent{suffix}": 100 * error.left_out,
    }
