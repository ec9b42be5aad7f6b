"""The numbered results of a job as an append-only file of records.

A record is a fixed head (magic, number of frames, attempt, size of the rest, CRC-32 of the rest),
the length of each frame, and the frames exactly as they go to the clients. A record that was cut
off when its writer died ends the file: readers stop before it and the next writer removes it.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backend.server.closing import Closing
from shared.codec import Buffer

_HEAD = struct.Struct("<4sIIQI")
_MAGIC = b"MREC"
_LARGEST_RECORD = 1 << 32


class DamagedLogError(Exception):
    """A record that was complete once does not read back as it was written."""


@dataclass(frozen=True)
class Record:
    """One stored result."""

    attempt: int
    """Attempt that produced it."""

    frames: tuple[bytes, ...]
    """The message's frames."""

    @property
    def size(self) -> int:
        """Bytes of all frames."""
        return sum(map(len, self.frames))


class ResultLog(Closing):
    """Reads records by their index, counted from 0; finds those that were added since."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offsets: list[int] = []
        self.end = 0
        self._file = path.open("rb")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def refresh(self, verify: bool = False) -> int:
        """Find the complete records; returns how many there are now.

        verify also checks the content of the new ones, and stops before the first damaged one.
        """
        file_size = os.fstat(self._file.fileno()).st_size
        while self.end + _HEAD.size <= file_size:
            self._file.seek(self.end)
            magic, _, _, size, _ = _HEAD.unpack(self._file.read(_HEAD.size))
            after = self.end + _HEAD.size + size
            if magic != _MAGIC or after > file_size:
                break
            self.offsets.append(self.end)
            if verify:
                try:
                    self.read(len(self.offsets) - 1)
                except DamagedLogError:
                    self.offsets.pop()
                    break
            self.end = after
        return len(self.offsets)

    def read(self, index: int) -> Record:
        """Return one record. Raises DamagedLogError where its checksum is wrong."""
        self._file.seek(self.offsets[index])
        magic, n_frames, attempt, size, checksum = _HEAD.unpack(self._file.read(_HEAD.size))
        if magic != _MAGIC or size > _LARGEST_RECORD or size < 8 * n_frames:
            raise DamagedLogError(f"{self.path}: record {index} has no valid head")
        body = self._file.read(size)
        if len(body) != size or zlib.crc32(body) != checksum:
            raise DamagedLogError(f"{self.path}: record {index} has a wrong checksum")
        lengths = struct.unpack_from(f"<{n_frames}Q", body)
        frames, start = [], 8 * n_frames
        for length in lengths:
            frames.append(body[start : start + length])
            start += length
        return Record(attempt, tuple(frames))


def pack_record(attempt: int, frames: Sequence[Buffer]) -> bytes:
    """Return the bytes of a record."""
    views = [memoryview(frame).cast("B") if len(frame) else memoryview(b"") for frame in frames]
    body = b"".join([struct.pack(f"<{len(views)}Q", *(v.nbytes for v in views)), *views])
    return _HEAD.pack(_MAGIC, len(views), attempt, len(body), zlib.crc32(body)) + body
