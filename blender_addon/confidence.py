# SPDX-License-Identifier: GPL-3.0-or-later
"""How sure the solve is of each frame, and the colours that show it; knows no bpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

GOOD, POOR = 0.02, 0.06
"""Deviation of the landmarks, as a share of the face's size, that is fully and not at all sure."""

STOPS = (0.0, 0.35, 0.7, 1.0)
COLOURS = (
    (0.85, 0.15, 0.12, 0.95),
    (0.95, 0.55, 0.10, 0.90),
    (0.75, 0.75, 0.20, 0.60),
    (0.20, 0.60, 0.30, 0.35),
)
"""From poor, which is to be seen at once, to good, which is to be left alone."""

LOST_COLOUR = (0.35, 0.05, 0.30, 1.0)
"""No face was found: the head is carried over."""


def frame_confidence(
    landmarks_2d: NDArray[np.float32] | None, sigma: NDArray[np.float32] | None, found: bool
) -> float:
    """Return 0 (look here) to 1 (sure) of one frame.

    landmarks_2d (L, 2) and sigma (L,) in pixels: the detector's points and standard deviations.
    Their 75th percentile counts, as a share of the size of the face in the picture, so that a
    hand over a quarter of it is seen. 1 where the face was found and nothing else is known.
    """
    if not found:
        return 0.0
    if landmarks_2d is None or sigma is None or not len(sigma) or not np.isfinite(sigma).any():
        return 1.0
    known = np.isfinite(sigma) & np.isfinite(landmarks_2d).all(-1)
    if not known.any():
        return 1.0
    spread = np.ptp(landmarks_2d[known], axis=0)
    size = float(np.hypot(*spread)) / np.sqrt(2.0)
    if size <= 0.0:
        return 1.0
    share = float(np.percentile(sigma[known], 75)) / size
    return float(np.clip((POOR - share) / (POOR - GOOD), 0.0, 1.0))


def confidence_colours(
    confidence: ArrayLike, found: ArrayLike | None = None
) -> NDArray[np.float32]:
    """Return RGBA (F, 4), 0 to 1, of confidences (F,); found (F,) bool, all where None."""
    values = np.clip(np.nan_to_num(np.asarray(confidence, np.float64)), 0.0, 1.0)
    stops = np.array(COLOURS)
    colours = np.stack([np.interp(values, STOPS, stops[:, part]) for part in range(4)], -1)
    if found is not None:
        colours[~np.asarray(found, bool)] = LOST_COLOUR
    return colours.astype(np.float32)


def strip_runs(
    frames: ArrayLike, colours: NDArray[np.float32], levels: int = 24
) -> list[tuple[float, float, tuple[float, ...]]]:
    """Join neighbouring frames of like colour: (start, end, RGBA) in frames, ascending.

    A frame covers half a frame on either side of it; a gap between frames stays empty. levels:
    colours are told apart in this many steps, so that a long shot needs few quads.
    """
    numbers = np.asarray(frames, np.float64)
    if not len(numbers):
        return []
    steps = np.rint(colours * levels).astype(np.int64)
    changed = (np.diff(numbers) > 1.0) | (np.diff(steps, axis=0) != 0).any(-1)
    starts = np.concatenate(([0], np.flatnonzero(changed) + 1))
    ends = np.concatenate((starts[1:], [len(numbers)])) - 1
    return [
        (float(numbers[a]) - 0.5, float(numbers[b]) + 0.5, tuple(map(float, colours[a])))
        for a, b in zip(starts, ends, strict=True)
    ]


def worst_frames(
    frames: ArrayLike, confidence: ArrayLike, below: float = 0.5
) -> list[tuple[int, int]]:
    """Return runs (first, last) of neighbouring frames whose confidence is below a level."""
    numbers = np.asarray(frames, np.int64)
    poor = numbers[np.asarray(confidence, np.float64) < below]
    if not len(poor):
        return []
    breaks = np.flatnonzero(np.diff(poor) > 1)
    starts = np.concatenate(([0], breaks + 1))
    ends = np.concatenate((breaks, [len(poor) - 1]))
    return [(int(poor[a]), int(poor[b])) for a, b in zip(starts, ends, strict=True)]
