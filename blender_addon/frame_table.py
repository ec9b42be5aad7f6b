# SPDX-License-Identifier: GPL-3.0-or-later
"""The frames of a job in tables that grow: an update of a long shot must not collect them anew;
knows no bpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .confidence import frame_confidence
from .shared.messages import FrameResult

F4 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Motion:
    """What moves, by frame of the clip, in ascending order. F frames, at least one."""

    frame_index: NDArray[np.int64]
    """(F,) frame number in the clip, from 0."""
    expression: F4
    """(F, E) weight of each expression."""
    joint_rotations: F4
    """(F, 4, 3) rotation vectors; the first joint's is the root rotation in the camera frame."""
    translation: F4
    """(F, 3) metres, camera frame."""
    focal_px: NDArray[np.float64]
    """(F,) focal length in pixels."""
    found: NDArray[np.bool_]
    """(F,) whether the face was seen."""
    visibility: NDArray[np.uint8] | None = None
    """(F, N) 1 where the camera sees the vertex; None until it is known."""
    soft_visibility: NDArray[np.uint8] | None = None
    """(F, N) the same as a soft value, 0 to 255; None where it is not known."""
    confidence: F4 | None = None
    """(F,) 0 to 1, how sure the detector was of the frame; None where it is not known."""


FIRST_ROWS = 256
N_JOINTS = 4


class FrameTable:
    """One row for each frame, in the order of arrival; a final result takes its preview's row."""

    def __init__(self) -> None:
        self._row_of: dict[int, int] = {}
        self._is_sorted = True
        self._n_keys = self._n_vertices = 0
        self._n_seen = self._n_soft = 0
        self._make(0, 0)

    def __len__(self) -> int:
        return len(self._row_of)

    def put(self, frame: FrameResult) -> None:
        """Take in a frame; one whose number of expressions differs from the last empties all."""
        if frame.joint_rotations.shape != (N_JOINTS, 3):
            return
        if len(frame.expression) != self._n_keys:
            self._make(len(frame.expression), 0)
        row = self._row_of.get(frame.frame_index)
        if row is None:
            row = len(self._row_of)
            self._is_sorted &= row == 0 or frame.frame_index > int(self._index[row - 1])
            self._row_of[frame.frame_index] = row
            if row == len(self._index):
                self._grow(2 * row)
        self._index[row] = frame.frame_index
        self._expression[row] = frame.expression
        self._rotations[row] = frame.joint_rotations
        self._translation[row] = frame.translation
        self._focal_px[row] = frame.focal_px
        self._found[row] = frame.found
        self._confidence[row] = frame_confidence(
            frame.landmarks_2d, frame.landmark_sigma, frame.found
        )
        # The scene poses the vertices itself; those of a long shot would fill the memory.
        self._put_visibility(row, frame)

    def motion(self, n_keys: int, n_vertices: int, with_visibility: bool) -> Motion | None:
        """Return the frames of a head, in order; None where there are none of it.

        The visibility, which is large, is not copied: ask for it when no frames follow.
        """
        count = len(self._row_of)
        if not count or n_keys != self._n_keys:
            return None
        rows: slice | NDArray[np.int64] = slice(0, count)
        if not self._is_sorted:
            rows = np.argsort(self._index[:count], kind="stable")
        known = with_visibility and n_vertices == self._n_vertices
        return Motion(
            frame_index=self._index[rows].copy(),
            expression=self._expression[rows].copy(),
            joint_rotations=self._rotations[rows].copy(),
            translation=self._translation[rows].copy(),
            focal_px=self._focal_px[rows].copy(),
            found=self._found[rows].copy(),
            visibility=self._visibility[rows] if known and self._n_seen == count else None,
            soft_visibility=self._soft[rows] if known and self._n_soft == count else None,
            confidence=self._confidence[rows].copy(),
        )

    def _make(self, n_keys: int, n_vertices: int) -> None:
        self._row_of = {}
        self._is_sorted = True
        self._n_keys = n_keys
        self._index = np.empty(FIRST_ROWS, np.int64)
        self._expression = np.empty((FIRST_ROWS, n_keys), np.float32)
        self._rotations = np.empty((FIRST_ROWS, N_JOINTS, 3), np.float32)
        self._translation = np.empty((FIRST_ROWS, 3), np.float32)
        self._focal_px = np.empty(FIRST_ROWS, np.float64)
        self._found = np.empty(FIRST_ROWS, np.bool_)
        self._confidence = np.empty(FIRST_ROWS, np.float32)
        self._make_visibility(n_vertices)

    def _make_visibility(self, n_vertices: int) -> None:
        self._n_vertices = n_vertices
        self._n_seen = self._n_soft = 0
        rows = len(self._index)
        self._visibility = np.empty((rows, n_vertices), np.uint8)
        self._soft = np.empty((rows, n_vertices), np.uint8)
        self._has_seen = np.zeros(rows, np.bool_)
        self._has_soft = np.zeros(rows, np.bool_)

    def _put_visibility(self, row: int, frame: FrameResult) -> None:
        if frame.visibility is not None and len(frame.visibility) != self._n_vertices:
            self._make_visibility(len(frame.visibility))
        has_seen = frame.visibility is not None
        has_soft = has_seen and frame.soft_visibility is not None
        if has_seen:
            self._visibility[row] = frame.visibility
        if has_soft:
            self._soft[row] = frame.soft_visibility
        self._n_seen += int(has_seen) - int(self._has_seen[row])
        self._n_soft += int(has_soft) - int(self._has_soft[row])
        self._has_seen[row], self._has_soft[row] = has_seen, has_soft

    def _grow(self, rows: int) -> None:
        for name in (
            "_index", "_expression", "_rotations", "_translation", "_focal_px", "_found",
            "_confidence", "_visibility", "_soft", "_has_seen", "_has_soft",
        ):  # fmt: skip
            old = getattr(self, name)
            new = np.zeros((rows, *old.shape[1:]), old.dtype)
            new[: len(old)] = old
            setattr(self, name, new)
