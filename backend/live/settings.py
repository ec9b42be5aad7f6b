"""Settings of live tracking; the command line is made from them, so they import nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from backend.settings import DetectorName, LensSettings


@dataclass(frozen=True, kw_only=True)
class LiveSettings(LensSettings):
    """How a face is followed as it comes."""

    detector: DetectorName = "infinite3d"
    """"infinite3d" is the exact one; "dense" misses blinks (docs/live.md)."""
    n_landmarks: Annotated[int, tyro.conf.arg(metavar="N")] = 112
    """Landmarks of the 320 that are asked for and fitted: fewer cost less."""
    full_every: Annotated[int, tyro.conf.arg(metavar="N")] = 10
    """After how many frames at most "infinite3d" looks at the whole face anew; those between are
    light looks at the landmarks alone, unless the face moves or turns. 1 for full looks only."""
    precision: Literal["fast", "exact"] = "fast"
    """"fast" lets processors that have bfloat16 use it; "exact" computes in 32 bits."""
