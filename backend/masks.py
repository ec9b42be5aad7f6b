"""Painted masks: landmarks where they are white do not count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backend.errors import BadInputError
from backend.footage import Footage, open_footage

WHITE = 127
"""Brighter pixels are masked."""


def masked_sigma(
    landmarks_2d: NDArray[np.float32], landmark_sigma: NDArray[np.float32],
    frame_index: NDArray[np.int64], mask: Path, image_size: tuple[int, int],
) -> NDArray[np.float32]:  # fmt: skip
    """Deviations (F,L) with those of landmarks (F,L,2) under the mask infinite.

    mask: a picture for all frames; or a sequence or clip, whose frame i is for frame i of the
    footage. It may have another size than image_size (W, H). Raises `BadInputError` for files that
    cannot be read, and for sequences that have no picture for a frame of the shot.
    """
    footage = open_footage(mask)
    sigma = landmark_sigma.copy()
    if footage.n_frames == 1:
        white = _white(next(iter(footage)).image)
        for row in range(len(sigma)):
            sigma[row, _under(landmarks_2d[row], white, image_size)] = np.inf
        return sigma
    rows = {int(frame): row for row, frame in enumerate(frame_index)}
    for frame in _until(footage, max(rows)):
        missing = rows.pop(frame.index, None)
        if missing is not None:
            hidden = _under(landmarks_2d[missing], _white(frame.image), image_size)
            sigma[missing, hidden] = np.inf
    if rows:
        raise BadInputError(
            f"{mask}: has no picture for frame {min(rows)} and {len(rows) - 1} others. Give one "
            "picture for all frames, or a sequence as long as the clip."
        )
    return sigma


def _until(footage: Footage, last: int):  # type: ignore[no-untyped-def]
    for frame in footage:
        yield frame
        if frame.index >= last:
            return


def _white(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return image.astype(np.uint16).sum(-1) > 3 * WHITE


def _under(
    points: NDArray[np.float32], white: NDArray[np.bool_], image_size: tuple[int, int]
) -> NDArray[np.bool_]:
    """(L,) whether points (L,2) lie on white; those outside of the picture do not."""
    height, width = white.shape
    scale = np.array([width / image_size[0], height / image_size[1]])
    with np.errstate(invalid="ignore"):
        pixel = np.nan_to_num(np.round((points + 0.5) * scale - 0.5), nan=-1.0)
    x, y = pixel.astype(np.int64).T
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    result = np.zeros(len(points), bool)
    result[inside] = white[y[inside], x[inside]]
    return result
