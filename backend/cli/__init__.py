"""The command line. Commands are frozen dataclasses; what they need is imported when they run."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from backend.cli.bake import Bake
from backend.cli.bench import Bench
from backend.cli.export import Export
from backend.cli.identity import Identity
from backend.cli.landmarks import Landmarks
from backend.cli.live import Live
from backend.cli.outcome import exit_code_of
from backend.cli.refine import Refine
from backend.cli.serve import Serve
from backend.cli.track import TrackClip
from backend.errors import BadInputError
from shared.version import __version__

_DESCRIPTION = f"""Mien {__version__}: face tracking for Blender.

A clip of a person becomes an animated head that sits on the footage.

Exit codes: 0 done, 2 bad input, 3 no face found, 4 cancelled, 5 out of memory, 6 missing weights,
1 anything else."""


@dataclass(frozen=True)
class _Heavy:
    """Stands in the list of commands for one whose settings load more than a help page should."""


HEAVY_COMMANDS: dict[str, tuple[str, str]] = {
    "render": ("backend.train.commands", "Render"),
    "train": ("backend.train.commands", "Train"),
}
"""Module and class of the commands that need the `train` extra."""

_RENDER = "Render synthetic faces: a contact sheet, a performance with its truth, training data."
_TRAIN = "Train the detector on rendered faces."

Command = (
    Annotated[TrackClip, tyro.conf.subcommand("track")]
    | Annotated[Refine, tyro.conf.subcommand("refine")]
    | Annotated[Identity, tyro.conf.subcommand("identity")]
    | Annotated[Landmarks, tyro.conf.subcommand("landmarks")]
    | Annotated[Live, tyro.conf.subcommand("live")]
    | Annotated[Bake, tyro.conf.subcommand("bake")]
    | Annotated[Export, tyro.conf.subcommand("export")]
    | Annotated[Serve, tyro.conf.subcommand("serve")]
    | Annotated[Bench, tyro.conf.subcommand("bench")]
    | Annotated[_Heavy, tyro.conf.subcommand("render", description=_RENDER)]
    | Annotated[_Heavy, tyro.conf.subcommand("train", description=_TRAIN)]
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code; `arguments` default to the process's own."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments == ["--version"]:
        print(f"mien {__version__}")
        return
    sys.exit(exit_code_of(lambda: _parse(arguments).run()))


def _parse(arguments: list[str]) -> Any:
    config = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)
    name = arguments[0] if arguments else ""
    if name in HEAVY_COMMANDS:
        return tyro.cli(_load(name), prog=f"mien {name}", args=arguments[1:], config=config)
    return tyro.cli(Command, prog="mien", description=_DESCRIPTION, args=arguments, config=config)


def _load(name: str) -> type:
    module, class_name = HEAVY_COMMANDS[name]
    try:
        loaded: type = getattr(importlib.import_module(module), class_name)
    except ImportError as error:
        raise BadInputError(
            f'"mien {name}" needs what training needs ({error}): pip install "mien[train]"'
        ) from error
    return loaded
