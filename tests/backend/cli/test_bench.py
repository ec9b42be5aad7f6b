"""What a benchmark leaves behind when it is stopped, and which ones need no material."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backend.cli import bench, main

MODULE = """
from backend.evaluate.settings import PartialFigures
COLUMNS = ("peer_",)
def run(settings):
    raise PartialFigures("cancelled after 1 of 2", {"nme": 3.5, "peer_nme": float("nan")})
"""


def test_a_stopped_benchmark_reports_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "stopped_benchmark.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(bench.BENCHMARKS, "stopped", ("stopped_benchmark", "One that is stopped"))
    path = tmp_path / "figures.json"
    with pytest.raises(SystemExit) as ended:
        main(["bench", "stopped", "--json", str(path)])
    assert ended.value.code == 4
    report = json.loads(path.read_text())
    assert report["partial"] is True and report["figures"] == {"nme": 3.5, "peer_nme": None}
    said = capsys.readouterr()
    assert "3.5" in said.out and "peer" in said.out and "1 of 2" in said.err


def test_names_are_of_those_that_run_on_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["bench", "--names"])
    names = capsys.readouterr().out.split()
    assert "video" in names and "faces" not in names
