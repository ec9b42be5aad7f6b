"""`mien train report`: pictures of training runs' curves and of what reaches the network."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro
from numpy.typing import NDArray

from backend.errors import BadInputError
from backend.train.augment import AugmentSettings

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

TABLES = ("metrics", "validation")
COLUMNS: dict[str, tuple[str, str]] = {
    "landmarks": ("Landmarks", "negative log-likelihood"),
    "contour": ("Jaw silhouette", "negative log-likelihood"),
    "presence": ("Presence of a face", "cross-entropy"),
    "window": ("Window of the transformer", "loss"),
    "shape": ("Canonical positions", "loss"),
    "pose": ("Head pose", "loss"),
    "focal": ("Focal length", "loss"),
    "edge": ("Edge lengths", "loss"),
    "error": ("Error, inner 51", "% of the face's size"),
    "error_yaw_0": ("Error, yaw 0 to 15°", "% of the face's size"),
    "error_yaw_15": ("Error, yaw 15 to 30°", "% of the face's size"),
    "error_yaw_30": ("Error, yaw 30 to 50°", "% of the face's size"),
    "error_yaw_50": ("Error, yaw beyond 50°", "% of the face's size"),
    "images_per_second": ("Speed", "images a second"),
    "pool": ("Samples to draw from", "samples"),
    "size": ("Size of a window", "px"),
    "step": ("Steps of the optimiser", "steps"),
    "samples": ("Samples seen", "samples"),
}
"""Title and unit of the columns, in the order of the panels; others follow under their names."""
_FROM_ZERO = ("images_per_second", "pool", "size", "step", "samples")
_SMOOTHED_ROWS = 9


@dataclass(frozen=True)
class ReportSettings:
    """Write curves of training runs, and sheets of training samples with their labels, as PNG."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of runs, or one with several (of `mien train factory`)."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder of the pictures."""
    shards: tuple[Path, ...] = ()
    """Folders of crops to show; those of a factory's folder when not given."""
    frames: tuple[Path, ...] = ()
    """Folders of whole frames, likewise."""
    count: int = 40
    """Samples a sheet."""
    seed: int = 0
    """Another seed, other samples."""
    augment: AugmentSettings = field(default_factory=lambda: AugmentSettings(wide=0.2))
    """How windows are cut and changed, as in `mien train infinite3d`."""


@dataclass(frozen=True)
class Table:
    """One CSV file of a run."""

    run: str
    columns: dict[str, NDArray[np.float64]]


def find_runs(folders: Sequence[Path]) -> list[Path]:
    """Folders that hold metrics.csv, in the ones named or one below.

    Raises: BadInputError where there is none.
    """
    found: list[Path] = []
    for folder in folders:
        if (folder / "metrics.csv").is_file():
            found.append(folder)
        else:
            inside = folder.glob("*/metrics.csv")
            found += [path.parent for path in sorted(inside, key=lambda p: p.stat().st_mtime)]
    if not found:
        raise BadInputError(f"{', '.join(map(str, folders))}: no run with a metrics.csv.")
    return found


def read_table(path: Path, run: str) -> Table | None:
    """A run's table, numbers by column; None where the file is missing or has no row."""
    if not path.is_file():
        return None
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if None not in row.values()]
    if not rows:
        return None
    return Table(run, {name: np.array([float(r[name]) for r in rows]) for name in rows[0]})


