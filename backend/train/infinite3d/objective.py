"""All terms of the loss of Infinite 3D Landmarks for one step."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from backend.detect.infinite3d.architecture import Architecture
from backend.detect.infinite3d.canonical import CanonicalHead, canonical_head, join
from backend.detect.infinite3d.network import Encoding, Infinite3D, Landmarks
from backend.detect.infinite3d.transformer import log_scale, resample, to_frame
from backend.detect.network import N_DENSE
from backend.head.landmarks import layout
from backend.train.infinite3d import losses
from backend.train.infinite3d.data import N_LANDMARKS, QueryBatch, Step
from backend.train.infinite3d.settings import Infinite3DSettings
from backend.train.infinite3d.truth import Truth
from backend.train.losses import landmark_weights, presence_loss

_CONTOUR_SHARE = 0.12
"""Of the silhouette's 17 points beside all queries."""


class Objective:
    """Asks the network for random queries and compares them with the truth."""

    def __init__(
        self, settings: Infinite3DSettings, architecture: Architecture, device: torch.device
    ) -> None:
        self.settings = settings
        self.architecture = architecture
        self.device = device
        self._rng = np.random.default_rng(settings.seed)
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

    def terms(self, net: Infinite3D, step: Step, is_apart: bool) -> dict[str, Tensor]:
        """Every term of the loss, unweighted; apart: frames do not reach the encoder."""
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
        if step.frames is not None and net.transformer is not None:
            frames = step.frames.input(self.device)
            matrix, seen = net.transformer(frames)
            presence.append(presence_loss(seen, step.frames.presence.to(self.device)))
            has_face = step.frames.weight.gt(0).float().to(self.device)
            region = step.frames.region.to(self.device)
            terms["window"] = losses.window_loss(matrix, region, has_face)
            if not is_apart and step.windows is not None:
                batches.append(step.frames)
                pixels.append(resample(frames, matrix, self.architecture.window_size))
                matrices.append(matrix)
        if not batches:
            terms["presence"] = torch.stack(presence).sum()
            return terms
        with torch.set_grad_enabled(not is_apart):
            backbone = net.backbone
            x = torch.cat(pixels).contiguous(memory_format=torch.channels_last)
            maps, taps = backbone.maps_and_taps(x)
        encoding = net.look(maps, taps)
        if step.windows is not None:
            in_windows = encoding.presence[: len(step.windows.images)]
            presence.append(presence_loss(in_windows, step.windows.presence.to(self.device)))
        terms["presence"] = torch.stack(presence).sum()
        batch = _joined(batches)
        self._landmark_terms(net, terms, encoding, batch, torch.cat(matrices), step)
        return terms

    def _landmark_terms(
        self,
        net: Infinite3D,
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
        groups = self._by_dataset(batch.dataset)
        found = [
            net.landmarks(encoding.rows(rows), net.encode_queries(queries, dataset), queries.mean)
            for dataset, rows in groups
        ]
        order = torch.cat([rows for _, rows in groups]).argsort()
        # In units of the true region, so that far and near faces count alike.
        scale = log_scale(batch.region).to(device)[:, None]
        unit = torch.exp(-scale)[..., None]
        shift = log_scale(matrices)[:, None] - scale
        importance = torch.cat([self._importance[chosen], torch.ones(len(ends))]).to(device)
        # What a closer look corrected has to be good before it, too.
        rounds: list[Landmarks | None] = list(found)
        parts: list[Tensor] = []
        while all(f is not None for f in rounds):
            now = [f for f in rounds if f is not None]
            parts.append(
                losses.point_loss(
                    to_frame(torch.cat([f.points for f in now])[order], matrices) * unit,
                    torch.cat([f.log_sigma for f in now])[order] + shift,
                    target * unit,
                    valid * importance,
                    weight,
                )
            )
            rounds = [f.before for f in now]
        terms["landmarks"], *terms_before = parts
        if terms_before:
            terms["before"] = torch.stack(terms_before).mean()
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
        if len(batch.twins):
            terms["twins"] = losses.twin_loss(canonical, batch.twins.to(device), weight)
        if step.windows is not None:  # the camera of a transformed frame is not the truth's
            part = encoding.rows(torch.arange(len(step.windows.images)))
            seen_pose = _truth_of(step.windows, device)
            terms["pose"] = losses.pose_loss(part, seen_pose)
            terms["focal"] = losses.focal_loss(part.focal, seen_pose)

    def _by_dataset(self, dataset: Tensor) -> list[tuple[int, Tensor]]:
        if not self.architecture.deform_queries:
            return [(0, torch.arange(len(dataset)))]
        return [(int(d), (dataset == d).nonzero()[:, 0]) for d in dataset.unique()]


def _edges(faces: Tensor) -> Tensor:
    """(E,2) the mesh's edges, each once."""
    ends = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).sort(1).values
    return ends.unique(dim=0).cpu()


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
    # Windows come first, and frames have no twins.
    return QueryBatch(images=first.images, truth=truth, twins=first.twins, **fields)
