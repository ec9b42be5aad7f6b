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


def test_what_was_deleted_is_named(blender: Any, track_file: Path, clip: Path) -> None:
    told = blender.run("artist_checks.py", "damaged", track=track_file, clip=clip, offset=3)
    assert "camera was deleted: track again" in told["no camera"]
    assert told["field"] == "HEAD"
    assert "shape keys were deleted" in told["no keys, exact"]
    for name in ("no head, landmarks", "no head, shape"):
        assert "no head any more" in told[name]
    assert "no tracked head" in told["no head, file"]
    for name in ("smooth", "next_unsure", "shape"):
        assert "no result of Mien" in told[f"mine, {name}"]
    for name in ("smooth without a camera", "no keys, smooth", "no bone, smooth",
                 "no bone, motion"):  # fmt: skip
        assert told[name] == "", name


def test_solving_goes_on_beside_edits(blender: Any, service: Service, clip: Path) -> None:
    told = blender.run("artist_checks.py", "refined_after_edits", clip=clip,
                       connection=service.connection, job_id=service.job_id)  # fmt: skip
    assert told == {"renamed": "", "cleared": ""}


def test_nothing_is_baked_that_would_be_lost(
    blender: Any, track_file: Path, clip: Path, tmp_path: Path
) -> None:
    found = blender.run(
        "artist_checks.py", "characters", track=track_file, clip=clip, folder=tmp_path
    )
    for kind in ("linked", "object"):
        assert "library override" in found[kind]["told"]
        assert not found[kind]["kept"]
    assert found["mesh"] == {"told": "", "kept": True}
    assert "library override" in found["linked, bones"]
    assert "no shape keys" in found["empty"] and "no shape keys" in found["empty, match"]


def test_files_that_cannot_be_written_are_told(
    blender: Any, track_file: Path, clip: Path, tmp_path: Path
) -> None:
    found = blender.run("artist_checks.py", "exports", track=track_file, clip=clip, folder=tmp_path)
    assert found["FBX"] == found["GLTF"] == ["", True]
    assert "file" in found["under a file"]
    assert "taken.fbx" in found["taken"]
    assert "link its collection" in found["elsewhere"]


def test_the_backends_program_may_be_relative(blender: Any, tmp_path: Path) -> None:
    assert blender.run("lifecycle_checks.py", "relative_backend", folder=tmp_path) == ""


def test_a_folder_with_its_clip_and_cache_can_be_moved(
    blender: Any, track_file: Path, clip: Path, tmp_path: Path
) -> None:
    told = blender.run(
        "artist_checks.py", "kept_paths", track=track_file, clip=clip, folder=tmp_path
    )
    assert told["shape"] == ""
    assert told["cache"] == "//shot_Mien.pc2"
    assert told["clip"] == "//shot/plate.mp4"
    assert told["size"] == "(320, 180)"
    assert told["job"] == told["absolute"] == str(tmp_path / "shot" / "plate.mp4")


def test_a_live_run_ends_with_its_file(blender: Any, tmp_path: Path) -> None:
    told = blender.run("lifecycle_checks.py", "live_and_the_file", folder=tmp_path)
    assert told == {"goes_on": True, "finished": True, "ended": True, "can_start": ""}


def test_an_error_ends_a_live_run_and_is_told(blender: Any, tmp_path: Path) -> None:
    told = blender.run("lifecycle_checks.py", "live_breaks", folder=tmp_path)
    assert told["again"] is None and told["finished"]
    assert "something is wrong" in told["error"]


def test_a_job_that_nobody_follows_waits(blender: Any, clip: Path, tmp_path: Path) -> None:
    told = blender.run("lifecycle_checks.py", "let_go", clip=clip, folder=tmp_path)
    assert told["states"] == ["RUNNING", "WAITING", "RUNNING", "WAITING"]


def test_an_installation_that_does_not_start_says_so(blender: Any, tmp_path: Path) -> None:
    told = blender.run("lifecycle_checks.py", "broken_installation", folder=tmp_path)
    assert told["again"] is None
    assert "there is no such file" in told["error"]


def test_a_result_of_another_clip_is_not_replaced_unawares(
    blender: Any, track_file: Path, clip: Path, tmp_path: Path
) -> None:
    told = blender.run(
        "artist_checks.py", "another_clip", track=track_file, clip=clip, folder=tmp_path
    )
    assert "Track replaces" not in told["same"]
    assert "Track replaces Mien, which is of the clip clip.mp4" in told["other"]
    assert "Make a New Result" in told["other"]
    assert "Track replaces" not in told["new"]
    assert told["kept"] == ["Mien"]


def test_what_runs_cleans_up_when_the_addon_is_switched_off(blender: Any) -> None:
    told = blender.run("lifecycle_checks.py", "switched_off")
    assert told["cancelled"] == [["track", True], ["pick", True]]
    assert told["threads"] == [1, 0]


def test_what_is_no_clip_is_told(blender: Any, track_file: Path, tmp_path: Path) -> None:
    told = blender.run("artist_checks.py", "wrong_clips", track=track_file, folder=tmp_path)
    assert "not a folder" in told["folder"]
    for name in ("gone", "import"):
        assert "gone.mp4" in told[name]
        assert told[name].count("Error") == 1
    assert told["clip"] == "None" and told["objects"] == "0"
