"""Batches of training windows, prepared in a background thread while the network trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backend.detect.network import STRIDE
from backend.train.augment import AugmentSettings, Cut, WindowSampler
from backend.train.losses import presence_target
from backend.train.shards import KIND_PORTRAIT, KIND_REAL_SKIN, KIND_WARP, ShardReader

VALIDATION_EVERY = 40
"""Every so many shards, one is kept for validation, the first among them."""
BACKGROUND = -1
"""Stands for the kind of samples without a face, whatever they were cut from."""
MAX_REPEATS = 12.0
"""How many times more often than on average a sample of a rare kind may be drawn."""


@dataclass(frozen=True)
class Batch:
    """B cuts as tensors, in pixels of the cut."""

    images: Tensor
    """(B,S,S,3) u8."""
    points: Tensor
    """(B,337,2) px."""
    valid: Tensor
    """(B,337)."""
    weight: Tensor
    """(B,)."""
    face: Tensor
    """(B,3) centre and side of the true region of interest, px."""
    has_face: Tensor
    """(B,) bool."""

    def input(self, device: torch.device) -> Tensor:
        """The images as the network wants them (B,3,S,S), channels last."""
        return self.images.to(device).permute(0, 3, 1, 2).float()

    def targets(self, window: int, rows: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What the network ought to say of the rows x rows windows of `window` pixels in each cut.

        Returns points (B,rows,rows,337,2) in window units, valid (B,rows,rows,337), weight
        (B,rows,rows) which is 0 unless the window frames the face, and presence (B,rows,rows).
        """
        step = torch.arange(rows, dtype=torch.float32) * STRIDE
        y, x = torch.meshgrid(step, step, indexing="ij")
        origin = torch.stack([x, y], -1)
        local = self.points[:, None, None] - origin[None, :, :, None]
        points = (2 * local + 1) / window - 1
        centre = (2 * (self.face[:, None, None, :2] - origin) + 1) / window - 1
        offset = 0.5 * centre.norm(dim=-1)
        scale = (window / self.face[:, 2].clamp(min=1.0))[:, None, None].expand_as(offset)
        has_face = self.has_face[:, None, None].expand_as(offset)
        presence = presence_target(offset, scale, has_face)
        # Where presence is not asked for, the landmarks are still there to be learned.
        near = (offset < 0.35) & (scale > 0.55) & (scale < 1.8) & has_face
        weight = self.weight[:, None, None] * near
        valid = self.valid[:, None, None].expand(*offset.shape, -1)
        return points, valid, weight, presence


def collate(cuts: Sequence[Cut]) -> Batch:
    """Stack cuts of one size."""
    return Batch(
        images=torch.from_numpy(np.stack([cut.image for cut in cuts])),
        points=torch.from_numpy(np.stack([cut.points for cut in cuts])),
        valid=torch.from_numpy(np.stack([cut.valid for cut in cuts])),
        weight=torch.tensor([cut.weight for cut in cuts], dtype=torch.float32),
        face=torch.tensor([cut.face for cut in cuts], dtype=torch.float32),
        has_face=torch.tensor([cut.has_face for cut in cuts]),
    )


