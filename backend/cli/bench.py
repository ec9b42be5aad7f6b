"""`mien bench`: every figure that the documentation states, measured again."""

from __future__ import annotations

import importlib
import json
import math
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Annotated

import tyro

from backend.atomic import atomic_path
from backend.cli.bench_table import as_table
from backend.errors import BadInputError
from backend.evaluate.settings import BenchSettings, PartialFigures

BENCHMARKS: dict[str, tuple[str, str]] = {
    "track": ("backend.evaluate.track_speed", "Seconds a frame of every stage, to real time"),
    "fit": ("backend.evaluate.fit_recovery", "Rendered heads of known truth, fitted back"),
    "refine": ("backend.evaluate.refine_speed", "How long a pin takes in a solved shot"),
    "bake": ("backend.evaluate.bake", "Visibility and texture of heads with a known skin"),
    "blender": ("backend.evaluate.blender", "The add-on in a real Blender: stalls, scene, sizes"),
    "service": ("backend.server.bench", "Latency, throughput, cancelling, kills, junk"),
    "faces": ("backend.evaluate.faces", "Landmarks on photographs with points set by hand"),
    "training": ("backend.evaluate.training_speed", "Images a second rendered, prepared, trained"),
    "live": ("backend.evaluate.live", "Time, jitter and lag of a face that is followed live"),
    "video": ("backend.evaluate.video", "Jitter on footage, and motion against a known truth"),
}
"""Name, module with `run(settings) -> dict of figures`, and a sentence for each benchmark.

A module's `COLUMNS` are prefixes of names whose figures are a column of the table of their own."""
NEED_DATA = ("faces", "training")
"""Those that measure on nothing that the package ships."""


@dataclass(frozen=True)
class Bench:
    """Run a benchmark, print its table, and write its figures by name."""

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME")] = ""
    """Which one; without a name, the list of them is printed."""
    json_file: Annotated[Path | None, tyro.conf.arg(name="json", metavar="FILE")] = None
    """Also write the figures to this JSON file."""
    names: bool = False
    """Print the names alone, one a line, of those that need no --data."""
    settings: BenchSettings = field(default_factory=BenchSettings)
    """How to run it."""

    def run(self) -> None:
        """Run the benchmark; raises `MienError`."""
        if self.names or not self.name:
            for name, (_, sentence) in BENCHMARKS.items():
                if not self.names:
                    print(f"{name:<10}{sentence}")
                elif name not in NEED_DATA:
                    print(name)
            return
        if self.name not in BENCHMARKS:
            raise BadInputError(
                f'There is no benchmark "{self.name}"; there are {", ".join(BENCHMARKS)}.'
            )
        module = importlib.import_module(BENCHMARKS[self.name][0])
        try:
            figures: dict[str, float] = module.run(self.settings)
        except PartialFigures as error:
            self._report(module, error.figures, partial=True)
            raise
        self._report(module, figures, partial=False)

    def _report(self, module: ModuleType, figures: dict[str, float], partial: bool) -> None:
        detectors = (f"{name}_" for name in self.settings.detectors[1:])
        print(as_table(figures, (*getattr(module, "COLUMNS", ()), *detectors)))
        if self.json_file is None:
            return
        # JSON has no NaN, which stands for what nothing was measured of.
        finite = {name: value if math.isfinite(value) else None for name, value in figures.items()}
        report = {"benchmark": self.name, "settings": asdict(self.settings), "partial": partial}
        with atomic_path(self.json_file) as temporary:
            text = json.dumps({**report, "figures": finite}, indent=2, default=str)
            temporary.write_text(text + "\n")
        print(f"written: {self.json_file}", file=sys.stderr)
