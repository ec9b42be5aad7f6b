# SPDX-License-Identifier: GPL-3.0-or-later
"""PNG files from arrays, made in a thread: Blender's own encoder stops the interface; no bpy."""

from __future__ import annotations

import struct
import zlib
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

_COLOUR_TYPE = {1: 0, 3: 2, 4: 6}
"""PNG's number for grey, RGB and RGBA, by the count of channels."""

_threads: ThreadPoolExecutor | None = None


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Return pixels (H, W), (H, W, 3) or (H, W, 4), first row at the top, as a PNG file.

    The fastest compression: it is the time that counts, and most of the gain is in it. Raises
    ValueError for other shapes.
    """
    rows = pixels[..., None] if pixels.ndim == 2 else pixels
    if rows.ndim != 3 or rows.shape[2] not in _COLOUR_TYPE or not rows.size:
        raise ValueError(f"pixels must be (H, W), (H, W, 3) or (H, W, 4), got {pixels.shape}")
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


def encode_later(pixels: NDArray[np.uint8]) -> Future[bytes]:
    """Start `encode_png` in a thread. The pixels must not change until it is done."""
    global _threads
    if _threads is None:
        _threads = ThreadPoolExecutor(2, thread_name_prefix="mien-png")
    return _threads.submit(encode_png, pixels)


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(data, zlib.crc32(kind))
    return b"".join((struct.pack(">I", len(data)), kind, data, struct.pack(">I", checksum)))
