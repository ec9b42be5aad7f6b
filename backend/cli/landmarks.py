"""`mien landmarks`: the faces of pictures, as landmarks in one file."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from backend.errors import BadInputError
from backend.settings import DetectorName


@dataclass(frozen=True)
class Landmarks:
    """Find the faces in pictures and write their landmarks."""

    images: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="IMAGES")]
    """Pictures, or folders of pictures."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="OUT.npz")]
    """File to write. It has one row for each face, largest first within a picture, and one row
    with found = False for a picture without a face: names (R,), landmarks_2d (R, L, 2) in pixels
    of the full picture, sigma (R, L) in pixels, found (R,)."""
    layout: Literal["ibug68", "dense320", "dense703", "all"] = "ibug68"
    """Which landmarks: the 68 of iBUG's markup, the 320 that tracking uses, 703 over the head,
    or every vertex of the head."""
    max_faces: Annotated[int, tyro.conf.arg(metavar="N")] = 1
    """Most faces to report in one picture."""
    skip_bad: bool = False
    """Go on after a picture that cannot be read, and leave it out."""
    detector: DetectorName = "infinite3d"
    """The most exact detector, or the quicker one, which knows only the first two layouts."""
    device: Annotated[str, tyro.conf.arg(metavar="NAME")] = "auto"
    """Where to compute: "cpu", "cuda", "mps", or "auto"."""

    def run(self) -> None:
        """Detect and write the file; raises `MienError`."""
        if self.output.suffix != ".npz":
            raise BadInputError(f"{self.output}: the output's name must end in .npz.")
        if not self.images:
            raise BadInputError("Name pictures, or folders of pictures.")
        if self.max_faces < 1:
            raise BadInputError("--max-faces must be at least 1.")
        from tqdm import tqdm

        from backend.atomic import check_output
        from backend.landmarks import find_landmarks, list_pictures, save_landmarks

        check_output(self.output)
        pictures = list_pictures(self.images)
        bar = tqdm(pictures, desc="Finding faces", unit="picture", file=sys.stderr)
        rows = find_landmarks(
            bar,
            layout=self.layout,
            max_faces=self.max_faces,
            skip_bad=self.skip_bad,
            device=self.device,
            detector=self.detector,
            on_bad=lambda error: bar.write(f"warning: {error}", file=sys.stderr),
        )
        save_landmarks(self.output, rows)
        print(
            f"{self.output}: {int(rows.found.sum())} faces in {len(set(rows.names))} pictures",
            file=sys.stderr,
        )
