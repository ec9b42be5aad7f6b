"""Train Infinite 3D Landmarks: ``python -m backend.train.infinite3d.trainer --help``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from backend.detect.infinite3d.architecture import PRESETS, Architecture
from backend.detect.infinite3d.layout_net import layout_net
from backend.detect.infinite3d.network import Infinite3D, LiteEncoder
from backend.detect.infinite3d.weights_file import save_network
from backend.detect.network import N_DENSE
from backend.device import choose_device
from backend.errors import BadInputError
from backend.train.batches import BACKGROUND, SamplePool
from backend.train.dense_net import imagenet_weights
from backend.train.infinite3d.data import BatchMaker, Step
from backend.train.infinite3d.objective import Objective
from backend.train.infinite3d.settings import Infinite3DSettings
from backend.train.loaders import WORKER_SEEDS, MakeSteps, steps_ahead
from backend.train.running import TrainingRun, rate
from backend.train.shards import KIND_PORTRAIT, KIND_REAL_SKIN, KIND_WARP
from backend.train.validate import validate

WEIGHTS = "infinite3d.safetensors"
_COLUMNS = (
    "images_per_second", "landmarks", "before", "contour", "presence", "window", "shape", "pose",
    "focal", "edge", "twins",
)  # fmt: skip
"""Of metrics.csv, besides the counters; parts that do not learn are NaN."""


def architecture_of(s: Infinite3DSettings) -> Architecture:
    """The preset with what the settings change of it."""
    preset = PRESETS[s.size]
    return replace(
        preset,
        normalisation=s.normalisation or preset.normalisation,
        predict_3d=s.predict_3d,
        predict_focal=s.predict_focal,
        deform_queries=s.deform_queries,
        refine=preset.refine if s.refine is None else s.refine,
    )


class Trainer(TrainingRun[Infinite3D]):
    """Training of Infinite 3D Landmarks."""

    def __init__(self, settings: Infinite3DSettings) -> None:
        s = self.settings = settings
        device = choose_device(s.device)
        torch.manual_seed(s.seed)
        self.architecture = architecture_of(s)
        net = Infinite3D(self.architecture).to(device)
        if isinstance(net.backbone, LiteEncoder):
            net.backbone.net.freeze(s.frozen_blocks)
            net.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        super().__init__(s, net, _parameter_groups(net, s))
        self.objective = Objective(s, self.architecture, self.device)

    def start(self) -> None:
        """Take up the checkpoint or other weights; raises `BadInputError`."""
        s = self.settings
        if self.take_up():
            return
        if s.start_from is not None:
            self._start_from(self.load(s.start_from)["average"], s.start_from)
        elif s.dense is not None:
            self._load_dense(self.load(s.dense))
        elif isinstance(self.net.backbone, LiteEncoder):
            kept = imagenet_weights(s.imagenet)
            self.net.backbone.net.load_state_dict(
                {name: value for name, value in kept.items() if not name.startswith("_fc.")}
            )
        elif s.imagenet is not None:
            self._load_convnext(self.load(s.imagenet), s.imagenet)
        if s.transformer_from is not None and self.net.transformer is not None:
            state = self.load(s.transformer_from)
            prefix = "transformer."
            part = {n: v for n, v in state["average"].items() if n.startswith(prefix)}
            self.net.transformer.load_state_dict(
                {name.removeprefix(prefix): value for name, value in part.items()}
            )
        self.average.load_state_dict(self.net.state_dict())

    def _start_from(self, weights: Mapping[str, Tensor], path: Path) -> None:
        """Take another run's weights, which may be of a network without the closer look."""
        missing, unexpected = self.net.load_state_dict(weights, strict=False)
        wrong = [name for name in missing if not name.startswith("refiner.")] + unexpected
        if wrong:
            raise BadInputError(f"{path}: not a checkpoint of this network ({wrong[0]}).")

    def _load_convnext(self, state: Mapping[str, Tensor], path: Path) -> None:
        """Take torchvision's weights, whose last normalisation is part of the classifier."""
        kept = {
            name.replace("classifier.0.", "norm."): value
            for name, value in state.items()
            if not name.startswith("classifier.2.")
        }
        try:
            self.net.backbone.load_state_dict(kept)
        except RuntimeError as error:
            raise BadInputError(f"{path}: not weights of this ConvNeXt ({error}).") from error

    def _load_dense(self, state: Mapping[str, Any]) -> None:
        if not isinstance(self.net.backbone, LiteEncoder):
            raise BadInputError("--dense starts the network of size small only.")
        dense = state["average"]
        prefix = "backbone."
        self.net.backbone.net.load_state_dict(
            {n.removeprefix(prefix): v for n, v in dense.items() if n.startswith(prefix)}
        )
        weight, bias = dense["linear.weight"], dense["linear.bias"]
        with torch.no_grad():
            contour = slice(3 * N_DENSE, -1)
            self.net.contour.weight.copy_(weight[contour])
            self.net.contour.bias.copy_(bias[contour])
            self.net.presence.weight.copy_(weight[-1:])
            self.net.presence.bias.copy_(bias[-1:])

    @property
    def is_apart(self) -> bool:
        """Whether transformer and heads still learn apart from the backbone."""
        return self.progress < self.settings.apart

    def plan(self) -> dict[str, int]:
        """What the next step's batches hold."""
        s, a = self.settings, self.architecture
        frames = round(s.batch_size * s.frame_share) if a.normalisation != "none" else 0
        windows = s.batch_size - frames
        if self.is_apart and frames and windows:
            frames = windows = s.batch_size
        return {
            "windows": windows,
            "frames": frames,
            "window_size": a.window_size,
            "frame_size": a.frame_size,
        }

    def step(self, step: Step) -> dict[str, float]:
        """One step of the optimiser; returns the losses by name."""
        for group in self.optimiser.param_groups:
            value = self.settings.learning_rate * group["share"]
            group["lr"] = value * rate(self.progress, self.settings.warm_up)
        self.net.train()
        if self.is_apart:
            self.net.backbone.eval()
        terms = self.objective.terms(self.net, step, self.is_apart)
        w = self.settings.weights
        total = torch.zeros((), device=self.device)
        for name in ("landmarks", "contour"):
            if name in terms:
                total = total + terms[name]
        for name in ("before", "presence", "window", "shape", "pose", "focal", "edge", "twins"):
            if name in terms:
                total = total + getattr(w, name) * terms[name]
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        # Apart, or the one's large gradients would shrink the other's.
        transformer = list(self.net.transformer.parameters()) if self.net.transformer else []
        known = {id(p) for p in transformer}
        rest = [p for p in self.net.parameters() if id(p) not in known]
        for parameters in (transformer, rest):
            nn.utils.clip_grad_norm_(parameters, 2.0)
        self.optimiser.step()
        self.count_step(sum(len(b.images) for b in (step.windows, step.frames) if b is not None))
        return {name: float(value.detach()) for name, value in terms.items()}

    def save_weights(self) -> None:
        """Write the averaged weights with their architecture."""
        save_network(self.average, self.settings.out / WEIGHTS)


