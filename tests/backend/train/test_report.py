"""Curves and sheets come out as pictures that show what the files hold."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from backend.errors import BadInputError
from backend.train.augment import AugmentSettings
from backend.train.generate import GenerateSettings, generate
from backend.train.report import ReportSettings, find_runs, read_table, report
from backend.train.sample_sheets import TILE, write_sheets
from backend.train.shards import KIND_WARP, ShardWriter

from .conftest import TinyMaterial


def write_run(folder: Path, rows: int, first: float) -> Path:
    folder.mkdir(parents=True)
    lines = ["minutes,step,landmarks,window,images_per_second"]
    lines += [f"{0.3 * (i + 1)},{50 * i},{first / (i + 1)},nan,80" for i in range(rows)]
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")
    return folder


def colours_of(path: Path) -> set[tuple[int, ...]]:
    image = cv2.imread(str(path))[..., ::-1]
    return {tuple(c) for c in np.unique(image.reshape(-1, 3), axis=0).tolist()}


def test_every_run_has_its_curves(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    runs = [write_run(tmp_path / "runs" / name, n, 3.0) for name, n in (("a", 60), ("b", 4))]
    (runs[1] / "validation.csv").write_text("minutes,error\n0.5,3.1\n1,2.9\n")
    report(ReportSettings(tuple(runs), tmp_path / "out"))
    blue, orange = (31, 119, 180), (255, 127, 14)
    assert {blue, orange} <= colours_of(tmp_path / "out" / "metrics.png")
    # A run without a table keeps its colour free.
    seen = colours_of(tmp_path / "out" / "validation.png")
    assert orange in seen and blue not in seen


def test_runs_are_found_and_half_rows_left_out(tmp_path: Path) -> None:
    run = write_run(tmp_path / "factory" / "dense1", 3, 1.0)
    assert find_runs([tmp_path / "factory"]) == [run] == find_runs([run])
    with (run / "metrics.csv").open("a") as file:
        file.write("1.2,150")  # interrupted in the middle of a row
    table = read_table(run / "metrics.csv", "dense1")
    assert table is not None and table.columns["step"].tolist() == [0, 50, 100]
    with pytest.raises(BadInputError, match="no run"):
        find_runs([tmp_path / "nothing"])


def test_sheets_of_every_kind(tiny_material: TinyMaterial, tmp_path: Path) -> None:
    pytest.importorskip("moderngl")
    m = tiny_material
    shared = {"count": 8, "shard_size": 8, "background_share": 0.3}
    generate(GenerateSettings(m.assets, m.base, tmp_path / "crops", skins=m.skins, **shared))
    generate(GenerateSettings(m.assets, m.base, tmp_path / "scanned", scanned=m.scanned, **shared))
    generate(GenerateSettings(m.assets, m.base, tmp_path / "frames", farthest=4.0, **shared))
    writer = ShardWriter(tmp_path / "warps", 2, 160)
    points = np.random.default_rng(0).uniform(50, 110, (703, 2))
    points[8], points[27] = (80, 115), (80, 50)
    for _ in range(2):
        writer.add(images=np.full((160, 160, 3), 128), landmarks=points, contour=points[:17],
                   kind=KIND_WARP, visible=np.ones(703))  # fmt: skip
    shards = [tmp_path / name for name in ("crops", "scanned", "warps")]
    written = write_sheets(shards, [tmp_path / "frames"], tmp_path / "out", AugmentSettings(), 5, 0)
    names = {path.stem.removeprefix("samples_") for path in written}
    assert {"real_skin", "scanned", "warp", "frames", "background"} <= names
    assert "portrait" not in names
    for path in written:
        image = cv2.imread(str(path))
        assert image.shape[0] > TILE and image.std() > 10
    green = (70, 235, 90)
    assert green in colours_of(tmp_path / "out" / "samples_frames.png")
