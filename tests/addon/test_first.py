"""The sample clip and the report, without Blender."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import build_addon
from backend.samples import PERFORMANCE

Addon = Callable[[str], ModuleType]


def test_sample_comes_out_of_the_backends_wheel(addon: Addon, tmp_path: Path) -> None:
    sample = addon("first.sample")
    wheel = build_addon.backend_wheel(tmp_path / "wheel")
    clip = sample.unpack_sample(wheel, tmp_path / "samples")
    assert clip.read_bytes() == PERFORMANCE.read_bytes()
    before = clip.stat().st_mtime_ns
    assert sample.unpack_sample(wheel, tmp_path / "samples").stat().st_mtime_ns == before
    clip.write_bytes(b"half of it")
    assert sample.unpack_sample(wheel, tmp_path / "samples").stat().st_size > 100_000
    assert [x.name for x in clip.parent.iterdir()] == [clip.name]


def test_sample_that_is_not_there_is_said(addon: Addon, tmp_path: Path) -> None:
    sample, error = addon("first.sample"), addon("backend_process").BackendError
    wheel = tmp_path / "mien.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("other.py", "")
    for path in (wheel, tmp_path / "missing.whl"):
        with pytest.raises(error, match="choose a clip of your own"):
            sample.unpack_sample(path, tmp_path)


@pytest.mark.parametrize(
    ("home", "said", "expected"),
    [
        ("/home/ada", "/home/ada/.local/x and /home/adam", "~/.local/x and /home/adam"),
        ("C:\\Users\\ada", "c:\\users\\ADA\\x, C:/Users/ada/y", "~\\x, ~/y"),
        ("/", "/usr/bin/mien", "/usr/bin/mien"),
    ],
)
def test_report_hides_the_home_folder(addon: Addon, home: str, said: str, expected: str) -> None:
    report = addon("first.report")
    # A str does for a path here: the test's system has only one kind of path.
    text = report.report_text([report.Section("Log", [said])], home, {})
    assert expected in text


def test_report_hides_clips_and_secrets(addon: Addon) -> None:
    report = addon("first.report")
    sections = [
        report.Section("Log", ["/shots/film/plate.mp4: no such file", "token s3cret, /shots/film"]),
        report.Section("Empty", []),
    ]
    names = {"/shots/film/plate.mp4": "<clip>.mp4", "/shots/film": "<folder>", "s3cret": "<token>"}
    text = report.report_text(sections, Path("/home/ada"), names | {"": "<nothing>"})
    assert "<clip>.mp4: no such file" in text and "token <token>, <folder>" in text
    assert "film" not in text and "## Empty\n(nothing)" in text


def test_where_a_backend_is(addon: Addon) -> None:
    report = addon("first.report")
    for here in ("tcp://127.0.0.1:5555", "tcp://localhost:1", "tcp://[::1]:5555", "", "/x/c.json"):
        assert report.is_loopback(here)
    assert not report.is_loopback("tcp://render.example:5555")
    assert report.host_kind("tcp://render.example:5555") == "another computer"
    assert report.host_kind("") == "this user's connection file"
