"""Errors on a shard whose labels are the detector's own, and the same moved by a known step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data

from backend.detect import DenseDetector
from backend.detect.windows import ROI_SCALE, crop, roi
from backend.errors import BadInputError
from backend.evaluate.rendered import on_shards
from backend.evaluate.settings import BenchSettings
from backend.train.shards import ShardWriter

SETTINGS = BenchSettings(quick=True)
SIZE = 160


def _shard(folder: Path, detector: DenseDetector, step: float) -> None:
    image = skimage.data.astronaut()
    window = roi(detector.find(image)[0].landmarks_2d).jittered((0, 0), 1.4, 0.0)
    picture = crop(image, window, SIZE)
    landmarks = np.zeros((703, 2))
    landmarks[:320] = detector.find(picture, quality="final")[0].landmarks_2d + [step, 0.0]
    writer = ShardWriter(folder, 2, SIZE, {"camera": ((16,), np.float32)})
    camera = np.zeros(16, np.float32)
    for yaw in (0.0, 0.7):
        camera[7] = yaw  # the head's turn, after the root's
        writer.add(images=picture, landmarks=landmarks, contour=np.zeros((17, 2)), camera=camera)


@pytest.fixture(scope="module")
def detector() -> DenseDetector:
    return DenseDetector.load()


def test_errors_by_yaw(detector: DenseDetector, tmp_path: Path) -> None:
    _shard(tmp_path / "own", detector, 0.0)
    own = on_shards(detector, tmp_path / "own", SETTINGS)
    assert own["rendered_images"] == 2 and own["rendered_error"] < 2
    assert own["rendered_images_yaw_0_15"] == own["rendered_images_yaw_30_50"] == 1
    assert "rendered_error_yaw_15_30" not in own
    _shard(tmp_path / "moved", detector, 20.0)
    moved = on_shards(detector, tmp_path / "moved", SETTINGS)
    face = SIZE / 1.4 / ROI_SCALE  # pixels of the face in the shard's picture
    assert moved["rendered_error"] == pytest.approx(100 * 20 / face, rel=0.2)


def test_no_shards(detector: DenseDetector, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no rendered shards"):
        on_shards(detector, tmp_path, SETTINGS)
