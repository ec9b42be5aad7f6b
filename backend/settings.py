"""Settings of a tracking job; the command line is made from them, so they import nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

DetectorName = Literal["infinite3d", "dense"]


def _parse_point(values: list[str]) -> tuple[float, float]:
    x, y = values[0].split(",")
    return float(x), float(y)


Point = Annotated[
    tuple[float, float],
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="X,Y",
        instance_from_str=_parse_point,
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda point: [f"{point[0]:g},{point[1]:g}"],
    ),
]
"""A pixel, written x,y on the command line."""


@dataclass(frozen=True)
class TrackSettings:
    """How to track one face through a shot."""

    quality: Literal["preview", "final"] = "final"
    """"preview" goes frame by frame with an average face, without a texture; "final" solves the
    person's face, the focal length and the motion over the whole shot, and the texture."""
    focal_px: Annotated[float | None, tyro.conf.arg(metavar="PIXELS")] = None
    """Focal length in pixels of the full-size image; solved from the shot where not given."""
    subject: Annotated[Point | None, tyro.conf.arg(metavar="X,Y")] = None
    """A pixel on the wanted person in the first frame; the largest face where not given."""
    texture_size: Annotated[int, tyro.conf.arg(metavar="PIXELS")] = 2048
    """Side of the square texture in pixels; 0 for no texture."""
    device: Annotated[str, tyro.conf.arg(metavar="NAME")] = "auto"
    """Where to compute: "cpu", "cuda", "mps", or "auto": "cuda" where there is one, else "cpu"."""
