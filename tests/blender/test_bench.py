"""`mien bench blender` measures what it says."""

from __future__ import annotations

import math

import pytest

from backend.evaluate import blender
from backend.evaluate.settings import BenchSettings

pytestmark = pytest.mark.blender


def test_quick_run_has_every_figure() -> None:
    figures = blender.run(BenchSettings(quick=True))
    for name in ("scene_seconds", "stall_ms", "playback_fps", "blend_mb", "install_mb"):
        assert math.isfinite(figures[name]) and figures[name] > 0
    assert figures["n_frames"] == 24
    assert figures["stall_p99_ms"] <= figures["stall_ms"]
    # A head of 5,091 vertices with 52 keys is 3 MB, and the wheels are more.
    assert figures["blend_mb"] > 3 and figures["install_mb"] > 5
