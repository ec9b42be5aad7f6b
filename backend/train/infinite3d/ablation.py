"""The paper's Table 3 on our data: ``python -m backend.train.infinite3d.ablation --help``.

Every row trains the same network with some of its parts for the same number of steps, and is
measured on rendered frames that no row has seen. A spatial transformer that starts from nothing
finds no face within so few steps, and everything behind it would learn on windows without one: it
first learns alone, from the true regions. Rows with a transformer spend a part of every step on
whole frames, which the others cannot use. The row with views that agree needs shards of several
views (``mien render data --views 2``).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from backend.detect.infinite3d.canonical import canonical_head
from backend.detect.infinite3d.layout_net import LayoutNet, layout_net
from backend.detect.infinite3d.transformer import resample, to_frame
from backend.detect.infinite3d.weights_file import load_infinite3d
from backend.detect.windows import ROI_SCALE, Window, crop, roi
from backend.train.batches import BACKGROUND, SamplePool
from backend.train.infinite3d.settings import Infinite3DSettings
from backend.train.infinite3d.trainer import WEIGHTS, run
from backend.train.running import CHECKPOINT
from backend.train.shards import decode_points

_BASELINE: dict[str, Any] = {
    "normalisation": "none",
    "predict_3d": False,
    "predict_focal": False,
    "deform_queries": False,
    "refine": 0,
    "twin_share": 0.0,
}
_3D: dict[str, Any] = {"predict_3d": True, "predict_focal": True}
_ALL: dict[str, Any] = {"normalisation": "affine", **_3D, "deform_queries": True}
ROWS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "+ transformer (similarity)": {"normalisation": "similarity"},
    "+ transformer (affine)": {"normalisation": "affine"},
    "+ 3D landmarks (fixed focal length)": {"predict_3d": True},
    "+ 3D landmarks (focal displacement)": _3D,
    "+ query deformation": {"deform_queries": True},
    "+ closer look": {"refine": 2},
    "all of the paper's": _ALL,
    "all, and views that agree": {**_ALL, "twin_share": 0.25},
    "all, and the closer look": {**_ALL, "refine": 2},
    "3D landmarks and views that agree": {**_3D, "twin_share": 0.25},
    "3D landmarks and the closer look": {**_3D, "refine": 2},
}
"""What each row adds to the baseline, as the paper's Table 3 lists them, and what we add."""


@dataclass(frozen=True)
class AblationSettings:
    """Train and measure every row of the ablation."""

    training: Infinite3DSettings = field(default_factory=lambda: Infinite3DSettings(steps=900))
    """What all rows share; `out` gets a folder a row and table.csv."""
    transformer_steps: int = 1200
    """In which a row's transformer learns alone, from 32 frames each; rows share it."""
    transformer: Path | None = None
    """Checkpoint of a longer training, whose affine transformer the rows of all parts start from:
    what else they have would not show behind one that is hardly trained."""
    count: int = 240
    """Frames to measure on."""
    seed: int = 1
    """Of the windows that rows without a transformer get."""


@torch.no_grad()
def frame_errors(net: LayoutNet, pool: SamplePool, count: int, seed: int) -> NDArray[np.float64]:
    """Errors (P,) of iBUG's inner 51 on validation frames, percent of the face's longer side.

    A network with a transformer finds its window by itself. One without gets the true region,
    moved and scaled as the boxes of a face detector are: by up to 7 % and 12 %.
    """
    rng = np.random.default_rng(seed)
    a = net.net.architecture
    errors: list[float] = []
    for number, row in pool.validation:
        sample = pool.readers[number][row]
        if not sample["has_face"] or len(errors) == count:
            continue
        image = np.asarray(sample["images"])
        truth = decode_points(np.asarray(sample["landmarks"][:68])).astype(np.float64)
        region = roi(truth)
        shift, scale = rng.uniform(-0.07, 0.07, 2), float(np.exp(rng.uniform(-0.12, 0.12)))
        window = region.jittered((float(shift[0]), float(shift[1])), scale, 0.0)
        if net.net.transformer is not None:
            size = image.shape[0]
            whole = Window((size - 1) / 2, (size - 1) / 2, float(size))
            frame = _input(crop(image, whole, a.frame_size))
            matrix, _ = net.net.transformer(frame)
            points = net(resample(frame, matrix, a.window_size)).points[:, :68]
            found = whole.to_image(to_frame(points, matrix)[0].numpy())
        else:
            points = net(_input(crop(image, window, a.window_size))).points[:, :68]
            found = window.to_image(points[0].numpy())
        distance = np.linalg.norm(found - truth, axis=1)[17:]
        errors.append(100 * float(distance.mean()) / (region.side / ROI_SCALE))
    return np.array(errors)


def _input(image: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float()


def run_ablation(settings: AblationSettings) -> dict[str, dict[str, float]]:
    """Train every row that is not there yet and measure all; writes table.csv."""
    shared = settings.training
    table: dict[str, dict[str, float]] = {}
    canonical_head()
    for number, (name, parts) in enumerate(ROWS.items()):
        out = shared.out / f"row{number}"
        row = replace(shared, out=out, resume=True, **{**_BASELINE, **parts})
        if row.normalisation != "none":
            longer = settings.transformer if name.startswith("all") else None
            row = replace(row, transformer_from=longer or _transformer(row, settings))
        run(row)
        torch.set_num_threads(shared.threads)
        pool = SamplePool(shared.frames, {BACKGROUND: 0.0})
        net = layout_net(load_infinite3d(out / WEIGHTS))
        errors = frame_errors(net, pool, settings.count, settings.seed)
        table[name] = {
            "mean": float(errors.mean()),
            "median": float(np.median(errors)),
            "above_10_percent": 100 * float((errors > 10).mean()),
        }
        print(name, table[name], flush=True)
        _write(shared.out / "table.csv", table)
    return table


def _transformer(row: Infinite3DSettings, settings: AblationSettings) -> Path:
    """Train the transformer that rows of this normalisation start from; its checkpoint."""
    alone = replace(
        row,
        **{**_BASELINE, "normalisation": row.normalisation},
        out=settings.training.out / f"transformer_{row.normalisation}",
        frame_share=1.0,
        batch_size=32,
        steps=settings.transformer_steps,
    )
    run(alone)
    return alone.out / CHECKPOINT


def _write(path: Path, table: dict[str, dict[str, float]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["row", *next(iter(table.values()))])
        writer.writerows([name, *(f"{v:.4g}" for v in row.values())] for name, row in table.items())


if __name__ == "__main__":
    import tyro

    run_ablation(tyro.cli(AblationSettings))
