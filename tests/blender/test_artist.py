"""What artists do to results: they link, delete and rename, and are told what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.blender.test_tracking import Service

pytestmark = pytest.mark.blender


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, clip: Path, performance: Any
) -> Iterator[Service]:
    running = Service(tmp_path_factory.mktemp("service"), clip, performance.messages())
    yield running
    running.close()


def test_an_error_in_the_scene_is_told_and_does_not_lock_the_panel(
    blender: Any, service: Service, clip: Path
) -> None:
    figures = blender.run("artist_checks.py", "broken_update", clip=clip,
                          connection=service.connection, job_id=service.job_id)  # fmt: skip
    assert "The scene could not be changed" in figures["told"]
    assert "empty Result" in figures["told"]
    assert figures["can_track"]
    assert figures["again"] == ""
    assert figures["solve_has_ended"]


@pytest.mark.parametrize("kind", ["linked", "override"])
def test_a_result_of_another_file_is_not_changed(
    blender: Any, track_file: Path, clip: Path, tmp_path: Path, kind: str
) -> None:
    figures = blender.run("artist_checks.py", "linked", track=track_file, clip=clip,
                          folder=tmp_path, kind=kind)  # fmt: skip
    for name, told in figures["told"].items():
        assert "make it local" in told, name
    assert figures["same"]
    assert figures["state"] == "FAILED"
    assert figures["csv"] == ""
