"""`mien export`: a track in a file that other programs read."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class Export:
    """Write a track as CSV (Live Link Face), USD or glTF."""

    track: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="TRACK.npz")]
    """The result of "mien track"."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="OUT")]
    """File to write. Its ending chooses the format. .csv: expressions, head and eye angles as Live
    Link Face records them; .usdc or .usda: the exact mesh of every frame, texture and camera;
    .glb: named morph targets on an animated skin. docs/export.md says more."""

    def run(self) -> None:
        """Read, write, and say what was written; raises `MienError`."""
        from backend.export import check_suffix, export_track
        from backend.track import Track

        check_suffix(self.output)
        track = Track.load(self.track)
        written = export_track(track, self.output)
        names = " and ".join(map(str, written))
        print(f"{names}: {track.n_frames} frames", file=sys.stderr)
