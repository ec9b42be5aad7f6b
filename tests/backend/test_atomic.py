"""Files that are there whole or not at all; what stands in their way is said."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from backend.atomic import atomic_path, check_output
from backend.errors import BadInputError


def test_the_file_is_whole_or_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "a b ü.npz"
    with atomic_path(path) as temporary:
        temporary.write_text("one")
        assert not path.exists() and temporary.suffix == ".npz"
    with pytest.raises(ZeroDivisionError), atomic_path(path) as temporary:
        temporary.write_text("two")
        raise ZeroDivisionError
    assert path.read_text() == "one" and list(path.parent.iterdir()) == [path]


def test_what_stands_in_the_way_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.npz").mkdir()
    for path, why in (("folder.npz", "is a folder"), ("file/a.npz", "file is not a folder")):
        for _ in range(2):
            with pytest.raises(BadInputError, match=f"{path}: cannot be written .*{why}"):
                check_output(tmp_path / path)
            with (
                pytest.raises(BadInputError, match=f"{path}: cannot be written .*{why}"),
                atomic_path(tmp_path / path),
            ):
                raise AssertionError("the work would be for nothing")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.npz"]


def test_a_full_disk_is_no_traceback(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_text("old")
    with pytest.raises(BadInputError, match="No space left"), atomic_path(path):
        raise OSError(28, os.strerror(28))
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_what_is_read_is_not_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shot").mkdir()
    inputs = [Path("clip.mp4"), tmp_path / "shot"]
    for name in ("clip.mp4", "shot/0001.png"):
        check_output(tmp_path / name, inputs)
        (tmp_path / name).write_text("footage")
        with pytest.raises(BadInputError, match=rf"{name}: is read by this command"):
            check_output(tmp_path / name, inputs)
    check_output(tmp_path / "shot" / "overlay.png", inputs)


def test_asking_makes_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_output(tmp_path / "a" / "b" / "c.npz")
    monkeypatch.chdir(tmp_path)
    check_output(Path("a.npz"))
    assert list(tmp_path.iterdir()) == []
