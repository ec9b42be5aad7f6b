"""How steadily landmarks move: jitter, regions of interest, velocities against the truth."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from backend.detect.windows import roi

LEAST_MOVE_PX = 0.25
"""True moves below this are left out of equation 11, which divides by them."""
_CUT = 0.5
"""Sides of the region of interest that a face moves from frame to frame only at a cut, or where
somebody else's is taken for it."""
_SAME_PERSON = 0.5
"""Faces that an exchange of people must save in distance to be one."""
_SAME_FACE = 0.5
"""Intersection over union of boxes above which two tracks are on one face."""


@dataclass(frozen=True)
class TemporalError:
    """Equation 11 of Chandran et al. (Infinite 3D Landmarks), and variants of it."""

    signed: float
    """As printed: the mean of (predicted move - true move) / true move. Too much and too little
    motion cancel; noise that adds to a small move always counts as too much."""
    absolute: float
    """The mean of its magnitude, where nothing cancels."""
    pooled: float
    """The sum of all magnitudes over the sum of all true moves, none left out."""
    left_out: float
    """Share of the moves that were too small to divide by."""


def second_difference(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(F-2,...) of values (F,...): 0 for what moves at a constant velocity."""
    return values[2:] - 2 * values[1:-1] + values[:-2]


def jitter(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Second difference of landmarks, in percent of the face, for each run of three frames.

    points: (F,68,2) px, NaN where the face was not found. Returns (F-2,) means over the landmarks,
    over the median distance of the outer eye corners in the clip (which, unlike each frame's, does
    not vanish in profile); NaN where a frame lacks the face, or where a cut is among the three.
    """
    if len(points) < 3 or not np.isfinite(points).any():
        return np.full(max(0, len(points) - 2), np.nan)
    eyes = np.nanmedian(np.linalg.norm(points[:, 45] - points[:, 36], axis=-1))
    values = 100 * np.linalg.norm(second_difference(points), axis=-1).mean(1) / eyes
    smooth = ~_cuts(points)
    return np.where(smooth[1:] & smooth[:-1], values, np.nan)


def roi_jitter(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Second differences of the region of interest's centre and side, in percent of the side.

    points: (F,68,2) px, NaN where the face was not found; returns two of (F-2,), NaN as `jitter`.
    """
    if len(points) < 3:
        return np.full(0, np.nan), np.full(0, np.nan)
    regions = _regions(points)
    smooth = ~_cuts(points)
    change = 100 * second_difference(regions) / regions[1:-1, 2:]
    change[~(smooth[1:] & smooth[:-1])] = np.nan
    return np.linalg.norm(change[:, :2], axis=-1), np.abs(change[:, 2])


def temporal_error(
    predicted: NDArray[np.float64],
    truth: NDArray[np.float64],
    least_move_px: float = LEAST_MOVE_PX,
) -> TemporalError:
    """Equation 11 for landmarks (F,N,2) px against the true ones (F,N,2).

    E = 1/(NT) sum over t and k of (|p_k^(t+1) - p_k^t| - |g_k^(t+1) - g_k^t|) / |g_k^(t+1) - g_k^t|

    Frames whose prediction is NaN give no move. The equation has no value where the true landmark
    rests, and means little where its move is far below what can be seen, so moves under
    `least_move_px` are left out.
    """
    move = np.linalg.norm(np.diff(predicted, axis=0), axis=-1)
    true_move = np.linalg.norm(np.diff(truth, axis=0), axis=-1)
    seen = np.isfinite(move)
    move, true_move = move[seen], true_move[seen]
    if not len(move):
        return TemporalError(np.nan, np.nan, np.nan, np.nan)
    excess, used = move - true_move, true_move >= least_move_px
    ratio = excess[used] / true_move[used]
    total = float(true_move.sum())
    return TemporalError(
        signed=float(ratio.mean()) if used.any() else np.nan,
        absolute=float(np.abs(ratio).mean()) if used.any() else np.nan,
        pooled=float(np.abs(excess).sum()) / total if total > 0 else np.nan,
        left_out=float((~used).mean()),
    )


def losses(found: NDArray[np.bool_]) -> int:
    """How many times a track that had the face (F,) no longer had it in the next frame."""
    return int((found[:-1] & ~found[1:]).sum())


def identity_switches(tracks: NDArray[np.float64]) -> int:
    """How many times tracks (T,F,68,2), NaN where not found, exchanged their faces.

    Judged by place: a switch is a frame in which the faces lie where other people last were, and
    not where their own did, by at least half a face. People who cross between two frames, or while
    both are out of sight, escape it.
    """
    centres, sizes = tracks.mean(axis=2), np.ptp(tracks, axis=2).max(axis=-1)
    last = np.full((len(tracks), 2), np.nan)
    person = np.arange(len(tracks))
    switches = 0
    for frame in range(tracks.shape[1]):
        here = np.flatnonzero(np.isfinite(sizes[:, frame]))
        distance = np.linalg.norm(centres[here, frame][:, None] - last[None], axis=-1)
        if np.isfinite(distance).all() and len(here):
            rows, columns = linear_sum_assignment(distance)
            straight = distance[np.arange(len(here)), person[here]].sum()
            gain = straight - distance[rows, columns].sum()
            if gain > _SAME_PERSON * sizes[here, frame].mean():
                switches += 1
                others = [p for p in person if p not in columns]
                person[here] = columns
                person[np.isin(np.arange(len(tracks)), here, invert=True)] = others
        last[person[here]] = centres[here, frame]
    return switches


def merged_frames(tracks: NDArray[np.float64]) -> int:
    """Frames in which two of the tracks (T,F,68,2) are on one face."""
    low, high = tracks.min(axis=2), tracks.max(axis=2)
    area = (high - low).prod(axis=-1)
    merged = np.zeros(tracks.shape[1], bool)
    for a, b in combinations(range(len(tracks)), 2):
        size = np.minimum(high[a], high[b]) - np.maximum(low[a], low[b])
        inside = np.clip(size, 0, None).prod(axis=-1)
        merged |= inside / (area[a] + area[b] - inside) > _SAME_FACE
    return int(merged.sum())


def _regions(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(F,3) centre and side of the region of interest in each frame, NaN where there is none."""
    regions = np.full((len(points), 3), np.nan)
    for frame in np.flatnonzero(np.isfinite(points).all((1, 2))):
        window = roi(points[frame])
        regions[frame] = window.x, window.y, window.side
    return regions


def _cuts(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(F-1,) whether between a frame and the next the face is elsewhere altogether."""
    regions = _regions(points)
    moved = np.linalg.norm(np.diff(regions[:, :2], axis=0), axis=-1)
    return moved > _CUT * regions[:-1, 2]
