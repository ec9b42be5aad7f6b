"""The benchmark of the service runs, and finds nothing lost."""

from __future__ import annotations

from backend.evaluate.settings import BenchSettings
from backend.server.bench import run


def test_a_quick_run() -> None:
    figures = run(BenchSettings(quick=True))
    assert figures["jobs_lost_doubled_or_different"] == 0
    assert figures["jobs_done_after_malformed"] == 1
    assert 0 < figures["ping_us_p50"] < 1e6
    assert figures["results_mb_per_s"] > 1
