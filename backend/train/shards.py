"""Training samples on disk: folders of memory-mapped arrays that grow while training reads them.

One shard is a folder of `.npy` files, one a field, whose first axis counts its N samples. It is
written under a hidden name and renamed when it is complete, so that a reader never sees half.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backend.errors import BadInputError

N_LANDMARKS = 703
N_CONTOUR = 17
FIXED_POINT = 64.0
"""Steps a pixel in which landmarks are kept; int16 then spans 512 px to either side."""
KIND_SYNTHETIC, KIND_REAL_SKIN, KIND_PORTRAIT, KIND_WARP = 0, 1, 2, 3

Field = tuple[tuple[int, ...], np.dtype]


def standard_fields(image_size: int) -> dict[str, Field]:
    """Name, shape of one sample and dtype of the fields that every shard has.

    images (S,S,3) u8 RGB; landmarks (703,2) and contour (17,2) int16 in 1/64 px of the crop, pixel
    centres at integers (contour: the visible silhouette for the jaw, iBUG 0 to 16); visible (703,)
    whether a landmark can be seen; valid (703,) whether its label may be trained on; weight: of
    the sample's labels in the loss; has_face 0 for background alone; kind: 0 synthetic, 1 a real
    skin on a rendered head, 2 a portrait with pseudo-labels, 3 a portrait in another pose.
    """
    return {
        "images": ((image_size, image_size, 3), np.dtype(np.uint8)),
        "landmarks": ((N_LANDMARKS, 2), np.dtype(np.int16)),
        "contour": ((N_CONTOUR, 2), np.dtype(np.int16)),
        "visible": ((N_LANDMARKS,), np.dtype(np.uint8)),
        "valid": ((N_LANDMARKS,), np.dtype(np.uint8)),
        "weight": ((), np.dtype(np.float32)),
        "has_face": ((), np.dtype(np.uint8)),
        "kind": ((), np.dtype(np.uint8)),
    }


_DEFAULTS: dict[str, float] = {"valid": 1, "visible": 1, "weight": 1, "has_face": 1, "kind": 0}


def encode_points(points: ArrayLike) -> NDArray[np.int16]:
    """Pixels (...,2) as fixed point of 1/64 px, clipped to what int16 holds; NaN becomes 0."""
    scaled = np.nan_to_num(np.asarray(points, np.float64)) * FIXED_POINT
    return np.clip(np.rint(scaled), -32768, 32767).astype(np.int16)


def decode_points(points: NDArray[np.int16]) -> NDArray[np.float32]:
    """Fixed point of 1/64 px (...,2) as pixels."""
    return points.astype(np.float32) / np.float32(FIXED_POINT)


class ShardWriter:
    """Collects samples and writes them as shards of `size`.

    folder: where shards go (made if missing); image_size: S of the square crops; extra_fields:
    (shape of one sample, dtype) by name, beside the standard ones; name: of the folder of the only
    shard that this writes, `shard-` first, in place of one made of time and process. Several
    processes may write into one folder.
    """

    def __init__(
        self,
        folder: Path | str,
        size: int = 1024,
        image_size: int = 160,
        extra_fields: Mapping[str, tuple[tuple[int, ...], object]] | None = None,
        name: str | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.size = size
        self._name = name
        self.fields = standard_fields(image_size)
        for name, (shape, dtype) in (extra_fields or {}).items():
            self.fields[name] = (tuple(shape), np.dtype(dtype))  # type: ignore[call-overload]
        self.folder.mkdir(parents=True, exist_ok=True)
        self.written = 0
        self._arrays = self._allocate()
        self._filled = 0

    def _allocate(self) -> dict[str, NDArray]:
        return {
            name: np.zeros((self.size, *shape), dtype)
            for name, (shape, dtype) in self.fields.items()
        }

    def add(self, **sample: ArrayLike) -> None:
        """Add one sample, a value for each field by name.

        landmarks (703,2) and contour (17,2) come as pixels of the crop and are encoded here, or
        already encoded as int16; valid, visible, weight and has_face default to 1, kind to 0; with
        has_face 0 the landmarks, contour and visible may be left out. Raises `BadInputError` for
        an unknown, missing or misshaped field.
        """
        unknown = set(sample) - set(self.fields)
        if unknown:
            raise BadInputError(f"fields that this shard does not have: {sorted(unknown)}")
        background = "has_face" in sample and not np.any(sample["has_face"])
        for name, (shape, _) in self.fields.items():
            if name in sample:
                value = np.asarray(sample[name])
                if name in ("landmarks", "contour") and value.dtype != np.int16:
                    value = encode_points(value)
                if value.shape != shape:
                    raise BadInputError(f"{name} has shape {value.shape}, not {shape}")
            elif background and name in ("landmarks", "contour", "visible"):
                value = np.zeros(shape)
            elif name in _DEFAULTS:
                value = np.full(shape, _DEFAULTS[name])
            else:
                raise BadInputError(f"a sample lacks {name}")
            self._arrays[name][self._filled] = value
        self._filled += 1
        if self._filled == self.size:
            self._flush()

    def close(self) -> None:
        """Write what has been collected, though it may be less than a full shard."""
        if self._filled:
            self._flush()

    def _flush(self) -> None:
        stem = self._name or f"shard-{time.time_ns():020d}-{os.getpid()}"
        temporary = self.folder / f".{stem}.{os.getpid()}.part"
        temporary.mkdir()
        try:
            for name, array in self._arrays.items():
                np.save(temporary / f"{name}.npy", array[: self._filled])
            os.rename(temporary, self.folder / stem)
        finally:
            if temporary.exists():
                shutil.rmtree(temporary)
        self.written += self._filled
        self._filled = 0


@dataclass(frozen=True)
class Shard:
    """One complete shard, its fields memory-mapped."""

    path: Path
    fields: dict[str, NDArray]

    def __len__(self) -> int:
        return len(self.fields["images"])


class ShardReader:
    """All complete shards in a folder; `scan` finds those that have arrived since.

    Samples are numbered in the order in which their shards were found, so that a number keeps its
    meaning while more arrive.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.shards: list[Shard] = []
        self._starts = np.zeros(1, np.int64)
        self.scan()

    def scan(self) -> int:
        """Open the shards that are new; returns how many samples they add."""
        known = {shard.path for shard in self.shards}
        before = len(self)
        for path in sorted(self.folder.glob("shard-*")):
            if path not in known and path.is_dir():
                fields = {file.stem: np.load(file, mmap_mode="r") for file in path.glob("*.npy")}
                self.shards.append(Shard(path, fields))
        lengths = [len(shard) for shard in self.shards]
        self._starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        return len(self) - before

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: int) -> dict[str, NDArray]:
        """Views of one sample's fields, still encoded."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        row = index - int(self._starts[number])
        return {name: array[row] for name, array in self.shards[number].fields.items()}
