"""Train Infinite 3D Landmarks: ``python -m backend.train.infinite3d.trainer --help``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from backend.atomic import atomic_path
from backend.detect.infinite3d.architecture import PRESETS, Architecture
from backend.detect.infinite3d.canonical import CanonicalHead, canonical_head, join
from backend.detect.infinite3d.layout_net import layout_net
from backend.detect.infinite3d.network import Encoding, Infinite3D, LiteEncoder
from backend.detect.infinite3d.transformer import log_scale, resample, to_frame
from backend.detect.infinite3d.weights_file import save_network
from backend.detect.network import N_DENSE
from backend.errors import BadInputError
from backend.head.landmarks import layout
from backend.train.batches import BACKGROUND, SamplePool
from backend.train.dense_net import imagenet_weights, log_row, rate
from backend.train.infinite3d import losses
from backend.train.infinite3d.data import N_LANDMARKS, BatchMaker, QueryBatch, Step, StepStream
from backend.train.infinite3d.settings import Infinite3DSettings
from backend.train.infinite3d.truth import Truth
from backend.train.losses import landmark_weights, presence_loss
from backend.train.shards import KIND_PORTRAIT, KIND_REAL_SKIN, KIND_WARP
from backend.train.validate import validate

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "infinite3d.safetensors"
_CONTOUR_SHARE = 0.12
"""Of the silhouette's 17 points beside all queries."""


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
        self.device = torch.device(s.device)
        torch.manual_seed(s.seed)
        self._rng = np.random.default_rng(s.seed)
        self.architecture = architecture_of(s)
        self.net = Infinite3D(self.architecture).to(self.device)
        if isinstance(self.net.backbone, LiteEncoder):
            self.net.backbone.net.freeze(s.frozen_blocks)
            self.net.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = deepcopy(self.net).eval()
        self.optimiser = torch.optim.AdamW(self._groups(), betas=(0.9, 0.99), fused=True)
        self.step_count = self.samples = 0
        self.seconds = 0.0
        canonical: CanonicalHead = canonical_head()
        self._layout = canonical.layout("dense703").to(self.device)
        self._vertices = canonical.layout("all").to(self.device)
        self._corners = torch.from_numpy(layout("dense703").vertices)
        self._barycentric = torch.from_numpy(layout("dense703").barycentric).float()
        self._edges = _edges(canonical.head.faces)
        weights = torch.ones(N_LANDMARKS)
        weights[:68] = landmark_weights()[:68] * 2
        self._importance = weights
        self._contour_weight = landmark_weights()[N_DENSE:]

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
            self.net.backbone.load_state_dict(state, strict=False)
        if s.transformer_from is not None and self.net.transformer is not None:
            state = torch.load(s.transformer_from, map_location=self.device, weights_only=True)
            prefix = "transformer."
            part = {n: v for n, v in state["average"].items() if n.startswith(prefix)}
            self.net.transformer.load_state_dict(
                {name.removeprefix(prefix): value for name, value in part.items()}
            )
        self.average.load_state_dict(self.net.state_dict())

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
        terms = self._terms(step)
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

    def _terms(self, step: Step) -> dict[str, Tensor]:
        """Every term of the loss, unweighted."""
        terms: dict[str, Tensor] = {}
        batches: list[QueryBatch] = []
        pixels: list[Tensor] = []
        matrices: list[Tensor] = []
        presence: list[Tensor] = []
        if step.windows is not None:
            batches.append(step.windows)
            pixels.append(step.windows.input(self.device))
            count = len(step.windows.images)
            matrices.append(torch.eye(2, 3, device=self.device).expand(count, 2, 3))
        if step.frames is not None and self.net.transformer is not None:
            frames = step.frames.input(self.device)
            matrix, seen = self.net.transformer(frames)
            presence.append(presence_loss(seen, step.frames.presence.to(self.device)))
            has_face = step.frames.weight.gt(0).float().to(self.device)
            region = step.frames.region.to(self.device)
            terms["window"] = losses.window_loss(matrix, region, has_face)
            if not self.is_apart and step.windows is not None:
                batches.append(step.frames)
                pixels.append(resample(frames, matrix, self.architecture.window_size))
                matrices.append(matrix)
        if not batches:
            terms["presence"] = torch.stack(presence).sum()
            return terms
        with torch.set_grad_enabled(not self.is_apart):
            backbone = self.net.backbone
            x = torch.cat(pixels).contiguous(memory_format=torch.channels_last)
            pooled = backbone.pool(backbone.maps(x))
        encoding = self.net.describe_pooled(pooled)
        seen_in_window = encoding.presence[: len(step.windows.images)] if step.windows else None
        if step.windows is not None and seen_in_window is not None:
            wanted = step.windows.presence.to(self.device)
            presence.append(presence_loss(seen_in_window, wanted))
        terms["presence"] = torch.stack(presence).sum()
        batch = _joined(batches)
        self._landmark_terms(terms, encoding, batch, torch.cat(matrices), step)
        return terms

    def _landmark_terms(
        self,
        terms: dict[str, Tensor],
        encoding: Encoding,
        batch: QueryBatch,
        matrices: Tensor,
        step: Step,
    ) -> None:
        s, device = self.settings, self.device
        others = self._rng.choice(np.arange(68, N_LANDMARKS), s.queries - 68, replace=False)
        chosen = torch.from_numpy(np.concatenate([np.arange(68), others]))
        ends = self._edges[self._rng.integers(len(self._edges), size=s.edges)].reshape(-1)
        queries = join(self._layout[chosen.to(device)], self._vertices[ends.to(device)])
        truth, known = batch.truth, batch.truth.known[:, None]
        target = torch.cat([batch.points[:, chosen], truth.points[:, ends]], 1).to(device)
        valid = torch.cat([batch.valid[:, chosen], known.expand(-1, len(ends))], 1).to(device)
        weight = batch.weight.to(device)
        found = [
            self.net.landmarks(
                _rows(encoding, rows), self.net.encode_queries(queries, dataset), queries.mean
            )
            for dataset, rows in self._by_dataset(batch.dataset)
        ]
        order = torch.cat([rows for _, rows in self._by_dataset(batch.dataset)]).argsort()
        points = torch.cat([f.points for f in found])[order]
        log_sigma = torch.cat([f.log_sigma for f in found])[order]
        # In units of the true region, so that far and near faces count alike.
        scale = _region_log_scale(batch).to(device)[:, None]
        unit = torch.exp(-scale)[..., None]
        shift = log_scale(matrices)[:, None] - scale
        importance = torch.cat([self._importance[chosen], torch.ones(len(ends))]).to(device)
        terms["landmarks"] = losses.point_loss(
            to_frame(points, matrices) * unit,
            log_sigma + shift,
            target * unit,
            valid * importance,
            weight,
        )
        # The silhouette's part of the same likelihood.
        contour = batch.valid[:, N_LANDMARKS:].to(device) * self._contour_weight.to(device)
        terms["contour"] = _CONTOUR_SHARE * losses.point_loss(
            to_frame(encoding.contour, matrices) * unit,
            encoding.contour_log_sigma + shift,
            batch.points[:, N_LANDMARKS:].to(device) * unit,
            contour,
            weight,
        )
        if found[0].canonical is None:
            return
        canonical = torch.cat([f.canonical for f in found if f.canonical is not None])[order]
        corners = truth.canonical[:, self._corners[chosen]]
        surface = (corners * self._barycentric[chosen][..., None]).sum(2)
        wanted = torch.cat([surface, truth.canonical[:, ends]], 1).to(device)
        seen = (known * (batch.weight > 0)[:, None]).to(device)
        terms["shape"] = losses.shape_loss(canonical, wanted, seen.expand(-1, canonical.shape[1]))
        terms["edge"] = losses.edge_loss(
            canonical[:, len(chosen) :], wanted[:, len(chosen) :], seen[:, 0]
        )
        if step.windows is not None:  # the camera of a transformed frame is not the truth's
            part = _rows(encoding, torch.arange(len(step.windows.images)))
            seen_pose = _truth_of(step.windows, device)
            terms["pose"] = losses.pose_loss(part, seen_pose)
            terms["focal"] = losses.focal_loss(part.focal, seen_pose)

    def _by_dataset(self, dataset: Tensor) -> list[tuple[int, Tensor]]:
        if not self.architecture.deform_queries:
            return [(0, torch.arange(len(dataset)))]
        return [(int(d), (dataset == d).nonzero()[:, 0]) for d in dataset.unique()]

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


