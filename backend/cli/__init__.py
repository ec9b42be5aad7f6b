"""The command line. Commands are frozen dataclasses; what they need is imported when they run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import tyro

from backend.cli.bench import Bench
from backend.cli.landmarks import Landmarks
from backend.cli.outcome import exit_code_of
from backend.cli.serve import Serve
from backend.cli.track import TrackClip
from shared.version import __version__

_DESCRIPTION = f"""Mien {__version__}: face tracking for Blender.

A clip of a person becomes an animated head that sits on the footage.

Exit codes: 0 done, 2 bad input, 3 no face found, 4 cancelled, 5 out of memory, 6 missing weights,
1 anything else."""

Command = (
    Annotated[TrackClip, tyro.conf.subcommand("track")]
    | Annotated[Landmarks, tyro.conf.subcommand("landmarks")]
    | Annotated[Serve, tyro.conf.subcommand("serve")]
    | Annotated[Bench, tyro.conf.subcommand("bench")]
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code; `arguments` default to the process's own."""
    if list(arguments if arguments is not None else sys.argv[1:]) == ["--version"]:
        print(f"mien {__version__}")
        return
    command = tyro.cli(
        Command,  # type: ignore[arg-type]
        prog="mien",
        description=_DESCRIPTION,
        args=arguments,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
    )
    sys.exit(exit_code_of(command.run))
