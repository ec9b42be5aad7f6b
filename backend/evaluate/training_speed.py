"""Images a second that training renders, prepares and trains on: where it waits for what.

What runs in this process alone is timed by its processor time, so that other work on the machine
does not count; a GPU, threads and processes that feed the trainer, by the clock on the wall.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from backend.device import choose_device
from backend.errors import BadInputError
from backend.evaluate.settings import BenchSettings

COLUMNS: tuple[str, ...] = ()
_SECONDS, _QUICK_SECONDS = 8.0, 0.5
_BATCH = {"cpu": 16, "cuda": 256}
_PREPARED = 4
"""Steps made beforehand, so that the trainer never waits."""
_RENDERED = 12
"""Images to train on where no shards are named."""
_WORKERS = 2


@dataclass(frozen=True)
class _Timer:
    seconds: float
    clock: Callable[[], float]

    def rate(self, work: Callable[[], object], images: int) -> float:
        """Images a second of work that makes so many a call; the first call does not count."""
        work()
        started, calls = self.clock(), 0
        while (spent := self.clock() - started) < self.seconds or not calls:
            work()
            calls += 1
        return calls * images / max(spent, 1e-9)


def run(settings: BenchSettings) -> dict[str, float]:
    """Measure; the renderer where `assets` and `base` are named.

    Returns images a second: `render`, of one process; `windows` and `frames`, batches of Infinite
    3D (128-pixel windows, 256-pixel frames) that one thread makes, with their truth; `cut`, the
    windows alone, and `cut_plain`, without photometric changes; `dense_batches`; `train` and
    `dense_train`, the optimiser's steps on batches that are there already; `dense_loaders`, batches
    that two processes hand over. `dense_train_fed` trains on what a thread prepares, and
    `waiting_percent` is what that costs.
    Raises: BadInputError where there is neither a folder of shards nor anything to render.
    """
    import cv2

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    device = choose_device(settings.device)
    seconds = _QUICK_SECONDS if settings.quick else _SECONDS
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU, one thread"
    print(f"trained on: {name}")
    figures: dict[str, float] = {}
    own = _Timer(seconds, time.process_time)
    with tempfile.TemporaryDirectory() as folder:
        shards = settings.shards
        if settings.assets is not None and settings.base is not None:
            figures["render"] = _rendering(settings, Path(folder), own)
            shards = shards or Path(folder)
        if shards is None:
            raise BadInputError("Name a folder of shards (--shards), or --assets and --base.")
        figures |= _batches(shards, own)
        figures |= _training(shards, device, seconds)
    return figures


def _rendering(settings: BenchSettings, folder: Path, timer: _Timer) -> float:
    from backend.train.generate import FaceGenerator, GenerateSettings, generate

    assert settings.assets is not None and settings.base is not None
    what = GenerateSettings(
        settings.assets, settings.base, folder, skins=settings.skins, count=_RENDERED,
        seed=settings.seed, shard_size=_RENDERED // 2, background_share=0.0,
    )  # fmt: skip
    generate(what)
    generator = FaceGenerator(what, 1)
    for _ in range(_RENDERED):  # textures are decoded once
        generator.sample()
    return timer.rate(generator.sample, 1)


def _batches(shards: Path, timer: _Timer) -> dict[str, float]:
    from backend.train.augment import AugmentSettings, WindowSampler
    from backend.train.batches import BatchMaker as DenseBatchMaker
    from backend.train.batches import SamplePool
    from backend.train.infinite3d.data import N_LANDMARKS, BatchMaker
    from backend.train.procedural import PhotometricSettings

    pool, augment = SamplePool([shards], {}), AugmentSettings()
    if len(pool) == 0:
        raise BadInputError(f"{shards}: no shards to train on.")
    still = {name: 0.0 for name, value in vars(PhotometricSettings()).items() if name != "strength"}
    plain = replace(augment, photometric=PhotometricSettings(**still))
    rng = np.random.default_rng(0)
    samplers = [WindowSampler(a, rng, N_LANDMARKS) for a in (augment, plain)]
    maker = BatchMaker(pool, pool, augment, 0)
    dense = DenseBatchMaker(pool, augment, _BATCH["cpu"], 0, 0)
    count = _BATCH["cpu"]
    cut, cut_plain = (
        timer.rate(lambda s=s: s.cut(pool.sample(rng), 128), 1)  # type: ignore[misc]
        for s in samplers
    )
    return {
        "windows": timer.rate(lambda: maker.windows(count, 128), count),
        "frames": timer.rate(lambda: maker.whole(count // 2, 256), count // 2),
        "cut": cut,
        "cut_plain": cut_plain,
        "dense_batches": timer.rate(lambda: dense.step(128, 1), count),
    }


def _training(shards: Path, device: torch.device, seconds: float) -> dict[str, float]:
    from backend.train.augment import AugmentSettings
    from backend.train.batches import SamplePool
    from backend.train.dense_net import Trainer as DenseTrainer
    from backend.train.dense_net import TrainSettings, make_batches
    from backend.train.infinite3d.data import BatchMaker, Step
    from backend.train.infinite3d.settings import Infinite3DSettings
    from backend.train.infinite3d.trainer import Trainer
    from backend.train.loaders import steps_ahead

    count = _BATCH.get(device.type, _BATCH["cpu"])
    pool = SamplePool([shards], {})
    on_gpu = device.type == "cuda"
    timer = _Timer(seconds, partial(_after, device) if on_gpu else time.process_time)
    wall = _Timer(seconds, partial(_after, device) if on_gpu else time.perf_counter)

    full = Trainer(
        Infinite3DSettings(batch_size=count, frame_share=0.0, apart=0.0, device=str(device))
    )
    maker = BatchMaker(pool, None, AugmentSettings(), 0)
    ready = [Step(maker.windows(count, 128), None) for _ in range(_PREPARED)]
    turn = iter(range(10**9))
    figures = {"train": timer.rate(lambda: full.step(ready[next(turn) % _PREPARED]), count)}

    settings = TrainSettings(
        shards=(shards,), batch_size=count, pyramid_every=0, small_share=0.0, device=str(device)
    )
    dense = DenseTrainer(settings)
    make = make_batches(settings, 0, 0)
    prepared = [make(128, n + 1) for n in range(_PREPARED)]
    figures["dense_train"] = timer.rate(
        lambda: dense.step(prepared[next(turn) % _PREPARED], 128), count
    )
    alone = wall.rate(lambda: dense.step(prepared[next(turn) % _PREPARED], 128), count)
    for name, workers in (("dense_train_fed", 0), ("dense_loaders", _WORKERS)):
        stream = steps_ahead(partial(make_batches, settings, 0), workers)
        stream.start(128)
        try:
            for _ in range(3 * workers):  # what was made while the processes started
                stream.next(128)
            work = (
                (lambda s=stream: dense.step(s.next(128), 128))
                if workers == 0
                else (lambda s=stream: s.next(128))
            )
            figures[name] = wall.rate(work, count)
        finally:
            stream.close()
    figures["waiting_percent"] = 100.0 * max(0.0, 1.0 - figures["dense_train_fed"] / alone)
    return figures


def _after(device: torch.device) -> float:
    torch.cuda.synchronize(device)
    return time.perf_counter()
