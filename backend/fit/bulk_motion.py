"""How the whole face moves in the picture from frame to frame, as landmarks tell it together.

Wood et al.'s temporal term asks for points that rest. A head that turns or walks is then held back,
and most of all in a shot's first and last frame, which only one neighbour draws. Asked for points
that move with the face, the term still holds what trembles, and no longer what travels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
# Of the face's size: what a landmark may move of its own, and what may be a detector's tremble.
OWN_MOTION, TREMBLE = 0.01, 0.004
ROUNDS = 8
# Steps on either side that a step's motion is averaged with, triangularly: a head has inertia.
REACH = 3


def bulk_motion(landmarks_2d: Array, sigma: Array, link: Array, size: Array) -> Array:
    """(F-1,C,L,2) pixels that landmarks go on by if the face moves as one, 0 for a tremble.

    An affine map of the picture for every two linked frames, fitted robustly (Geman and McClure):
    what only lids, lips or covered landmarks do is not in it; then smoothed in time.
    landmarks_2d (F,C,L,2), sigma (F,C,L) pixels, infinite where there is none; link (F-1,), 0
    where frames do not belong together; size (F,C) pixels.
    """
    here, ahead = landmarks_2d[:-1], landmarks_2d[1:]
    seen = np.isfinite(sigma).any(2)
    linked = (link > 0)[:, None] & seen[:-1] & seen[1:]
    with np.errstate(divide="ignore"):
        certain = 1.0 / (sigma[:-1] ** 2 + sigma[1:] ** 2) * linked[..., None]
    unit = size[:-1, :, None]
    middle = here.mean(2, keepdims=True)
    rays = np.concatenate([(here - middle) / unit[..., None], np.ones_like(here[..., :1])], -1)
    moved = (ahead - here) / unit[..., None]
    weight, motion = certain, np.zeros_like(moved)
    for _ in range(ROUNDS):
        turned = np.swapaxes(rays * weight[..., None], -1, -2)
        normal = turned @ rays
        scale = np.trace(normal, axis1=-2, axis2=-1)[..., None, None]
        normal = normal + (1e-9 * scale + 1e-30) * np.eye(3)
        motion = rays @ np.linalg.solve(normal, turned @ moved)
        error = np.square(moved - motion).sum(-1)
        weight = certain / np.square(1.0 + error / OWN_MOTION**2)
    motion = _smooth(motion, linked)
    length = np.square(motion).sum(-1, keepdims=True)
    share = 1.0 - TREMBLE**2 / np.maximum(length, TREMBLE**2)
    return motion * share * unit[..., None]


def _smooth(motion: Array, linked: NDArray[np.bool_]) -> Array:
    """Motion (F-1,C,L,2) averaged with that of the steps around, as far as they are linked."""
    total, weight = (REACH + 1.0) * motion, np.full(linked.shape, REACH + 1.0)
    for way in (1, -1):
        open_ = linked.copy()
        for k in range(1, min(REACH, len(motion) - 1) + 1):
            here, there = (slice(None, -k), slice(k, None))[::way]
            open_[here] &= linked[there]
            (open_[-k:] if way > 0 else open_[:k])[...] = False
            share = (REACH + 1.0 - k) * open_[here]
            total[here] += share[..., None, None] * motion[there]
            weight[here] += share
    return total / weight[..., None, None]
