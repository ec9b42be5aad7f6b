"""Checks of runs that end with their file, their scene or the add-on: see conftest.py."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import bpy
from artist_checks import MODULE, _mien, told_by


def relative_backend(folder: str) -> str:
    """The program of the backend as the file browser gives it: relative to the .blend file."""
    bpy.ops.wm.save_as_mainfile(filepath=str(Path(folder) / "shot.blend"))
    (Path(folder) / "mien").write_text("#!/bin/sh\nexec sleep 30\n", "utf-8")
    (Path(folder) / "mien").chmod(0o755)
    preferences = bpy.context.preferences.addons[MODULE].preferences
    preferences.mode, preferences.backend_path = "LOCAL", "//mien"
    return told_by(bpy.ops.mien.check_backend)


def _live(folder: str) -> tuple[Any, Any]:
    """Live's room and a run of it, with a backend that says nothing."""
    program = Path(folder) / "mien"
    program.write_text("#!/bin/sh\nexec sleep 600\n", "utf-8")
    program.chmod(0o755)
    preferences = bpy.context.preferences.addons[MODULE].preferences
    preferences.mode, preferences.backend_path = "LOCAL", str(program)
    bpy.ops.mien.live()
    live = _mien("live.operators")
    return live, live.live_run()


def live_and_the_file(folder: str) -> dict[str, Any]:
    """The scene of a live run is renamed, then its file is closed: the camera is let go."""
    _, run = _live(folder)
    bpy.context.scene.name = "Another Name"
    goes_on = not run.step()
    process = run.stream._reader.process
    bpy.ops.wm.read_homefile(use_empty=True)
    return {
        "goes_on": goes_on, "finished": run.is_finished,
        "ended": process.poll() is not None, "can_start": told_by(bpy.ops.mien.live),
    }  # fmt: skip


def live_breaks(folder: str) -> dict[str, Any]:
    """An error of the add-on in a live run ends it and is told."""
    live, run = _live(folder)

    def broken() -> bool:
        raise RuntimeError("something is wrong")

    run.step = broken
    again = live.poll_live()
    return {"again": again, "error": run.error, "finished": run.is_finished}


def let_go(clip: str, folder: str) -> dict[str, Any]:
    """A queue's job that nobody follows any more waits, when another scene's queue starts."""
    connection = Path(folder) / "connection.json"
    connection.write_text("{}", "utf-8")
    preferences = bpy.context.preferences.addons[MODULE].preferences
    preferences.mode, preferences.address = "CONNECT", str(connection)
    first = bpy.context.scene
    first.mien.clip = bpy.data.movieclips.load(clip)
    bpy.ops.mien.queue_add()
    runner = _mien("queue.runner")
    runner.start(first).step()
    running = first.mien_queue.items[0].state
    other = bpy.data.scenes.new("Other")
    runner.start(other)
    after = first.mien_queue.items[0].state
    runner.start(first).step()
    again = first.mien_queue.items[0].state
    runner.stop()
    return {"states": [running, after, again, first.mien_queue.items[0].state]}


def broken_installation(folder: str) -> dict[str, Any]:
    """A backend that is installed and then cannot be started: the installation says so."""
    from types import SimpleNamespace

    preferences = bpy.context.preferences.addons[MODULE].preferences
    preferences.mode, preferences.backend_path = "LOCAL", str(Path(folder) / "gone")
    runtime = _mien("runtime").runtime
    runtime.installation = SimpleNamespace(
        poll=lambda: True, is_finished=True, error=None, cancel=lambda: None, lines=[]
    )
    again = _mien("operators.backend").poll_installation()
    return {"again": again, "error": runtime.installation.error}


def switched_off() -> dict[str, Any]:
    """The add-on is switched off while operators run modally: those that run clean up."""
    runtime = _mien("runtime")
    cancelled = []

    class Running:
        """An operator that goes on, as far as the add-on asks it."""

        bl_idname = "mien.running"

        def __init__(self, name: str) -> None:
            self.name = name

        def cancel(self, context: Any) -> None:
            cancelled.append((self.name, context is not None))

    class Ended(Running):
        """One that Blender has freed: whatever it is asked raises ReferenceError."""

        @property
        def bl_idname(self) -> str:
            raise ReferenceError("StructRNA of type MIEN_OT_track has been removed")

    for operator in (Running("track"), Ended("solve"), Running("pick")):
        runtime.runs_modally(operator)
    _mien("png").later(lambda: 1).result()

    def threads() -> int:
        return sum("mien" in thread.name for thread in threading.enumerate())

    found = {"threads": [threads()], "cancelled": cancelled}
    bpy.ops.preferences.addon_disable(module=MODULE)
    deadline = time.monotonic() + 20
    while threads() and time.monotonic() < deadline:
        time.sleep(0.05)
    found["threads"].append(threads())
    bpy.ops.preferences.addon_enable(module=MODULE)
    bpy.ops.preferences.addon_disable(module=MODULE)
    bpy.ops.preferences.addon_enable(module=MODULE)
    return found