def plot_tables(tables: Sequence[Table | None], path: Path, title: str) -> bool:
    """Every column over the minutes of training, all runs in each panel.

    A run keeps its colour when others have no table (None). Columns that are empty in all runs
    have no panel; the transient of a run's first minute may leave its panel. Returns whether
    anything was drawn.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    present = {
        name
        for table in tables
        if table is not None
        for name, values in table.columns.items()
        if name != "minutes" and np.isfinite(values).any()
    }
    names = [n for n in COLUMNS if n in present] + sorted(present - set(COLUMNS))
    if not names:
        return False
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(5.2 * columns, 3.1 * rows + 1.0), layout="constrained")
    FigureCanvasAgg(figure)
    for number, name in enumerate(names):
        axes = figure.add_subplot(rows, columns, number + 1)
        for k, table in enumerate(tables):
            if table is not None and name in table.columns:
                _draw(axes, table, name, f"C{k % 10}")
        heading, unit = COLUMNS.get(name, (name, ""))
        axes.set_title(heading, fontsize=11)
        axes.set_ylabel(unit)
        axes.set_xlabel("minutes of training")
        axes.grid(alpha=0.25)
        axes.margins(x=0.02)
        axes.set_ylim(*_limits([t for t in tables if t is not None and name in t.columns], name))
    lines: dict[str, Artist] = {}
    for k, table in enumerate(tables):
        if table is not None:
            lines[table.run] = Line2D([], [], color=f"C{k % 10}", linewidth=1.8)
    figure.suptitle(title, fontsize=13)
    figure.legend(
        lines.values(), lines.keys(), loc="outside lower center", ncols=min(6, len(lines))
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    return True


def _limits(tables: Sequence[Table], name: str) -> tuple[float, float]:
    """The range of a column's panel: of all rows after a run's first minute, counts from 0."""
    kept = []
    for table in tables:
        minutes, values = table.columns["minutes"], table.columns[name]
        late = values[(minutes > minutes[0] + 1.0) & np.isfinite(values)]
        kept.append(late if len(late) else values[np.isfinite(values)])
    values = np.concatenate(kept)
    low, high = float(values.min()), float(values.max())
    if name in _FROM_ZERO:
        low = 0.0
    room = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return low - (0.0 if name in _FROM_ZERO else room), high + room


def _draw(axes: Axes, table: Table, name: str, colour: str) -> None:
    """A column: its rows faintly and their running median, or joined points where they are few."""
    minutes, values = table.columns["minutes"], table.columns[name]
    keep = np.isfinite(values)
    minutes, values = minutes[keep], values[keep]
    if not len(values):
        return
    if len(values) < 3 * _SMOOTHED_ROWS:
        axes.plot(minutes, values, "o-", color=colour, markersize=3, label=table.run)
        return
    axes.plot(minutes, values, color=colour, linewidth=0.7, alpha=0.35)
    half = _SMOOTHED_ROWS // 2
    window = np.lib.stride_tricks.sliding_window_view(
        np.pad(values, half, mode="edge"), _SMOOTHED_ROWS
    )
    axes.plot(minutes, np.median(window, axis=1), color=colour, linewidth=1.8, label=table.run)


def report(settings: ReportSettings) -> None:
    """Write all pictures and say which; raises `BadInputError` where there is no run."""
    s = settings
    runs = find_runs(s.runs)
    try:
        import matplotlib as _  # noqa: F401
    except ImportError as error:
        raise BadInputError('Curves need matplotlib: pip install "mien[train]".') from error
    written: list[Path] = []
    names = _run_names(runs)
    for kind in TABLES:
        found = [read_table(r / f"{kind}.csv", n) for r, n in zip(runs, names, strict=True)]
        path = s.output / f"{kind}.png"
        title = "Training" if kind == "metrics" else "Validation on rendered faces never trained on"
        if plot_tables(found, path, title):
            written.append(path)
    from backend.train.sample_sheets import write_sheets

    shards, frames = s.shards or _of_factory(s.runs, False), s.frames or _of_factory(s.runs, True)
    if shards or frames:
        written += write_sheets(shards, frames, s.output, s.augment, s.count, s.seed)
    for path in written:
        print(f"written: {path}")


def _run_names(runs: Sequence[Path]) -> list[str]:
    names = [run.absolute().name for run in runs]
    if len(set(names)) == len(names):
        return names
    return [f"{run.absolute().parent.name}/{run.absolute().name}" for run in runs]


def _of_factory(folders: Sequence[Path], whole: bool) -> tuple[Path, ...]:
    """The shards in folders of the factory: whole frames, or all others."""
    found = [path for folder in folders for path in sorted((folder / "shards").glob("*"))]
    return tuple(path for path in found if (path.name == "frames") == whole)
