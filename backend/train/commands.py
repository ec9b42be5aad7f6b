"""`mien render` and `mien train`: what only those who train the detector need."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import cv2
import numpy as np
import tyro

from backend.picture_file import write_picture

from .dense_net import TrainSettings
from .factory.commands import FactorySettings
from .factory.travel import PackSettings, UnpackSettings
from .generate import FaceGenerator, GenerateSettings, generate
from .infinite3d.settings import Infinite3DSettings
from .performance import PerformanceSettings, render_performance
from .report import ReportSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray

TILE = 240


@dataclass(frozen=True)
class Sources:
    """Local training material, each made by one command."""

    assets: Path = Path("training/assets.npz")
    """Asset library, by `python -m backend.train.assets_build`."""
    base: Path = Path("training/base.npz")
    """Training base, by `python -m backend.head.build --training-base`."""
    skins: Path | None = None
    """Real skins, by `python -m backend.train.portraits`."""
    scanned: Path | None = None
    """Modes of scanned people on this mesh; all heads of sheet, data and frames are then theirs."""


@dataclass(frozen=True)
class Render:
    """Render synthetic faces.

    sheet: a contact sheet of training faces with their landmarks. performance: a clip whose truth
    is known. data: shards of crops about the face. frames: shards of whole frames, for the spatial
    transformer. heads: identities, all expressions and the landmark layouts of the shipped head
    (needs no training material).
    """

    what: Annotated[
        Literal["sheet", "performance", "data", "frames", "heads"], tyro.conf.Positional
    ]
    """What to render."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """A .png for sheet, an .mp4 for performance, a folder for data, frames and heads."""
    sources: Sources = field(default_factory=Sources)
    """Training material."""
    views: int = 1
    """Images in the shards of each face in its expression, from cameras of their own."""
    count: int = 48
    """Faces on the sheet, or images in the shards."""
    seconds: float = 2.4
    """Length of the performance."""
    width: int = 640
    """Pixels of the performance."""
    height: int = 480
    """Pixels of the performance."""
    field_of_view_deg: float = 38.0
    """Horizontal field of view of the performance's camera."""
    turn_deg: float = 22.0
    """How far the performance's head turns to either side."""
    seed: int = 3
    """Another seed gives other faces."""

    def run(self) -> None:
        """Render; raises `MienError` where a file is missing or cannot be written."""
        s = self.sources
        if self.what == "heads":
            from backend.evaluate.sheets import render_head_sheets

            render_head_sheets(self.output)
            return
        if self.what == "performance":
            render_performance(
                PerformanceSettings(
                    s.assets, s.base, self.output, seconds=self.seconds, width=self.width,
                    height=self.height, field_of_view_deg=self.field_of_view_deg,
                    turn_deg=self.turn_deg, skins=s.skins, seed=self.seed,
                )
            )  # fmt: skip
            return
        settings = GenerateSettings(
            s.assets, s.base, self.output, skins=s.skins, scanned=s.scanned, count=self.count,
            seed=self.seed, views=self.views,
        )  # fmt: skip
        if self.what in ("data", "frames"):
            frames = replace(settings, image_size=256, farthest=6.5, shard_size=256)
            generate(frames if self.what == "frames" else settings)
            return
        write_picture(self.output, training_sheet(settings, self.count))


def training_sheet(settings: GenerateSettings, count: int, columns: int = 8) -> NDArray[np.uint8]:
    """Random training faces, every second column with its landmarks (red where hidden)."""
    generator = FaceGenerator(settings, 0)
    tiles = []
    for number in range(count):
        sample = generator.sample()
        image = np.asarray(sample["images"])
        scale = TILE / image.shape[0]
        tile = cv2.resize(image, (TILE, TILE), interpolation=cv2.INTER_CUBIC)
        if number % 2 and sample["has_face"]:
            inner = np.asarray(sample["landmarks"])[17:68]
            visible = np.asarray(sample["visible"])[17:68]
            for point, seen in zip(inner, visible, strict=True):
                _dot(tile, point * scale, (60, 220, 60) if seen else (230, 60, 60))
            for point in np.asarray(sample["contour"]):
                _dot(tile, point * scale, (220, 60, 220))
        tiles.append(tile)
    blank = np.full((TILE, TILE, 3), 255, np.uint8)
    tiles += [blank] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    return np.vstack(rows)


def _dot(
    image: NDArray[np.uint8], point: NDArray[np.float64], colour: tuple[int, int, int]
) -> None:
    x, y = np.round(point).astype(int).tolist()
    cv2.circle(image, (x, y), 2, colour, -1, cv2.LINE_AA)


@dataclass(frozen=True)
class Train:
    """Train the detector: all of it by the factory, or one network on shards of faces.

    Everything can be interrupted. The factory goes on where it was; a single run does so with
    --resume.
    """

    settings: tyro.conf.OmitSubcommandPrefixes[
        Annotated[TrainSettings, tyro.conf.subcommand("dense")]
        | Annotated[Infinite3DSettings, tyro.conf.subcommand("infinite3d")]
        | Annotated[FactorySettings, tyro.conf.subcommand("factory")]
        | Annotated[PackSettings, tyro.conf.subcommand("pack")]
        | Annotated[UnpackSettings, tyro.conf.subcommand("unpack")]
        | Annotated[ReportSettings, tyro.conf.subcommand("report")]
    ]
    """Which network, and how."""

    def run(self) -> None:
        """Train; raises `MienError`."""
        module, name = _TRAINING[type(self.settings)]
        getattr(importlib.import_module(module), name)(self.settings)


_TRAINING: dict[type, tuple[str, str]] = {
    TrainSettings: ("backend.train.dense_net", "run"),
    Infinite3DSettings: ("backend.train.infinite3d.trainer", "run"),
    FactorySettings: ("backend.train.factory.commands", "run"),
    PackSettings: ("backend.train.factory.travel", "pack"),
    UnpackSettings: ("backend.train.factory.travel", "unpack"),
    ReportSettings: ("backend.train.report", "report"),
}
"""Module and function that does what the settings say."""
