"""Stages are done once, taken up where they stopped, and refused or redone when they changed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from backend.errors import BadInputError
from backend.train.factory.stages import Factory, Marker, Piece, Stage, flat_settings


@dataclass(frozen=True)
class Inner:
    width: float = 0.5


@dataclass(frozen=True)
class Count:
    """Settings of a stage that appends a line to a file, once a call, until there are enough."""

    out: Path
    lines: int = 2
    inner: Inner = field(default_factory=Inner)
    workers: int = 1


def append(s: Count, piece: Piece) -> bool:
    with s.out.open("a") as file:
        file.write("line\n")
    return len(s.out.read_text().splitlines()) >= s.lines


def stage(folder: Path, name: str, *needs: str, **settings: object) -> Stage:
    out = folder / f"{name}.txt"
    return Stage(name, name, replace(Count(out), **settings), needs, (out,), append)  # type: ignore[arg-type]


def run(factory: Factory) -> bool:
    return factory.run(Piece.of(None), say=lambda _: None)


def test_stages_go_on_and_are_not_done_twice(tmp_path: Path) -> None:
    factory = Factory(tmp_path, [stage(tmp_path, "a"), stage(tmp_path, "b", "a", lines=1)])
    assert not run(factory)  # "a" stopped after its piece
    assert not (tmp_path / "b.txt").exists()
    assert run(factory)
    assert run(factory)
    assert (tmp_path / "a.txt").read_text().count("line") == 2
    assert (tmp_path / "b.txt").read_text().count("line") == 1


def test_every_call_gets_further_and_no_more_than_that(tmp_path: Path) -> None:
    said: list[str] = []
    stages = [stage(tmp_path, "a", lines=1), stage(tmp_path, "b", lines=1)]
    assert not Factory(tmp_path, stages).run(Piece.of(0.0), said.append)
    assert (tmp_path / "a.txt").exists() and not (tmp_path / "b.txt").exists()
    assert "b: is next" in said[-1]
    assert Factory(tmp_path, stages).run(Piece.of(0.0), said.append)


def test_a_failure_leaves_the_stage_begun(tmp_path: Path) -> None:
    def fail(s: Count, piece: Piece) -> bool:
        append(s, piece)
        raise RuntimeError("power cut")

    broken = replace(stage(tmp_path, "a"), work=fail)
    with pytest.raises(RuntimeError):
        run(Factory(tmp_path, [broken]))
    assert run(Factory(tmp_path, [stage(tmp_path, "a")]))
    assert (tmp_path / "a.txt").read_text().count("line") == 2  # went on, not anew


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    assert run(Factory(tmp_path, [stage(tmp_path, "a", lines=1)]))
    changed = Factory(tmp_path, [stage(tmp_path, "a", lines=1, inner=Inner(0.75))])
    with pytest.raises(BadInputError, match=r"inner\.width: 0\.5 -> 0\.75.*--redo a"):
        run(changed)
    # How it is computed does not matter.
    assert run(Factory(tmp_path, [stage(tmp_path, "a", lines=1, workers=8)]))


def test_redo_takes_what_follows_along(tmp_path: Path) -> None:
    stages = [
        stage(tmp_path, "a", lines=1),
        stage(tmp_path, "b", "a", lines=1),
        stage(tmp_path, "c", lines=1),
        stage(tmp_path, "d", "b", lines=1),
    ]
    factory = Factory(tmp_path, stages)
    assert run(factory)
    assert factory.redo(["a"]) == ["a", "b", "d"]
    assert sorted(p.name for p in tmp_path.glob("*.txt")) == ["c.txt"]
    assert run(factory)
    with pytest.raises(BadInputError, match='no stage "e"'):
        factory.redo(["e"])


def test_results_of_something_else_are_refused(tmp_path: Path) -> None:
    stages = [stage(tmp_path, "a", lines=1), stage(tmp_path, "b", "a", lines=1)]
    factory = Factory(tmp_path, stages)
    assert run(factory)
    factory.marker_path("a").unlink()
    (tmp_path / "a.txt").unlink()
    with pytest.raises(BadInputError, match=r'"b".*made from another a'):
        run(factory)
    assert factory.redo(["b"]) == ["b"] and run(factory)
    (tmp_path / "b.txt").unlink()
    with pytest.raises(BadInputError, match=r"marked as done but .*b\.txt is not there"):
        run(factory)


def test_damaged_markers_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("{")
    with pytest.raises(BadInputError, match=r"a\.json: a damaged marker"):
        Marker.read(path)


def test_the_folder_may_be_moved(tmp_path: Path) -> None:
    inside = Count(tmp_path / "x" / "a.txt")
    assert flat_settings(inside, tmp_path)["out"] == "x/a.txt"
    assert flat_settings(inside, tmp_path / "y")["out"] == str(tmp_path / "x/a.txt")
    assert "workers" not in flat_settings(inside, tmp_path)
