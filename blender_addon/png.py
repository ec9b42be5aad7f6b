# SPDX-License-Identifier: GPL-3.0-or-later
"""PNG files and Blender's pixels from arrays, made in threads: Blender's own encoder and decoder
stop the interface; no bpy."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

_COLOUR_TYPE = {1: 0, 3: 2, 4: 6}
"""PNG's number for grey, RGB and RGBA, by the count of channels."""

_threads: ThreadPoolExecutor | None = None


@dataclass(frozen=True, eq=False)
class Pixels:
    """What Blender's `image.pixels.foreach_set` takes without converting it."""

    size: tuple[int, int]
    """Width and height."""
    values: NDArray[np.float32]
    """(4 * H * W,) RGBA from 0 to 1, the lowest row first."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture on its way into Blender: first what is shown, then what is kept."""

    pixels: Future[Pixels]
    """Its pixels."""
    png: Future[bytes]
    """The same as a PNG file."""


def end_threads() -> None:
    """Let the threads go, once they have done what they are at; they start again when needed."""
    global _threads
    threads, _threads = _threads, None
    if threads is not None:
        threads.shutdown(wait=False, cancel_futures=True)


def finish_threads() -> None:
    """Wait for all that the threads have to do, and for their end; they start again if needed."""
    global _threads
    threads, _threads = _threads, None
    if threads is not None:
        threads.shutdown(wait=True)


def pixels_of(picture: NDArray[np.uint8]) -> Pixels:
    """Return a picture (H, W), (H, W, 3) or (H, W, 4), first row at the top, as Blender's pixels.

    Raises ValueError for other shapes.
    """
    rows = _channels(picture)
    height, width, count = rows.shape
    values = np.empty((height, width, 4), np.float32)
    upright = rows[::-1]
    np.divide(upright if count > 1 else upright.repeat(3, -1), np.float32(255), dtype=np.float32,
              out=values[..., : max(count, 3)])  # fmt: skip
    if count < 4:
        values[..., 3] = 1.0
    return Pixels((width, height), values.reshape(-1))


def picture_later(make: Callable[[], NDArray[np.uint8]]) -> Picture:
    """Start to make a picture (H, W[, C]) in a thread, and to prepare it for Blender."""
    array = _pool().submit(make)
    return Picture(
        _pool().submit(lambda: pixels_of(array.result())),
        _pool().submit(lambda: encode_png(array.result())),
    )


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Return pixels (H, W), (H, W, 3) or (H, W, 4), first row at the top, as a PNG file.

    The fastest compression: it is the time that counts, and most of the gain is in it. Raises
    ValueError for other shapes.
    """
    rows = _channels(pixels)
    height, width, channels = rows.shape
    # Each row starts with the number of its filter; 0 is none.
    filtered = np.zeros((height, 1 + width * channels), np.uint8)
    filtered[:, 1:] = rows.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPE[channels], 0, 0, 0)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", header),
            _chunk(b"IDAT", zlib.compress(filtered, 1)),
            _chunk(b"IEND", b""),
        )
    )


def later(work: Callable[[], T]) -> Future[T]:
    """Do something long in a thread."""
    return _pool().submit(work)


def _pool() -> ThreadPoolExecutor:
    global _threads
    if _threads is None:
        _threads = ThreadPoolExecutor(2, thread_name_prefix="mien-png")
    return _threads


def _channels(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rows = pixels[..., None] if pixels.ndim == 2 else pixels
    if rows.ndim != 3 or rows.shape[2] not in _COLOUR_TYPE or not rows.size:
        raise ValueError(f"pixels must be (H, W), (H, W, 3) or (H, W, 4), got {pixels.shape}")
    return rows


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(data, zlib.crc32(kind))
    return b"".join((struct.pack(">I", len(data)), kind, data, struct.pack(">I", checksum)))
