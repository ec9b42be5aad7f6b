"""Settings that every benchmark takes; each uses those that mean something to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from backend.errors import CancelledError
from backend.settings import DetectorName


@dataclass(frozen=True)
class BenchSettings:
    """How to run a benchmark."""

    data: Path | None = None
    """Folder with the material that a benchmark measures on, where the package ships none."""
    quick: bool = False
    """Fewer cases: a check that it runs, not a figure to quote."""
    seed: int = 0
    """Seed of whatever is random."""
    device: str = "auto"
    """Where to compute: "cpu", "cuda", "mps", or "auto"."""
    detectors: Annotated[tuple[DetectorName, ...], tyro.conf.arg(name="detector")] = (
        "infinite3d",
        "dense",
    )
    """Detectors to measure side by side; figures of those after the first begin with their name."""
    weights: Path | None = None
    """Weights of the first detector, in place of the shipped ones."""
    quality: Literal["fast", "final"] | None = None
    """Looks at each face; where not given, "final" on photographs and "fast" on footage."""
    peer: bool = True
    """Also measure MediaPipe FaceMesh, in an environment that is made for it the first time."""
    face_height: float | None = None
    """Shrink every photograph into a 1080-row frame until the labelled face has this share of its
    height: 0.05, say."""
    shards: Path | None = None
    """Folder of rendered shards: errors on their validation samples, by yaw."""
    assets: Path | None = None
    """Asset library, by `python -m backend.train.assets_build`: more performances are rendered."""
    base: Path | None = None
    """Training base that goes with it, by `python -m backend.head.build --training-base`."""
    skins: Path | None = None
    """Real skins for these performances, by `python -m backend.train.portraits`."""


class PartialFigures(CancelledError):
    """A benchmark was stopped; `figures` hold what had been measured."""

    def __init__(self, message: str, figures: dict[str, float]) -> None:
        super().__init__(message)
        self.figures = figures
