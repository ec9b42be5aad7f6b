"""`mien bench`: every figure that the documentation states, measured again."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from backend.atomic import atomic_path
from backend.errors import BadInputError
from backend.evaluate.settings import BenchSettings

BENCHMARKS: dict[str, tuple[str, str]] = {
    "track": ("backend.evaluate.track_speed", "Seconds a frame of every stage, to real time"),
    "fit": ("backend.evaluate.fit_recovery", "Rendered heads of known truth, fitted back"),
    "bake": ("backend.evaluate.bake", "Visibility and texture of heads with a known skin"),
    "service": ("backend.server.bench", "Latency, throughput, cancelling, kills, junk"),
    "faces": ("backend.evaluate.faces", "Landmarks on photographs with points set by hand"),
}
"""Name, module with `run(settings) -> dict of figures`, and a sentence for each benchmark."""


@dataclass(frozen=True)
class Bench:
    """Run a benchmark, print its table, and write its figures by name."""

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME")] = ""
    """Which one; without a name, the list of them is printed."""
    json_file: Annotated[Path | None, tyro.conf.arg(name="json", metavar="FILE")] = None
    """Also write the figures to this JSON file."""
    names: bool = False
    """Print the names alone, one a line."""
    settings: BenchSettings = field(default_factory=BenchSettings)
    """How to run it."""

    def run(self) -> None:
        """Run the benchmark; raises `MienError`."""
        if self.names or not self.name:
            for name, (_, sentence) in BENCHMARKS.items():
                print(name if self.names else f"{name:<10}{sentence}")
            return
        if self.name not in BENCHMARKS:
            raise BadInputError(
                f'There is no benchmark "{self.name}"; there are {", ".join(BENCHMARKS)}.'
            )
        module = importlib.import_module(BENCHMARKS[self.name][0])
        figures: dict[str, float] = module.run(self.settings)
        width = max(map(len, figures), default=0)
        for name, value in figures.items():
            print(f"{name:<{width}}  {value:.4g}")
        if self.json_file is not None:
            with atomic_path(self.json_file) as temporary:
                report = {"benchmark": self.name, "settings": asdict(self.settings)}
                text = json.dumps({**report, "figures": figures}, indent=2, default=str)
                temporary.write_text(text + "\n")
            print(f"written: {self.json_file}", file=sys.stderr)
