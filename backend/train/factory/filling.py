"""Folders of rendered shards that are filled shard by shard, by one process or several."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from tqdm import tqdm

from backend.errors import MienError
from backend.train.factory.stages import Piece
from backend.train.shards import ShardWriter

Fields = Mapping[str, tuple[tuple[int, ...], object]]


class SampleSource(Protocol):
    """Draws labelled samples, the same ones for the same number of a shard."""

    @property
    def fields(self) -> Fields:
        """Of a sample, beside the standard ones."""

    @property
    def image_size(self) -> int:
        """Pixels of the square images."""

    def begin(self, shard: int) -> None:
        """Start the random sequence of a shard."""

    def samples(self) -> Iterator[Mapping[str, np.ndarray | float | int]]:
        """Samples without end."""


class SourceSettings(Protocol):
    """Settings that can be handed to another process."""

    @property
    def out(self) -> Path:
        """Folder of the shards."""

    @property
    def count(self) -> int:
        """Samples in all."""

    @property
    def shard_size(self) -> int:
        """Samples a shard."""


class MakeSource(Protocol):
    """Makes a source; a module's function, so that another process can."""

    def __call__(self, settings: SourceSettings) -> SampleSource:
        """The source of these settings."""


def shard_name(number: int) -> str:
    """Name of the folder of a numbered shard."""
    return f"shard-{number:06d}"


def missing_shards(settings: SourceSettings) -> list[int]:
    """Numbers of the shards that are not there yet."""
    count = -(-settings.count // settings.shard_size)
    return [n for n in range(count) if not (settings.out / shard_name(n)).is_dir()]


def fill(make: MakeSource, settings: SourceSettings, piece: Piece, workers: int = 1) -> bool:
    """Render the missing shards until the piece is over; whether the folder is full.

    A shard is never begun when those before say that it would not be finished in time, but one is
    always made, so that every call gets further.
    """
    missing = missing_shards(settings)
    if not missing:
        return True
    settings.out.mkdir(parents=True, exist_ok=True)
    # A process that renders takes gigabytes of nothing but itself: no more than there are shards.
    workers = max(1, min(workers, len(missing)))
    job = _Job(make, settings, piece.seconds_left + time.time())
    if workers == 1:
        job.render(missing, show=True)
    else:
        _in_processes(job, missing, workers)
    return not missing_shards(settings)


@dataclass(frozen=True)
class _Job:
    make: MakeSource
    settings: SourceSettings
    end: float
    """On the wall clock, which processes share."""

    def render(self, numbers: Sequence[int], show: bool = False) -> None:
        s, source = self.settings, self.make(self.settings)
        taken: list[float] = []
        last = -(-s.count // s.shard_size) - 1
        sizes = [s.count - last * s.shard_size if n == last else s.shard_size for n in numbers]
        with tqdm(total=sum(sizes), desc=s.out.name, unit="image", disable=not show) as bar:
            for number, size in zip(numbers, sizes, strict=True):
                if taken and time.time() + float(np.mean(taken)) > self.end:
                    return
                started = time.time()
                source.begin(number)
                writer = ShardWriter(
                    s.out, size, source.image_size, source.fields, name=shard_name(number)
                )
                for _, sample in zip(range(size), source.samples(), strict=False):
                    writer.add(**sample)
                    bar.update()
                taken.append(time.time() - started)


def _in_processes(job: _Job, missing: Sequence[int], workers: int) -> None:
    context = multiprocessing.get_context("spawn")
    parts = [missing[w::workers] for w in range(workers)]
    processes = [context.Process(target=_work, args=(job, part)) for part in parts]
    for process in processes:
        process.start()
    try:
        with tqdm(total=len(missing), desc=job.settings.out.name, unit="shard") as bar:
            while any(process.is_alive() for process in processes):
                time.sleep(0.2)
                left = len(missing_shards(job.settings))
                bar.update(len(missing) - left - bar.n)
    finally:
        for process in processes:
            process.terminate() if process.is_alive() else process.join()
    failed = [process.exitcode for process in processes if process.exitcode]
    if failed:
        raise MienError(f"{job.settings.out}: a rendering process failed (exit {failed[0]}).")


def _work(job: _Job, numbers: Sequence[int]) -> None:
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    job.render(numbers)