def _edges(faces: Tensor) -> Tensor:
    """(E,2) the mesh's edges, each once."""
    ends = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).sort(1).values
    return ends.unique(dim=0).cpu()


def _rows(encoding: Encoding, rows: Tensor) -> Encoding:
    return Encoding(**{name: value[rows] for name, value in vars(encoding).items()})


def _truth_of(batch: QueryBatch, device: torch.device) -> Truth:
    truth = batch.truth
    counts = truth.known * (batch.weight > 0)
    moved = {name: value.to(device) for name, value in vars(truth).items()}
    return Truth(**{**moved, "known": counts.to(device)})


def _joined(batches: list[QueryBatch]) -> QueryBatch:
    """Batches with images of different sizes as one, without its images."""
    first = batches[0]
    if len(batches) == 1:
        return first
    fields = {
        name: torch.cat([getattr(b, name) for b in batches])
        for name in ("points", "valid", "weight", "presence", "region", "dataset")
    }
    truth = Truth(
        **{n: torch.cat([getattr(b.truth, n) for b in batches]) for n in vars(first.truth)}
    )
    return QueryBatch(images=first.images, truth=truth, **fields)


def _region_log_scale(batch: QueryBatch) -> Tensor:
    """(B,) logarithm of half the true region's side in the cut's coordinates."""
    return log_scale(batch.region)


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
        trainer.save()
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
            figures = validate(layout_net(trainer.average), pool, trainer.device)
            log_row(settings.out / "validation.csv", {"minutes": trainer.seconds / 60, **figures})
            last_validation = now


if __name__ == "__main__":
    import tyro

    run(tyro.cli(Infinite3DSettings))
