"""Train Infinite 3D Landmarks: ``python -m backend.train.infinite3d.trainer --help``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from backend.atomic import atomic_path
from backend.detect.infinite3d.architecture import PRESETS, Architecture
from backend.detect.infinite3d.layout_net import layout_net
from backend.detect.infinite3d.network import Infinite3D, LiteEncoder
from backend.detect.infinite3d.weights_file import save_network
from backend.detect.network import N_DENSE
from backend.device import choose_device
from backend.errors import BadInputError
from backend.train.batches import BACKGROUND, SamplePool
from backend.train.dense_net import imagenet_weights, log_row, rate
from backend.train.infinite3d.data import BatchMaker, Step, StepStream
from backend.train.infinite3d.objective import Objective
from backend.train.infinite3d.settings import Infinite3DSettings
from backend.train.shards import KIND_PORTRAIT, KIND_REAL_SKIN, KIND_WARP
from backend.train.validate import validate

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "infinite3d.safetensors"


def architecture_of(s: Infinite3DSettings) -> Architecture:
    """The preset with what the settings change of it."""
    preset = PRESETS[s.size]
    return replace(
        preset,
        normalisation=s.normalisation or preset.normalisation,
        predict_3d=s.predict_3d,
        predict_focal=s.predict_focal,
        deform_queries=s.deform_queries,
    )


class Trainer:
    """The network, its running average and the optimiser: all that a checkpoint holds."""

    def __init__(self, settings: Infinite3DSettings) -> None:
        s = self.settings = settings
        self.device = choose_device(s.device)
        torch.manual_seed(s.seed)
        self.architecture = architecture_of(s)
        self.net = Infinite3D(self.architecture).to(self.device)
        if isinstance(self.net.backbone, LiteEncoder):
            self.net.backbone.net.freeze(s.frozen_blocks)
            self.net.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = deepcopy(self.net).eval()
        self.optimiser = torch.optim.AdamW(self._groups(), betas=(0.9, 0.99), fused=True)
        self.step_count = self.samples = 0
        self.seconds = 0.0
        self.objective = Objective(s, self.architecture, self.device)

    def _groups(self) -> list[dict[str, Any]]:
        s = self.settings
        backbone = {id(p) for p in self.net.backbone.parameters()}
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for p in self.net.parameters():
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

    def start(self) -> None:
        """Take up the checkpoint or other weights; raises `BadInputError`."""
        s = self.settings
        checkpoint = s.out / CHECKPOINT
        if s.resume and checkpoint.exists():
            self.load_state(torch.load(checkpoint, map_location=self.device, weights_only=True))
            return
        if s.start_from is not None:
            state = torch.load(s.start_from, map_location=self.device, weights_only=True)
            self.net.load_state_dict(state["average"])
        elif s.dense is not None:
            self._load_dense(torch.load(s.dense, map_location=self.device, weights_only=True))
        elif isinstance(self.net.backbone, LiteEncoder):
            kept = imagenet_weights(s.imagenet)
            self.net.backbone.net.load_state_dict(
                {name: value for name, value in kept.items() if not name.startswith("_fc.")}
            )
        elif s.imagenet is not None:
            state = torch.load(s.imagenet, map_location=self.device, weights_only=True)
            self._load_convnext(state, s.imagenet)
        if s.transformer_from is not None and self.net.transformer is not None:
            state = torch.load(s.transformer_from, map_location=self.device, weights_only=True)
            prefix = "transformer."
            part = {n: v for n, v in state["average"].items() if n.startswith(prefix)}
            self.net.transformer.load_state_dict(
                {name.removeprefix(prefix): value for name, value in part.items()}
            )
        self.average.load_state_dict(self.net.state_dict())

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
        self.step_count, self.samples = int(state["step_count"]), int(state["samples"])
        self.seconds = float(state["seconds"])

    @property
    def progress(self) -> float:
        """Share of the time budget that is spent."""
        return self.seconds / (60.0 * self.settings.minutes)

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
        for name in ("presence", "window", "shape", "pose", "focal", "edge"):
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
        self.step_count += 1
        self.samples += sum(len(b.images) for b in (step.windows, step.frames) if b is not None)
        self._average()
        return {name: float(value.detach()) for name, value in terms.items()}

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
        save_network(self.average, self.settings.out / WEIGHTS)


def run(settings: Infinite3DSettings) -> None:
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
    needs_frames = architecture_of(settings).normalisation != "none"
    frames = SamplePool(settings.frames, {BACKGROUND: 0.1}) if needs_frames else None
    for folders, found in ((settings.shards, pool), (settings.frames, frames)):
        if found is not None and len(found) == 0:
            raise BadInputError(f"{', '.join(map(str, folders))}: no shards to train on.")
    trainer = Trainer(settings)
    trainer.start()
    maker = BatchMaker(pool, frames, settings.augment, settings.seed + trainer.step_count)
    stream = StepStream(maker, trainer.plan())
    try:
        _loop(trainer, pool, stream)
    finally:
        try:
            trainer.save()
        finally:
            stream.close()


def _loop(trainer: Trainer, pool: SamplePool, stream: StepStream) -> None:
    settings = trainer.settings
    last_save = last_validation = last_log = last = time.monotonic()
    sums: dict[str, list[float]] = {}
    first_sample = trainer.samples
    while trainer.progress < 1.0:
        for name, value in trainer.step(stream.next(trainer.plan())).items():
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
                "images_per_second": speed,
                **{
                    name: float(np.mean(sums.get(name, [np.nan])))
                    for name in (
                        "landmarks", "contour", "presence", "window",
                        "shape", "pose", "focal", "edge",
                    )
                },
            }  # fmt: skip
            log_row(settings.out / "metrics.csv", row)
            last_log, first_sample, sums = now, trainer.samples, {}
        if now - last_save > settings.checkpoint_seconds:
            trainer.save()
            last_save = now
        due = now - last_validation > settings.validate_seconds or done
        if due and pool.validation and settings.frame_share < 1:
            figures = validate(
                layout_net(trainer.average),
                pool,
                trainer.device,
                window_size=trainer.architecture.window_size,
            )
            log_row(settings.out / "validation.csv", {"minutes": trainer.seconds / 60, **figures})
            last_validation = now


if __name__ == "__main__":
    import tyro

    run(tyro.cli(Infinite3DSettings))
