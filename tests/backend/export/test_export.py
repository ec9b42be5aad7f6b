"""Choosing the format, and what the command says."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from backend.cli import main
from backend.errors import BadInputError
from backend.export import WRITERS, export_track
from backend.track import Track


@pytest.mark.parametrize("suffix", WRITERS)
def test_the_command_writes_each_format(
    moving_track: Track, tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    moving_track.save(tmp_path / "track.npz")
    output = tmp_path / f"out{suffix}"
    with pytest.raises(SystemExit) as caught:
        main(["export", str(tmp_path / "track.npz"), "-o", str(output)])
    assert not caught.value.code and output.stat().st_size > 1000
    assert f"{output}" in (shown := capsys.readouterr().err) and "4 frames" in shown


@pytest.mark.parametrize(
    ("suffix", "library"), [(".usdc", "pxr"), (".usda", "pxr"), (".glb", "pygltflib")]
)
def test_a_missing_library_is_named(
    moving_track: Track,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
    library: str,
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, WRITERS[suffix], raising=False)
    with pytest.raises(BadInputError, match=rf'{library}.*pip install "mien\[export\]"'):
        export_track(moving_track, tmp_path / f"a{suffix}")
    assert list(tmp_path.iterdir()) == []


def test_unknown_endings_list_the_known(moving_track: Track, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"must end in \.csv, \.usdc, \.usda, \.glb"):
        export_track(moving_track, tmp_path / "a.fbx")


@pytest.mark.parametrize("suffix", WRITERS)
def test_an_interrupted_export_leaves_the_old_file(
    moving_track: Track, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_text("old")

    def interrupted(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export_track(moving_track, path)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_track_without_frames_is_refused(moving_track: Track, tmp_path: Path) -> None:
    from dataclasses import fields, replace

    per_frame = {
        field.name: getattr(moving_track, field.name)[:0]
        for field in fields(Track)
        if isinstance(getattr(moving_track, field.name), np.ndarray)
        and field.name in (
            "vertices", "focal_px", "K", "head_pose", "expression", "eye_rotation",
            "landmarks_2d", "landmark_sigma", "visibility", "found", "frame_index",
            "timestamps", "joint_rotations", "translation",
        )
    }  # fmt: skip
    with pytest.raises(BadInputError, match="no frames"):
        export_track(replace(moving_track, **per_frame), tmp_path / "a.glb")
