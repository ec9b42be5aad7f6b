"""Covers that go on in time: what one frame alone shows of them is doubted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from backend.bake.visibility import VISIBLE

REACH = 0.05
"""Metres on the head that a cover may be apart between two frames to be the same thing: a hand
moves at more than a metre a second, and the head turns under it."""
JOINED = 0.003
"""Metres within which vertices of different parts (an eye and its lids) are one region."""
WEAK = 0.35
"""The least that counts as covered in another frame."""


def steady_in_time(
    covered: NDArray[np.float32], points: NDArray[np.float32], faces: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Make covers steady: (F, N) 0 to 1 in, (F, N) out.

    A covered region stays where any of it lies within `REACH` of what is at least weakly covered in
    the frame before or after: whole, for what moves fast covers other places there. A vertex that
    is covered in both of these is covered in between. points: (N, 3) metres, the head at rest, so
    that distances are the same in dense and coarse parts of the mesh. faces: (T, 3).
    """
    value = np.asarray(covered, np.float32)
    if len(value) < 3:
        return value
    graph = _neighbours(points, faces)
    result = np.empty_like(value)
    last = len(value) - 1
    for frame, row in enumerate(value):
        others = [value[other] for other in (frame - 1, frame + 1) if 0 <= other <= last]
        sure = row >= VISIBLE
        kept = np.zeros_like(sure)
        kept[sure] = _goes_on(sure, others, points, graph)
        if len(others) == 2:
            kept |= (others[0] >= VISIBLE) & (others[1] >= VISIBLE)
        # A soft value on the right side of the threshold.
        result[frame] = np.where(kept, np.maximum(row, 0.55), np.minimum(row, 0.45))
    return result


def _neighbours(points: NDArray[np.float32], faces: NDArray[np.int64]) -> sparse.csr_matrix:
    """(N, N): which vertices belong together where both are covered."""
    near = cKDTree(points).query_pairs(JOINED, output_type="ndarray")
    rows = np.concatenate((faces[:, [0, 1, 2]].ravel(), near[:, 0]))
    columns = np.concatenate((faces[:, [1, 2, 0]].ravel(), near[:, 1]))
    ones = np.ones(len(rows), np.int8)
    return sparse.csr_matrix((ones, (rows, columns)), (len(points), len(points)))


def _goes_on(
    sure: NDArray[np.bool_],
    others: list[NDArray[np.float32]],
    points: NDArray[np.float32],
    graph: sparse.csr_matrix,
) -> NDArray[np.bool_]:
    """Which of the n sure vertices (N,) bool belong to a region that another frame knows: (n,)."""
    place = points[sure]
    known = np.zeros(len(place), bool)
    for other in others:
        there = other >= WEAK
        if there.any() and len(place):
            distance, _ = cKDTree(points[there]).query(place, distance_upper_bound=REACH)
            known |= np.isfinite(distance)
    if not known.any():
        return known
    count, region = connected_components(graph[sure][:, sure], directed=False)
    goes_on: NDArray[np.bool_] = np.bincount(region[known], minlength=count)[region] > 0
    return goes_on
