"""Checks of the Track button, run inside Blender against a real service."""

from __future__ import annotations

import importlib
import os
import sys
import time
from pathlib import Path
from typing import Any

import bpy
from scene_checks import _alignment, _find, _scene_facts

MODULE = "bl_ext.user_default.mien"


def _mien(name: str) -> Any:
    return importlib.import_module(f"{MODULE}.{name}")


def _set_up(clip: str, connection: str) -> Any:
    preferences = bpy.context.preferences.addons[MODULE].preferences
    preferences.mode = "CONNECT"
    preferences.address = connection
    settings = bpy.context.scene.mien
    settings.clip = bpy.data.movieclips.load(clip)
    return settings


def _wait(is_done: Any, timeout_s: float = 180.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_done():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def track(track: str, clip: str, connection: str, job_id: str, offset: int) -> dict[str, Any]:
    """Press Track, as a script does, and undo it."""
    _set_up(clip, connection)
    bpy.ops.ed.undo_push(message="Start")
    assert bpy.ops.mien.track("EXEC_DEFAULT", True, job_id=job_id) == {"FINISHED"}
    run = _mien("runtime").runtime.run
    result = _scene_facts() | _alignment(track, offset)
    result |= {"phase": run.phase, "summary": run.summary}
    bpy.ops.ed.undo()
    return result | {"objects_after_undo": len(bpy.data.objects)}


def stream(track: str, clip: str, connection: str, job_id: str, offset: int) -> dict[str, Any]:
    """Take the results one at a time, as the modal operator's timer does."""
    _set_up(clip, connection)
    run = _mien("operators.track").start_run(bpy.context, job_id)
    run.share = float("inf")  # show every frame, however long that takes
    seen: list[dict[str, Any]] = []
    deadline = time.monotonic() + 180
    while not run.step(budget_s=0.0, work_s=float("inf")):
        assert time.monotonic() < deadline
        settings = bpy.context.scene.mien
        state: dict[str, Any] = {"status": run.status, "frames": 0}
        if settings.collection is not None:
            action = _find("rig").animation_data.action
            state["frames"] = int(action.frame_range[1] - action.frame_range[0]) + 1
            state["current"] = bpy.context.scene.frame_current
        if not seen or seen[-1] != state:
            seen.append(state)
    zmq = sys.modules["zmq"]
    resources = os.environ["BLENDER_USER_RESOURCES"]
    return {
        "seen": seen,
        "own_zmq": str(zmq.__file__).startswith(resources),
        "own_msgspec": str(sys.modules["msgspec"].__file__).startswith(resources),
        "facts": _scene_facts(),
        "alignment": _alignment(track, offset),
    }


def cancel(clip: str, connection: str) -> dict[str, Any]:
    """Stop a job that has reached the service."""
    _set_up(clip, connection)
    run = _mien("operators.track").start_run(bpy.context)
    _wait(lambda: run.step() or run.phase != "connecting")
    bpy.ops.mien.cancel()
    asked = run.status
    _wait(run.step)
    return {"asked": asked, "phase": run.phase, "objects": len(bpy.data.objects)}


def refusals(clip: str, forbidden_clip: str, connection: str, folder: str) -> dict[str, Any]:
    """What the artist is told when it does not work."""
    settings = _set_up(forbidden_clip, connection)
    told = {"forbidden": _told()}
    settings.clip = bpy.data.movieclips.load(clip)
    settings.use_range, settings.frame_start, settings.frame_end = True, 5, 2
    told["range"] = _told()
    settings.use_range = False
    preferences = bpy.context.preferences.addons[MODULE].preferences
    preferences.address = str(Path(folder) / "missing.json")
    told["no_file"] = _told()
    connection_info = _mien("shared.connection").read_connection_file(Path(connection))
    preferences.address, preferences.token = connection_info.address, "wrong"
    told["token"] = _told()
    preferences.mode, preferences.backend_path = "LOCAL", str(Path(folder) / "mien")
    told["no_program"] = _told()
    broken = Path(folder) / "broken"
    broken.write_text("#!/bin/sh\necho this backend is broken\nexit 3\n", "utf-8")
    broken.chmod(0o755)
    preferences.backend_path = str(broken)
    told["broken"] = _told()
    return told


def _told() -> str:
    try:
        bpy.ops.mien.track()
    except RuntimeError as error:
        return str(error)
    raise AssertionError("it was not refused")


def local_backend(python: str) -> dict[str, Any]:
    """Start the backend from Blender, run a job there, and stop it."""
    preferences = bpy.context.preferences.addons[MODULE].preferences
    preferences.mode, preferences.backend_path = "LOCAL", python
    runtime = _mien("runtime").runtime
    poll = _mien("operators.backend").poll_check
    bpy.ops.mien.check_backend()
    _wait(lambda: poll() is None)
    check, backend = runtime.check, runtime.backend
    problem = None if check.problem is None else check.problem.message
    result = {"phase": check.phase, "problem": problem, "device": check.device}
    mode = backend.connection_file.stat().st_mode & 0o777
    bpy.ops.mien.stop_backend()
    result |= {"mode": mode, "runs_on": backend.is_running}
    return result | {"file_left": backend.connection_file.exists()}


def left_running(python: str) -> int:
    """Start the backend and leave it: switching the add-on off must end it. Returns its pid."""
    preferences = bpy.context.preferences.addons[MODULE].preferences
    preferences.mode, preferences.backend_path = "LOCAL", python
    runtime = _mien("runtime").runtime
    bpy.ops.mien.check_backend()
    _wait(lambda: runtime.backend.is_ready or not runtime.backend.is_running)
    assert runtime.backend.is_ready, runtime.backend.failure()
    return int(_mien("shared.connection").read_connection_file(runtime.backend.connection_file).pid)


def focal_modes(clip: str) -> dict[str, Any]:
    """The job that each focal length mode and range gives."""
    settings = bpy.context.scene.mien
    settings.clip = bpy.data.movieclips.load(clip)
    make = _mien("operators.track").track_job
    jobs = {"solve": make(settings)}
    settings.focal_mode, settings.focal_mm, settings.sensor_mm = "FIXED", 50.0, 25.0
    jobs["fixed"] = make(settings)
    settings.focal_mode = "CLIP"
    settings.clip.tracking.camera.sensor_width = 20.0
    settings.clip.tracking.camera.focal_length = 30.0
    jobs["clip"] = make(settings)
    settings.clip.frame_start = 101
    settings.use_range, settings.frame_start, settings.frame_end = True, 103, 105
    settings.quality, settings.texture_size = "preview", "1024"
    jobs["range"] = make(settings)
    # Lenses and constraints are nobody's here: the panel does not set them.
    fields = ("clip", "start", "end", "quality", "focal_mode", "focal_px", "texture_size", "person")
    return {
        name: {field: getattr(job, field) for field in fields} | {"cameras": len(job.cameras)}
        for name, job in jobs.items()
    }


def sequence(first: str) -> dict[str, Any]:
    """An image sequence that is opened in its middle."""
    settings = bpy.context.scene.mien
    settings.clip = bpy.data.movieclips.load(first)
    footage = _mien("scene.footage")
    settings.use_range, settings.frame_start, settings.frame_end = True, 1, 3
    job = _mien("operators.track").track_job(settings)
    return {
        "source": settings.clip.source,
        "clip": job.clip,
        "range": [job.start, job.end],
        "first_index": footage.first_index(settings.clip),
    }


def panels() -> dict[str, Any]:
    """The panels and entries that the extension adds."""
    names = [n for n in dir(bpy.types) if n.startswith("MIEN_PT")]
    return {
        n: [getattr(bpy.types, n).bl_space_type, getattr(bpy.types, n).bl_category] for n in names
    }
