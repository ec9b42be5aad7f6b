"""Painted masks: landmarks where they are white do not count."""

from __future__ import annotations

import hashlib
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
    sigma = landmark_sigma.copy()
    sigma[hidden_landmarks(landmarks_2d, frame_index, mask, image_size)] = np.inf
    return sigma


def hidden_landmarks(
    landmarks_2d: NDArray[np.float32], frame_index: NDArray[np.int64], mask: Path,
    image_size: tuple[int, int],
) -> NDArray[np.bool_]:  # fmt: skip
    """(F,L) which landmarks (F,L,2) lie under the mask; see `masked_sigma`."""
    footage = open_footage(mask)
    hidden = np.zeros(landmarks_2d.shape[:2], bool)
    if footage.n_frames == 1:
        white = _white(next(iter(footage)).image)
        for row, points in enumerate(landmarks_2d):
            hidden[row] = _under(points, white, image_size)
        return hidden
    rows = {int(frame): row for row, frame in enumerate(frame_index)}
    for frame in _until(footage, max(rows)):
        missing = rows.pop(frame.index, None)
        if missing is not None:
            hidden[missing] = _under(landmarks_2d[missing], _white(frame.image), image_size)
    _check_covers(mask, set(rows))
    return hidden


def check_mask(mask: Path, frames: NDArray[np.int64]) -> None:
    """Raise `BadInputError` for a mask that cannot be read or lacks some frames (F,)."""
    footage = open_footage(mask)
    if footage.n_frames > 1:
        _check_covers(mask, {*frames.tolist()} - {*footage.frame_numbers()})


def _check_covers(mask: Path, missing: set[int]) -> None:
    if missing:
        others = f" and {len(missing) - 1} others" if len(missing) > 1 else ""
        raise BadInputError(
            f"{mask}: has no picture for frame {min(missing)}{others}. Give one picture for all "
            "frames, or a sequence as long as the clip."
        )


_last: tuple[tuple[object, ...], NDArray[np.bool_]] | None = None


def hidden_again(
    landmarks_2d: NDArray[np.float32], frame_index: NDArray[np.int64], mask: Path,
    image_size: tuple[int, int],
) -> NDArray[np.bool_]:  # fmt: skip
    """`hidden_landmarks`, remembered: a shot is solved again and again under one mask."""
    global _last
    digest = hashlib.blake2b(np.ascontiguousarray(landmarks_2d).tobytes()).digest()
    key = (str(mask), _newest(mask), digest, frame_index.tobytes(), image_size)
    if _last is None or _last[0] != key:
        _last = key, hidden_landmarks(landmarks_2d, frame_index, mask, image_size)
    return _last[1]


def _newest(mask: Path) -> tuple[float, ...]:
    """Times of the files that a mask is made of, so that one written anew is read anew."""
    files = [mask]
    if not mask.is_file():
        # A folder, or a name with ### in it.
        files = sorted(mask.iterdir() if mask.is_dir() else mask.parent.glob(f"*{mask.suffix}"))
    return tuple(file.stat().st_mtime for file in files)


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
