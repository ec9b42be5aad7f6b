"""Live tracking in Blender, against the real backend on the embedded performance."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from backend.samples import PERFORMANCE

pytestmark = pytest.mark.blender


def test_the_head_follows_and_is_recorded(blender: Any) -> None:
    figures = blender.run("live_checks.py", "follow", clip=PERFORMANCE, backend=sys.executable)
    assert figures["live_mm"] < 0.05
    assert figures["recorded_mm"] < 0.05
    assert figures["frames"] >= figures["recorded"] >= 12
    assert figures["span"] == [1.0, float(figures["end"])]
    assert "recorded" not in figures["status"]
    assert figures["moved"] > 0.01


def test_what_is_recorded_before_the_head_is_there_is_kept(blender: Any) -> None:
    figures = blender.run(
        "live_checks.py", "record_at_once", clip=PERFORMANCE, backend=sys.executable
    )
    assert figures["error"] == "" and figures["frames"] > 1
    assert figures["keyed"] > 0


def test_a_missing_source_is_told(blender: Any) -> None:
    figures = blender.run("live_checks.py", "missing", backend=sys.executable)
    assert "/nowhere/clip.mp4" in figures["error"]
    assert not figures["collection"]
    assert figures["stopped"] == ["CANCELLED"]
