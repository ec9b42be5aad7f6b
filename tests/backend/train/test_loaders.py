"""Batches from other processes: all different, for the plan in force, and errors come through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from backend.errors import BadInputError, MienError
from backend.train.dense_net import TrainSettings, make_batches
from backend.train.loaders import StepsFromProcesses, steps_ahead
from backend.train.running import StepsAhead
from backend.train.shards import ShardWriter


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> TrainSettings:
    folder, rng = tmp_path_factory.mktemp("shards"), np.random.default_rng(0)
    writer = ShardWriter(folder, 4, 160)
    for _ in range(8):
        points = rng.uniform(45, 115, (703, 2))
        points[27], points[8] = [79.5, 60], [79.5, 112]
        writer.add(
            images=rng.integers(0, 256, (160, 160, 3), dtype=np.uint8),
            landmarks=points,
            contour=points[:17],
        )
    return TrainSettings(shards=(folder,), batch_size=3, pyramid_every=0)


def fails(worker: int) -> Callable[[int, int], int]:
    def step(plan: int, count: int) -> int:
        if count == 2:
            raise BadInputError(f"worker {worker} has nothing left")
        return plan

    return step


def dies(worker: int) -> Callable[[int, int], int]:
    import os

    return lambda plan, count: os._exit(9)


def test_two_processes_make_other_batches(settings: TrainSettings) -> None:
    stream = steps_ahead(partial(make_batches, settings, 5), 2)
    assert isinstance(stream, StepsFromProcesses)
    stream.start(96)
    try:
        seen = [stream.next(96) for _ in range(6)]
        assert all(b.images.shape == (3, 96, 96, 3) for b in seen)
        assert seen[0].images.dtype == torch.uint8 and seen[0].images.is_shared()
        flat = {bytes(b.images.numpy().tobytes()) for b in seen}
        assert len(flat) == 6
        assert stream.next(128).images.shape == (3, 128, 128, 3)
        assert stream.next(128).images.shape == (3, 128, 128, 3)
    finally:
        stream.close()
    assert not any(process.is_alive() for process in stream._processes)


def test_a_thread_serves_where_no_process_is_asked_for(settings: TrainSettings) -> None:
    first, again = (make_batches(replace(settings), 5, 0)(96, 1) for _ in range(2))
    assert torch.equal(first.images, again.images)
    stream = steps_ahead(partial(make_batches, settings, 5), 0)
    assert isinstance(stream, StepsAhead)
    stream.start(96)
    try:
        assert torch.equal(stream.next(96).images, first.images)
    finally:
        stream.close()


def test_errors_reach_the_trainer(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = steps_ahead(fails, 1)
    stream.start(7)
    try:
        assert stream.next(7) == 7
        with pytest.raises(BadInputError, match="worker 1 has nothing left"):
            stream.next(7)
    finally:
        stream.close()
    monkeypatch.setattr("backend.train.loaders._POLL_S", 0.5)
    dead = steps_ahead(dies, 1)
    dead.start(7)
    try:
        with pytest.raises(MienError, match=r"ended \(9\)"):
            dead.next(7)
    finally:
        dead.close()


def test_shards_must_be_there(settings: TrainSettings, tmp_path: Path) -> None:
    from backend.train.dense_net import run

    with pytest.raises(BadInputError, match="no shards"):
        run(replace(settings, shards=(tmp_path,), workers=1))
