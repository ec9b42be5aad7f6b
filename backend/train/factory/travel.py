"""`mien train pack` and `mien train unpack`: the state of a training as files that can travel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from backend.errors import BadInputError
from backend.train.factory.packing import PART_BYTES, pack_files, unpack_files

ASSETS_LIMIT_MB = 60.0
"""Of all that the renderer needs, packed."""
_MATERIAL = ("assets.npz", "base.npz", "portraits/skins.npz", "portraits/fits.npz")
"""What the renderer and the trainers need beside shards; of the portraits only what is small."""
_RUN_FILES = ("checkpoint.pt", "metrics.csv", "validation.csv")


@dataclass(frozen=True)
class PackSettings:
    """Write a training's state as files of at most 16 MiB with checksums and a manifest."""

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder of `mien train factory`, or of one run (with a checkpoint.pt)."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder of the parts; an older pack in it is replaced."""
    what: Literal["state", "assets", "shards", "all"] = "state"
    """state: checkpoints, weights, tables and what is done; assets: what the renderer needs;
    shards: the rendered samples; all: everything of these."""
    runs: tuple[str, ...] = ()
    """Only these runs of a factory's folder, by name; all of them when not given."""
    light: bool = False
    """Leave out exported weights: a run writes them again whenever it saves."""
    part_mib: float = PART_BYTES / 2**20
    """Largest part."""


@dataclass(frozen=True)
class UnpackSettings:
    """Restore what `mien train pack` wrote, bit for bit."""

    pack: Annotated[Path, tyro.conf.Positional]
    """Folder with manifest.json and its parts."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder to write into; files of the same names are replaced."""


def chosen_files(s: PackSettings) -> list[Path]:
    """The files that a pack is to hold; raises `BadInputError` where there are none."""
    if not s.folder.is_dir():
        raise BadInputError(f"{s.folder}: no folder.")
    found: list[Path] = []
    if s.what in ("assets", "all"):
        found += [s.folder / name for name in _MATERIAL if (s.folder / name).is_file()]
    if s.what in ("state", "all"):
        runs = [path.parent for path in sorted(s.folder.glob("*/checkpoint.pt"))]
        unknown = set(s.runs) - {run.name for run in runs}
        if unknown:
            raise BadInputError(f"{s.folder}: has no run {', '.join(sorted(unknown))}.")
        folders = [run for run in runs if not s.runs or run.name in s.runs]
        found += sorted(s.folder.glob("stages/*.json"))
        found += [] if s.light else sorted(s.folder.glob("weights/*"))
        for run in [s.folder, *folders]:
            patterns = _RUN_FILES if s.light else (*_RUN_FILES, "*.safetensors")
            found += [path for pattern in patterns for path in sorted(run.glob(pattern))]
    if s.what in ("shards", "all"):
        found += sorted(s.folder.glob("shards/*/shard-*/*.npy"))
    if not found:
        raise BadInputError(f"{s.folder}: there is nothing to pack ({s.what}).")
    return found


def pack(s: PackSettings) -> None:
    """Pack and say what was written; raises `BadInputError`."""
    if s.part_mib <= 0:
        raise BadInputError("--part-mib is a positive size.")
    files = chosen_files(s)
    if s.what == "assets":
        size = sum(path.stat().st_size for path in files) / 1e6
        if size > ASSETS_LIMIT_MB:
            raise BadInputError(
                f"The rendering assets take {size:.1f} MB, more than {ASSETS_LIMIT_MB:g}. Smaller "
                "skins help: python -m backend.train.assets_build --skin-size 1024."
            )
    size = pack_files(s.folder, files, s.output, int(s.part_mib * 2**20))
    before = sum(path.stat().st_size for path in files)
    print(
        f"{s.output}: {len(files)} files of {before / 1e6:.1f} MB in "
        f"{len(list(s.output.glob('part-*.bin')))} parts of {size / 1e6:.1f} MB"
    )


def unpack(s: UnpackSettings) -> None:
    """Unpack and say what was written; raises `BadInputError`."""
    written = unpack_files(s.pack, s.output)
    print(f"{s.output}: {len(written)} files, every checksum right")
