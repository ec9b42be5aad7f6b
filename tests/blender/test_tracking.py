"""The Track button in Blender against a real service over real ZeroMQ."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from backend.server.store import JobStore, ResultWriter
from shared.messages import TrackJob, new_job_id

pytestmark = pytest.mark.blender

FIRST_INDEX, N_FRAMES = 2, 9
OFFSET = FIRST_INDEX + 1


class Service:
    """A backend process, with one finished job on its disk: whoever asks gets its results."""

    def __init__(self, folder: Path, clip: Path, messages: list[Any]) -> None:
        self.job_id = new_job_id()
        self.connection = folder / "connection.json"
        jobs = folder / "jobs"
        store = JobStore(jobs)
        job = store.create(self.job_id, TrackJob(clip=str(clip)), "test")
        with ResultWriter(job, self.job_id) as writer:
            for message in messages:
                writer.put(message)
        store.close()
        command = [sys.executable, "-m", "backend", "serve", "--exit-with-stdin"]
        command += ["--connection-file", str(self.connection), "--jobs-directory", str(jobs)]
        command += ["--roots", str(clip.parent), "--devices", "cpu"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE)
        deadline = time.monotonic() + 120
        while not self.connection.exists():
            assert self.process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(60)
        finally:
            self.process.kill()


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, clip: Path, performance: Any
) -> Iterator[Service]:
    running = Service(tmp_path_factory.mktemp("service"), clip, performance.messages())
    yield running
    running.close()


def test_track_builds_the_scene_and_can_be_undone(
    blender: Any, service: Service, track_file: Path, clip: Path
) -> None:
    figures = blender.run("tracking_checks.py", "track", track=track_file, clip=clip,
                          connection=service.connection, job_id=service.job_id,
                          offset=OFFSET)  # fmt: skip
    assert figures["phase"] == "done"
    assert figures["summary"] == (
        "Done: 9 frames. No face was found in 1; the head is carried over there."
    )
    assert figures["vertices_mm"] < 0.01
    assert figures["landmarks_px"] < 0.05
    assert figures["visible"] == 0.0
    assert figures["rate"] == pytest.approx(30000 / 1001, rel=1e-6)
    assert figures["objects"] == ["Mien", "Mien Camera", "Mien Head", "Mien Rig"]
    assert figures["objects_after_undo"] == 0


def test_mesh_appears_while_frames_arrive(
    blender: Any, service: Service, track_file: Path, clip: Path
) -> None:
    figures = blender.run("tracking_checks.py", "stream", track=track_file, clip=clip,
                          connection=service.connection, job_id=service.job_id,
                          offset=OFFSET)  # fmt: skip
    counts = [state["frames"] for state in figures["seen"]]
    assert counts[0] == 0
    assert counts == sorted(counts)
    assert set(counts) == set(range(N_FRAMES + 1))
    current = {state["current"] for state in figures["seen"] if state["frames"]}
    assert current == set(range(OFFSET, OFFSET + N_FRAMES))
    assert figures["alignment"]["vertices_mm"] < 0.01
    assert figures["facts"]["data_blocks"]["meshes"] == 1
    assert figures["own_zmq"]
    assert figures["own_msgspec"]


def test_cancel(blender: Any, service: Service, clip: Path) -> None:
    figures = blender.run("tracking_checks.py", "cancel", clip=clip, connection=service.connection)
    assert figures["asked"] == "Stopping"
    assert figures["phase"] == "cancelled"
    assert figures["objects"] == 0


def test_errors_say_what_to_do(blender: Any, service: Service, clip: Path, tmp_path: Path) -> None:
    forbidden = tmp_path / "elsewhere.mp4"
    forbidden.write_bytes(clip.read_bytes())
    told = blender.run("tracking_checks.py", "refusals", clip=clip, forbidden_clip=forbidden,
                       connection=service.connection, folder=tmp_path)  # fmt: skip
    assert "elsewhere.mp4" in told["forbidden"] and "--roots" in told["forbidden"]
    assert "ends before it starts" in told["range"]
    assert "missing.json" in told["no_file"]
    assert "token" in told["token"]
    assert "there is no such file" in told["no_program"]
    assert "this backend is broken" in told["broken"]
    assert "Preferences > Add-ons > Mien" in told["broken"]


def test_backend_is_started_checked_and_stopped(blender: Any) -> None:
    figures = blender.run("tracking_checks.py", "local_backend", python=sys.executable)
    assert figures["problem"] is None
    assert figures["phase"] == "done"
    assert "CPU" in figures["device"] or "GB" in figures["device"]
    assert figures["mode"] == 0o600
    assert not figures["runs_on"]
    assert not figures["file_left"]


def test_backend_ends_with_blender(blender: Any) -> None:
    pid = blender.run("tracking_checks.py", "left_running", python=sys.executable)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError("the backend outlived its Blender")


def test_settings_become_a_job(blender: Any, clip: Path) -> None:
    jobs = blender.run("tracking_checks.py", "focal_modes", clip=clip)
    assert jobs["solve"]["clip"] == str(clip)
    assert jobs["solve"]["focal_mode"] == "solve" and jobs["solve"]["focal_px"] is None
    assert jobs["solve"]["start"] is None and jobs["solve"]["end"] is None
    assert jobs["solve"]["cameras"] == 0 and jobs["solve"]["person"] == ""
    assert jobs["fixed"]["focal_mode"] == "fixed"
    assert jobs["fixed"]["focal_px"] == pytest.approx(50 / 25 * 320)
    assert jobs["clip"]["focal_px"] == pytest.approx(30 / 20 * 320)
    assert (jobs["range"]["start"], jobs["range"]["end"]) == (2, 4)
    assert jobs["range"]["quality"] == "preview" and jobs["range"]["texture_size"] == 1024


def test_image_sequence_opened_in_its_middle(blender: Any, tmp_path: Path) -> None:
    for number in range(7, 15):
        image = np.full((24, 32, 3), 10 * number, np.uint8)
        Image.fromarray(image).save(tmp_path / f"shot_{number:04d}.png")
    figures = blender.run("tracking_checks.py", "sequence", first=tmp_path / "shot_0010.png")
    assert figures["source"] == "SEQUENCE"
    assert figures["clip"] == str(tmp_path / "shot_####.png")
    assert figures["first_index"] == 3
    assert figures["range"] == [3, 5]


def test_panels_in_both_editors(blender: Any) -> None:
    panels = blender.run("tracking_checks.py", "panels")
    for name in ("track", "result", "refine"):
        assert panels[f"MIEN_PT_{name}_view3d"] == ["VIEW_3D", "Mien"]
        assert panels[f"MIEN_PT_{name}_clip"] == ["CLIP_EDITOR", "Mien"]
    assert panels["MIEN_PT_retarget"] == ["VIEW_3D", "Mien"]


def test_panels_say_what_they_should(
    blender: Any, clip: Path, track_file: Path, tmp_path: Path
) -> None:
    drawn = blender.run("panel_checks.py", "draw", clip=clip, track=track_file, folder=tmp_path)
    assert "there is no such file" in drawn["no backend"]
    assert "Install Backend" in drawn["no backend"]
    assert "Track" in drawn["no backend"]
    assert "320 x 180, 12 frames, 29.97 fps" in drawn["fixed focal length"]
    assert "Sensor Width" in drawn["fixed focal length"]
    assert "Sensor Width" not in drawn["focal length of the clip"]
    assert "Starting the backend" in drawn["running"] and "Cancel" in drawn["running"]
    assert "No backend answers" in drawn["failed"] and "Copy Report" in drawn["failed"]
    assert "Stopped." in drawn["cancelled"]
    assert "Import Mien Track" in drawn["nothing to show"]
    assert "Solved Lens" not in drawn["nothing to show"]
    assert "Solved Lens" in drawn["result"] and "Relight" in drawn["result"]
    for text in ("Show Measured", "Load Texture Sequence", "Update Seen Group"):
        assert text in drawn["texture"]
    for text in ("Position", "Focal Length", "Motion", "Frames", "Next Unsure"):
        assert text in drawn["refine"]
    assert "Character" in drawn["rigs"] and "Alembic (.abc)" in drawn["rigs"]
    assert "Match Shape Keys" not in drawn["rigs"]
    assert "Bake to Character" in drawn["rigs, bones"] and "Preset" in drawn["rigs, bones"]
    assert "Server Key" in drawn["connect"] and "Check" in drawn["connect"]
    assert "Install Backend" in drawn["local"] and "Offline Packages" in drawn["local"]


def test_pictures_are_shown_at_once_and_stay_in_the_file(
    blender: Any, service: Service, track_file: Path, clip: Path, tmp_path: Path
) -> None:
    figures = blender.run("image_checks.py", "live", track=track_file, clip=clip,
                          connection=service.connection, job_id=service.job_id,
                          blend=tmp_path / "shot.blend")  # fmt: skip
    states = figures["states"]
    for state in states.values():
        assert state["texture"] == 0.0 and state["visibility"] == 0.0
        assert state["packed"] == [True, True]
        assert state["shown"] == "Mien Texture"
    # Pixels were copied, not decoded.
    assert states["live"]["sources"] == ["GENERATED", "GENERATED"]
    assert states["saved"]["sources"] == states["loaded"]["sources"] == ["FILE", "FILE"]
    assert figures["images after undo"] == 0


def test_pictures_change_their_size(
    blender: Any, track_file: Path, other_track_file: Path, clip: Path
) -> None:
    state = blender.run(
        "image_checks.py", "again", track=track_file, other=other_track_file, clip=clip
    )
    assert state["texture"] == 0.0 and state["visibility"] == 0.0
    assert state["sources"] == ["FILE", "FILE"]
