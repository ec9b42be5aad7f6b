"""Batches of windows and of whole frames, with landmarks and the full truth, made in a thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backend.detect.windows import Window, roi
from backend.head import Head
from backend.train.augment import AugmentSettings, Cut, WindowSampler
from backend.train.batches import SamplePool
from backend.train.infinite3d.truth import Truth, TruthMaker
from backend.train.losses import presence_target
from backend.train.shards import KIND_PORTRAIT, KIND_REAL_SKIN, KIND_SYNTHETIC

N_LANDMARKS = 703


@dataclass(frozen=True)
class QueryBatch:
    """B cuts of one size; coordinates are the cut's own, [-1,1] from its outer edges."""

    images: Tensor
    """(B,S,S,3) u8."""
    points: Tensor
    """(B,720,2) dense703, then the jaw's silhouette."""
    valid: Tensor
    """(B,720)."""
    weight: Tensor
    """(B,) of the landmarks, 0 without a face."""
    presence: Tensor
    """(B,) 1 for a face, 0 for none, -1 for neither."""
    region: Tensor
    """(B,2,3) the true region of interest as a matrix."""
    dataset: Tensor
    """(B,) which dataset code the labels follow."""
    truth: Truth
    """Of the samples whose geometry is known."""
    twins: Tensor
    """(P,2) which two show the same face in the same expression."""

    def input(self, device: torch.device) -> Tensor:
        """The images as the network wants them (B,3,S,S)."""
        return self.images.to(device).permute(0, 3, 1, 2).float()


@dataclass(frozen=True)
class Step:
    """What one step of the optimiser sees."""

    windows: QueryBatch | None
    frames: QueryBatch | None


class BatchMaker:
    """Cuts random samples and works out their truth."""

    def __init__(
        self,
        pool: SamplePool,
        frames: SamplePool | None,
        settings: AugmentSettings,
        seed: int,
        twin_share: float = 0.0,
    ) -> None:
        """twin_share: of the windows, two views of one face where shards have them."""
        self.pool = pool
        self._twin_share = twin_share
        self.frames = frames
        self._sampler = WindowSampler(settings, np.random.default_rng(seed), N_LANDMARKS)
        self._truth = TruthMaker(Head.load())

    def scan(self) -> None:
        """Take in the shards that have arrived."""
        self.pool.scan()
        if self.frames is not None:
            self.frames.scan()

    def windows(self, count: int, size: int) -> QueryBatch:
        """Windows as the tracker cuts them, some of them careless or off the face."""
        rng = self._sampler.rng
        samples: list[dict[str, NDArray]] = []
        for _ in range(round(0.5 * self._twin_share * count)):
            samples += self.pool.twins(rng)
        twins = len(samples) // 2
        samples += [self.pool.sample(rng) for _ in range(count - len(samples))]
        return self._batch(samples, [self._sampler.cut(s, size) for s in samples], False, twins)

    def whole(self, count: int, size: int) -> QueryBatch:
        """Whole frames, in which the spatial transformer has to find the face."""
        assert self.frames is not None
        samples = [self.frames.sample(self._sampler.rng) for _ in range(count)]
        cuts = [self._sampler.cut(s, size, whole=True) for s in samples]
        return self._batch(samples, cuts, True)

    def step(self, plan: Mapping[str, int], count: int) -> Step:
        """The step of a plan: how many `windows` and `frames`, `window_size` and `frame_size` (px).

        count: its number; now and then new shards are looked for.
        """
        if count % 200 == 0:
            self.scan()
        n_windows, n_frames = plan["windows"], plan["frames"]
        return Step(
            self.windows(n_windows, plan["window_size"]) if n_windows else None,
            self.whole(n_frames, plan["frame_size"]) if n_frames else None,
        )

    def _batch(
        self, samples: list[dict[str, NDArray]], cuts: list[Cut], whole: bool, twins: int = 0
    ) -> QueryBatch:
        size = cuts[0].image.shape[0]
        kinds = np.array([int(sample["kind"]) for sample in samples])
        has_face = np.array([cut.has_face for cut in cuts])
        known = np.isin(kinds, (KIND_SYNTHETIC, KIND_REAL_SKIN)) & has_face
        # What is stored of a scanned person's head is not all coefficients (scanned.py).
        cameras = [np.asarray(s.get("scanned_camera", s["camera"])) for s in samples]
        camera = np.stack(cameras).astype(np.float32)
        known &= camera[:, 0] > 0
        camera[~known, 17] += 1.0  # some depth to divide by
        truth = self._truth.make(
            camera,
            np.stack([np.asarray(s["coefficients"]) for s in samples]).astype(np.float32),
            known.tolist(),
            cuts,
            [np.asarray(s["images"]).shape[0] for s in samples],
            _offsets(samples),
        )
        regions = [_region(cut, size) for cut in cuts]
        face = torch.tensor([cut.face for cut in cuts], dtype=torch.float32)
        faces = torch.from_numpy(has_face)
        return QueryBatch(
            images=torch.from_numpy(np.stack([cut.image for cut in cuts])),
            points=torch.from_numpy(np.stack([(2 * c.points + 1) / size - 1 for c in cuts])),
            valid=torch.from_numpy(np.stack([cut.valid for cut in cuts])),
            weight=_weights(cuts, face, size, whole),
            presence=faces.float() if whole else _presence(face, faces, size),
            region=torch.from_numpy(np.stack(regions)).float(),
            dataset=torch.from_numpy((kinds == KIND_PORTRAIT).astype(np.int64)),
            truth=truth,
            # A mirrored face is another one.
            twins=torch.tensor(
                [
                    [2 * i, 2 * i + 1]
                    for i in range(twins)
                    if cuts[2 * i].mirrored == cuts[2 * i + 1].mirrored
                ]
            )
            .reshape(-1, 2)
            .long(),
        )


def _offsets(samples: list[dict[str, NDArray]]) -> NDArray[np.float32] | None:
    """(B,N,3) of scanned people's heads, zeros for all others; None where there are none."""
    scanned = {i: s["scanned_offset"] for i, s in enumerate(samples) if "scanned_offset" in s}
    if not scanned:
        return None
    offsets = np.zeros((len(samples), *next(iter(scanned.values())).shape), np.float32)
    for number, offset in scanned.items():
        offsets[number] = offset
    return offsets


def _presence(face: Tensor, has_face: Tensor, size: int) -> Tensor:
    offset = (face[:, :2] - (size - 1) / 2).norm(dim=1) / size
    return presence_target(offset, size / face[:, 2].clamp(min=1.0), has_face)


def _weights(cuts: list[Cut], face: Tensor, size: int, whole: bool) -> Tensor:
    """Landmarks count where the face is in the window, though presence may not be asked for."""
    weight = torch.tensor([cut.weight for cut in cuts], dtype=torch.float32)
    if whole:
        return weight
    offset = (face[:, :2] - (size - 1) / 2).norm(dim=1) / size
    scale = size / face[:, 2].clamp(min=1.0)
    return weight * ((offset < 0.35) & (scale > 0.55) & (scale < 1.8))


def _region(cut: Cut, size: int) -> NDArray[np.float64]:
    """The true region of interest as a matrix from window to cut coordinates."""
    if not cut.has_face:
        return np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    return matrix_of(roi(cut.points), size)


def matrix_of(window: Window, size: int) -> NDArray[np.float64]:
    """(2,3) from a window's coordinates to those of the square image of `size` that it lies on."""
    centre = (2 * np.array([window.x, window.y]) + 1) / size - 1
    return np.hstack([window.axes() * 2 / size, centre[:, None]])