class SamplePool:
    """All training samples of several folders, by kind; finds new shards when told to scan."""

    def __init__(self, folders: Sequence[Path], shares: dict[int, float]) -> None:
        self.readers = [ShardReader(folder) for folder in folders]
        self.shares = shares
        self.validation: list[tuple[int, int]] = []
        self._kinds: dict[int, list[NDArray[np.int64]]] = {}
        self._pairs: list[NDArray[np.int64]] = []
        self._seen = [0] * len(self.readers)
        self.scan()

    def scan(self) -> None:
        """Take in the shards that have arrived."""
        for number, reader in enumerate(self.readers):
            reader.scan()
            start = sum(len(shard) for shard in reader.shards[: self._seen[number]])
            for position in range(self._seen[number], len(reader.shards)):
                fields = reader.shards[position].fields
                has_face = np.asarray(fields["has_face"]) > 0
                kinds = np.where(has_face, np.asarray(fields["kind"]).astype(int), BACKGROUND)
                rows = np.arange(start, start + len(kinds))
                start += len(kinds)
                # The people of the portraits are in the training shards too.
                people = np.isin(kinds, (KIND_PORTRAIT, KIND_WARP)).any()
                if position % VALIDATION_EVERY == 0 and not people:
                    self.validation += [(number, int(row)) for row in rows]
                    continue
                self._pairs.append(np.stack(_twins(fields, rows, number), 1))
                for kind in np.unique(kinds):
                    pairs = np.stack([np.full(len(rows), number), rows], 1)[kinds == kind]
                    self._kinds.setdefault(int(kind), []).append(pairs)
            self._seen[number] = len(reader.shards)
        self._kinds = {kind: [np.concatenate(parts)] for kind, parts in self._kinds.items()}

    def __len__(self) -> int:
        return sum(len(parts[0]) for parts in self._kinds.values())

    def counts(self) -> dict[int, int]:
        """Training samples of each kind."""
        return {kind: len(parts[0]) for kind, parts in self._kinds.items()}

    def sample(self, rng: np.random.Generator) -> dict[str, NDArray]:
        """One sample: its kind by the shares, then any of that kind."""
        draw = rng.random()
        kind = 0
        for candidate in (BACKGROUND, KIND_PORTRAIT, KIND_WARP, KIND_REAL_SKIN):
            if candidate not in self._kinds:
                continue
            fair = len(self._kinds[candidate][0]) / len(self)
            share = min(self.shares.get(candidate, 0.0), MAX_REPEATS * fair)
            if draw < share:
                kind = candidate
                break
            draw -= share
        if kind not in self._kinds:
            kind = next(iter(self._kinds))
        pairs = self._kinds[kind][0]
        number, row = pairs[rng.integers(len(pairs))]
        return self.readers[number][int(row)]

    def twins(self, rng: np.random.Generator) -> list[dict[str, NDArray]]:
        """Two views of one face in one expression; empty where no shard has any."""
        pairs = np.concatenate([*self._pairs, np.zeros((0, 2), np.int64)])
        if not len(pairs):
            return []
        number, row = pairs[rng.integers(len(pairs))]
        reader = self.readers[number]
        return [reader[int(row)], reader[int(row) + 1]]


def _twins(
    fields: dict[str, NDArray], rows: NDArray[np.int64], number: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Reader's number and row (P,) of the first of two rows that show the same face."""
    if "coefficients" not in fields:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    coefficients = np.asarray(fields["coefficients"])
    same = (coefficients[1:] == coefficients[:-1]).all(1) & coefficients[1:].any(1)
    first = rows[:-1][same]
    return np.full(len(first), number), first


class BatchMaker:
    """Makes one batch after the other, each for an input size.

    Every `pyramid_every`-th batch is of larger pictures with all their windows.
    """

    def __init__(
        self,
        pool: SamplePool,
        settings: AugmentSettings,
        batch_size: int,
        pyramid_every: int,
        seed: int,
    ) -> None:
        self._pool = pool
        self._sampler = WindowSampler(settings, np.random.default_rng(seed))
        self._batch_size = batch_size
        self._pyramid_every = pyramid_every

    def step(self, size: int, count: int) -> Batch:
        """The batch of a number, from 1; now and then new shards are looked for.

        size: pixels of a window.
        """
        if count % 100 == 0:
            self._pool.scan()
        if self._pyramid_every and count % self._pyramid_every == 0:
            # Two cells more on every side of freedom: 3 x 3 windows share one picture.
            picture = size + 2 * STRIDE
            number, canvas = max(1, int(self._batch_size * (size / picture) ** 2)), picture / size
        else:
            picture, number, canvas = size, self._batch_size, 1.0
        rng = self._sampler.rng
        return collate(
            [self._sampler.cut(self._pool.sample(rng), picture, canvas) for _ in range(number)]
        )
