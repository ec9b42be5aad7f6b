"""The first minute in Blender: installing the backend, trying a sample, asking for help."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.blender

N_SAMPLE_FRAMES = 60


@pytest.fixture(scope="module")
def tried(blender: Any) -> Any:
    return blender.run("first_checks.py", "try_it", python=sys.executable)


def test_try_it_tracks_the_sample(tried: Any) -> None:
    assert tried["problem"] is None
    assert tried["phase"] == "done"
    assert tried["clip"] == "mien_sample.mp4"
    assert tried["frames"] == [1, N_SAMPLE_FRAMES]
    assert tried["scene"] == "Mien Sample"
    assert tried["kept"] == [True, True, 777], "it must not change somebody's scene"


def test_new_file_makes_room(tried: Any) -> None:
    assert tried["made_room"] == [True, True, True, False]


def test_what_hides_the_clip_is_found_and_hidden(tried: Any) -> None:
    assert tried["covering"] == [[], ["Start"], [], ["Start"]]


def test_solve_is_kept(tried: Any) -> None:
    assert tried["has_solve"]


def test_device_is_named_after_a_run(tried: Any) -> None:
    assert "CPU" in tried["device"] or "GB" in tried["device"]
    assert f"device: {tried['device']}" in tried["report"]


def test_report_has_what_helps_and_no_more(tried: Any) -> None:
    report = tried["report"]
    for text in ("Blender: ", "Mien: 0.", "system: ", "quality: preview", "phase: done"):
        assert text in report
    assert "clip: MOVIE .mp4, 640 x 480, 60 frames, 25 fps" in report
    assert "running: yes" in report
    assert tried["home"] not in report and "mien_sample" not in report
    # The log outlives the backend that wrote it.
    after = tried["report_after"]
    assert "running: no" in after
    last = report.rpartition("last lines")[2].strip().splitlines()
    assert last and last[0] in after


def test_what_cannot_be_done_is_said(blender: Any, tmp_path: Path) -> None:
    told = blender.run("first_checks.py", "refusals", folder=tmp_path)
    assert "on a drive that both see" in told["elsewhere"]
    assert "no folder" in told["no folder"] and "holds no wheels" in told["no wheels"]
    assert "Allow Online Access" in told.get("offline", "Allow Online Access")
    report = told["report"]
    assert "at: another computer, encrypted: False" in report
    assert "s3cret" not in report and "render.example" not in report


def test_failed_installation_says_why(blender: Any, tmp_path: Path) -> None:
    # Nothing that the backend needs is in this folder.
    (tmp_path / "nothing-1.0-py3-none-any.whl").write_bytes(b"PK\x05\x06" + bytes(18))
    found = blender.run("first_checks.py", "installation", folder=tmp_path, python=sys.executable)
    assert "A package is missing for this Python" in found["error"]
    assert "Try It: Preview" in found["before"] and "Install Backend" in found["before"]
    for drawn in (found["while"], found["while, preferences"]):
        assert "Step 1 of 3: Making an environment" in drawn and "Cancel" in drawn
    for drawn in (found["after"], found["after, preferences"]):
        assert "A package is missing" in drawn
        assert "Copy Report" in drawn and "Install Backend" in drawn
    assert "outcome: Downloading and installing failed" in found["report"]
    assert "No matching distribution" in found["report"]
    assert "A Device" in found["device"]
    assert "A Device" not in found["forgotten"], "another backend may have another device"
