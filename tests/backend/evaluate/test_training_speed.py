"""Every figure of the training's speed is measured on material that is made here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.errors import BadInputError
from backend.evaluate import training_speed
from backend.evaluate.settings import BenchSettings
from backend.evaluate.training_speed import run
from backend.train.shards import ShardWriter


def test_figures_are_of_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_speed, "_WORKERS", 1)
    rng = np.random.default_rng(0)
    fields = {"camera": ((20,), np.float32), "coefficients": ((152,), np.float32)}
    writer = ShardWriter(tmp_path, 8, 160, fields)
    points = rng.uniform(45, 115, (703, 2))
    for _ in range(16):
        image = rng.integers(0, 256, (160, 160, 3), dtype=np.uint8)
        writer.add(images=image, landmarks=points, contour=points[:17],
                   camera=np.zeros(20), coefficients=np.zeros(152))  # fmt: skip
    figures = run(BenchSettings(shards=tmp_path, quick=True, device="cpu"))
    percent = figures.pop("waiting_percent")
    assert 0 <= percent <= 100 and "render" not in figures  # nothing to render with was named
    assert all(np.isfinite(value) and value > 0 for value in figures.values())
    # Leaving work out cannot cost time.
    assert figures["cut_plain"] > 0.8 * figures["cut"] > 0.5 * figures["windows"]


def test_something_to_train_on_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="--shards"):
        run(BenchSettings(quick=True, device="cpu"))
    with pytest.raises(BadInputError, match="no shards"):
        run(BenchSettings(shards=tmp_path, quick=True, device="cpu"))