def _parameter_groups(net: Infinite3D, s: Infinite3DSettings) -> list[dict[str, Any]]:
    backbone = {id(p) for p in net.backbone.parameters()}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for p in net.parameters():
        if p.requires_grad:
            groups.setdefault((id(p) in backbone, p.ndim > 1), []).append(p)
    return [
        {
            "params": parameters,
            "weight_decay": s.weight_decay if is_matrix else 0.0,
            "share": s.backbone_rate if of_backbone else 1.0,
            "lr": 0.0,
        }
        for (of_backbone, is_matrix), parameters in groups.items()
    ]


def run(settings: Infinite3DSettings) -> None:
    """Train until the time budget is spent; raises `BadInputError` where there are no samples."""
    import cv2

    torch.set_num_threads(settings.threads)
    cv2.setNumThreads(1)
    pool, frames = _pools(settings)
    for folders, found in ((settings.shards, pool), (settings.frames, frames)):
        if found is not None and len(found) == 0:
            raise BadInputError(f"{', '.join(map(str, folders))}: no shards to train on.")
    trainer = Trainer(settings)
    trainer.start()
    make: MakeSteps[Mapping[str, int], Step] = partial(
        make_steps, settings, settings.seed + trainer.step_count
    )
    stream = steps_ahead(make, settings.workers)
    stream.start(trainer.plan())
    try:
        trainer.spend(
            step=lambda: trainer.step(stream.next(trainer.plan())),
            row=lambda means: {"pool": len(pool), **{n: means.get(n, np.nan) for n in _COLUMNS}},
            validate=(lambda: _validate(trainer, pool))
            if pool.validation and settings.frame_share < 1
            else None,
        )
    finally:
        try:
            trainer.save()
        finally:
            stream.close()


def _pools(s: Infinite3DSettings) -> tuple[SamplePool, SamplePool | None]:
    """The samples of a run, drawn by its shares: windows, and frames where there is an S."""
    shares = {
        BACKGROUND: s.background_share,
        KIND_PORTRAIT: s.portrait_share,
        KIND_WARP: s.warp_share,
        KIND_REAL_SKIN: s.real_skin_share,
    }
    needs_frames = architecture_of(s).normalisation != "none"
    frames = SamplePool(s.frames, {BACKGROUND: 0.1}) if needs_frames else None
    return SamplePool(s.shards, shares), frames


def make_steps(
    settings: Infinite3DSettings, seed: int, worker: int
) -> Callable[[Mapping[str, int], int], Step]:
    """What makes the steps of a run, in a process of this number."""
    s = settings
    maker = BatchMaker(*_pools(s), s.augment, seed + WORKER_SEEDS * worker, s.twin_share)
    return maker.step


def _validate(trainer: Trainer, pool: SamplePool) -> dict[str, float]:
    return validate(
        layout_net(trainer.average),
        pool,
        trainer.device,
        window_size=trainer.architecture.window_size,
    )


if __name__ == "__main__":
    import tyro

    run(tyro.cli(Infinite3DSettings))
