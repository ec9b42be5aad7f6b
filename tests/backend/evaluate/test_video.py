"""The video bench on the embedded performance, and its measures on the truth itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from backend.detect import FaceLandmarks
from backend.errors import BadInputError
from backend.evaluate import video
from backend.evaluate.followers import Followed
from backend.evaluate.performances import temporal_figures, true_landmarks
from backend.evaluate.settings import BenchSettings
from backend.samples import PERFORMANCE, PERFORMANCE_TRUTH


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    folder = tmp_path_factory.mktemp("clips")
    shutil.copy(PERFORMANCE, folder / "acted.mp4")
    (folder / "notes.txt").write_text("not a clip")
    return video.run(
        BenchSettings(data=folder, detectors=("infinite3d",), quick=True, device="cpu", peer=False)
    )


def test_bench_on_the_embedded_performance(figures: dict[str, float]) -> None:
    assert figures["faces_asked_acted"] == figures["faces_found_acted"] == 12
    assert figures["losses"] == 0 and "identity_switches" not in figures
    assert 0 < figures["jitter_percent"] == figures["jitter_percent_acted"] < 5
    assert 0 < figures["roi_centre_jitter_percent"] < 5
    assert 0 < figures["focal_spread_percent"] < 50
    assert figures["temporal_frames_found"] == 12
    assert abs(figures["temporal_error"]) <= figures["temporal_error_absolute"] < 1
    assert figures["ms_per_frame"] > 0


def test_the_truth_has_no_temporal_error() -> None:
    truth = true_landmarks(PERFORMANCE_TRUTH)
    faces = [
        FaceLandmarks(points.astype(np.float32), np.ones(320, np.float32), 1.0)
        for points in truth.surface
    ]
    followed = Followed([points[None] for points in truth.marked], list(faces))
    result = temporal_figures(followed, truth)
    assert result["temporal_frames_found"] == len(truth.marked)
    assert result["temporal_error_absolute"] < 1e-3
    assert result["temporal_error_absolute_surface"] < 1e-3
    still = Followed([truth.marked[:1]] * len(faces), list(faces))
    assert temporal_figures(still, truth)["temporal_error"] == pytest.approx(-1)


def test_focal_lengths_are_compared_where_there_are_any() -> None:
    rng = np.random.default_rng(0)
    points, sigma = rng.uniform(0, 99, (320, 2)).astype(np.float32), np.ones(320, np.float32)
    faces = [FaceLandmarks(points, sigma, 1.0, focal_px=f) for f in (900.0, 1100.0)]
    shown = [faces[0].ibug68()[0][None].astype(float)] * 3
    clip = video.Clip("clip", 1, {"": Followed(shown, [faces[0], None, faces[1]], [0.1] * 3)})
    assert video.figures([clip])["focal_spread_percent"] == pytest.approx(10)


def test_a_folder_without_clips(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no clip"):
        video.run(BenchSettings(data=tmp_path, peer=False))
