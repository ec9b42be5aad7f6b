"""iBUG's 68 points as people mark them, as affine mixes of the dense landmarks."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backend.errors import MissingWeightsError

MARKUP_FILE = Path(__file__).parent / "weights" / "ibug68_markup.npz"
"""Learned from portraits by ``backend.train.markup``."""


@lru_cache(maxsize=1)
def _markup() -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    try:
        with np.load(MARKUP_FILE) as data:
            points, indices = (data[name].astype(np.int64) for name in ("points", "indices"))
            return points, indices, data["weights"].astype(np.float64)
    except OSError as error:
        raise MissingWeightsError(f"{MARKUP_FILE} is missing: install mien again.") from error


def as_marked(
    landmarks_2d: NDArray[np.float32], sigma: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """iBUG's 68 points (68,2) and their sigma (68,) from dense320 landmarks (320,2), (320,).

    Most are dense landmarks themselves. Brows, nose and inner lips are mixes of their neighbours,
    where people mark them; their sigma is the mix of the neighbours' sigmas,
    whose errors are nearly one and the same.
    """
    points, spread = landmarks_2d[:68].copy(), sigma[:68].copy()
    rows, indices, weights = _markup()
    points[rows] = (landmarks_2d[indices] * weights[..., None]).sum(axis=1)
    share = np.abs(weights) / np.abs(weights).sum(axis=1, keepdims=True)
    spread[rows] = (sigma[indices] * share).sum(axis=1)
    return points, spread
