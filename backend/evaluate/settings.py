"""Settings that every benchmark takes; each uses those that mean something to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


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
