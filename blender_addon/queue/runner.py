# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a scene's jobs one after another, in a timer, while the artist does something else.

What runs is not saved; which jobs there are, and how they ended, is. A job goes on at the backend
whatever happens to Blender: its entry keeps the identifier, under which the results come again.
"""

from __future__ import annotations

import contextlib
import traceback
from typing import Any

import bpy
from bpy.app.handlers import persistent

from ..backend_process import BackendError
from ..client import JobClient
from ..runtime import ensure_backend, preferences, redraw
from ..scene.datablocks import by_uid, check_editable
from ..scene.footage import clip_rate, clip_size
from ..shared.messages import new_job_id
from ..shot import ShotReceiver
from ..track_run import TrackRun
from ..translations import rpt
from .properties import ENDED
from .snapshot import job_from_text

TICK_S = 0.03
"""Time between two looks while something runs."""


class ItemTarget:
    """The result of an entry of the queue; it is built when the job has ended."""

    is_live = False

    def __init__(self, item: Any) -> None:
        self._key = item.key
        self.label = item.person or item.name

    def find(self, scene: bpy.types.Scene) -> bpy.types.Collection | None:
        """Return what the entry names."""
        item = scene.mien_queue.find(self._key)
        return None if item is None else item.collection

    def keep(self, scene: bpy.types.Scene, collection: bpy.types.Collection) -> None:
        """Name it in the entry, and for the person who was picked."""
        item = scene.mien_queue.find(self._key)
        if item is None:
            return
        item.collection = collection
        person = scene.mien_people.find(item.person_key)
        if person is not None:
            person.collection = collection
        if scene.mien.collection is None:
            scene.mien.collection = collection

    def sets_scene(self, scene: bpy.types.Scene) -> bool:
        """Whether the entry says so."""
        item = scene.mien_queue.find(self._key)
        return item is not None and item.set_scene


class QueueRunner:
    """Goes through the entries of one scene that wait. `step` is the whole work of one look."""

    def __init__(self, scene: bpy.types.Scene) -> None:
        self._scene_uid = scene.session_uid
        self.run: TrackRun | None = None
        self.key = ""
        """Entry whose job runs; empty for none."""
        self.is_paused = False
        """Whether to start no further job."""
        self._ended: set[str] = set()

    @property
    def scene(self) -> bpy.types.Scene | None:
        """The scene, while it is there."""
        return by_uid(bpy.data.scenes, self._scene_uid)

    def step(self) -> bool:
        """Go on; returns whether nothing is left to do."""
        scene = self.scene
        if scene is None:
            self.leave()
            return True
        if self.run is None:
            return not self._start_next(scene)
        if scene.mien_queue.find(self.key) is None:
            # Removed, or its adding was undone.
            self.run.close()
            self.run, self.key = None, ""
            return False
        if self.run.step():
            self._end(scene, self.run)
        return False

    def again(self, key: str) -> None:
        """Take an entry that has ended once more."""
        self._ended.discard(key)

    def forget(self) -> None:
        """Take what was done and undone again too: somebody has asked for it."""
        self._ended.clear()

    def cancel(self, key: str) -> None:
        """Stop an entry's job at the backend, if it is the one that runs."""
        if self.run is not None and key == self.key:
            self.run.cancel()

    def fail(self, message: str) -> bool:
        """End the job that runs after an error of the add-on; returns whether there was one."""
        scene, key = self.scene, self.key
        self.leave()
        if scene is None or not key:
            return False
        advice = rpt("Try again; if it happens again, report it with what the console says.")
        self._note(scene, key, "FAILED", f"{message}. {advice}")
        return True

    def leave(self) -> None:
        """Let go of the job that runs: it goes on at the backend, and its entry waits."""
        if self.run is not None:
            self.run.leave()
        scene = self.scene
        item = None if scene is None else scene.mien_queue.find(self.key)
        if item is not None and item.state == "RUNNING":
            item.state = "WAITING"
        self.run, self.key = None, ""

    def _start_next(self, scene: bpy.types.Scene) -> bool:
        """Start the first entry that waits; returns whether there was one."""
        if self.is_paused:
            return False
        for item in scene.mien_queue.items:
            # What was done and then undone is not done again by itself.
            if item.state in ENDED or item.key in self._ended:
                continue
            self.key = item.key
            try:
                self._start(scene, item)
            except (ValueError, BackendError, OSError) as error:
                self.run, self.key = None, ""
                self._note(scene, item.key, "FAILED", str(error))
            return True
        return False

    def _start(self, scene: bpy.types.Scene, item: Any) -> None:
        if item.clip is None:
            raise ValueError(
                "Its clip is not in this file any more: open the clip and add it again."
            )
        check_editable(item.collection)
        job = job_from_text(item.job)
        endpoint = ensure_backend(preferences())
        item.job_id = item.job_id or new_job_id()
        receiver = ShotReceiver(clip_size(item.clip), clip_rate(item.clip))
        client = JobClient(endpoint, job, receiver, job_id=item.job_id)
        self.run = TrackRun(scene, client, item.clip, ItemTarget(item))
        item.state, item.message = "RUNNING", ""

    def _end(self, scene: bpy.types.Scene, run: TrackRun) -> None:
        key, self.run, self.key = self.key, None, ""
        item = scene.mien_queue.find(key)
        if run.problem is not None:
            self._note(scene, key, "FAILED", run.problem.report)
        elif run.phase == "cancelled":
            self._note(scene, key, "CANCELLED", rpt("Stopped."))
        else:
            self._note(scene, key, "DONE", run.warning or run.summary)
        if item is not None and not bpy.app.background:
            # One step of undo for each result.
            with contextlib.suppress(RuntimeError):
                bpy.ops.ed.undo_push(message=f"Mien: {item.name}")

    def _note(self, scene: bpy.types.Scene, key: str, state: str, message: str) -> None:
        self._ended.add(key)
        item = scene.mien_queue.find(key)
        if item is not None:
            item.state, item.message = state, message


_runners: list[QueueRunner] = []
"""The one that runs, if any; of one scene at a time."""


def current() -> QueueRunner | None:
    """Return what runs, or ran last."""
    return _runners[0] if _runners else None


def start(scene: bpy.types.Scene) -> QueueRunner:
    """Start to go through a scene's jobs, or go on after a pause."""
    runner = current()
    if runner is None or runner.scene != scene:
        if runner is not None:
            runner.leave()
        runner = QueueRunner(scene)
        _runners[:] = [runner]
    runner.is_paused = False
    runner.forget()
    if not bpy.app.background and not bpy.app.timers.is_registered(_tick):
        bpy.app.timers.register(_tick, first_interval=TICK_S, persistent=True)
    return runner


def _tick() -> float | None:
    """One look, by Blender's timer; an error in it must not end the queue without a word."""
    runner = current()
    if runner is None:
        return None
    try:
        is_finished = runner.step()
    except Exception as error:
        traceback.print_exc()
        is_finished = not runner.fail(f"{type(error).__name__}: {error}")
    redraw()
    return None if is_finished else TICK_S


def stop() -> None:
    """Let go of everything; jobs go on at the backend."""
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    for runner in _runners:
        runner.leave()
    _runners.clear()


@persistent
def _before_load(*_: object) -> None:
    stop()


@persistent
def _after_load(*_: object) -> None:
    """A job that ran when the file was saved waits: Start goes on with it at the backend."""
    for scene in bpy.data.scenes:
        for item in scene.mien_queue.items:
            if item.state == "RUNNING":
                item.state = "WAITING"


def register() -> None:
    """Look after the queue when files are loaded."""
    bpy.app.handlers.load_pre.append(_before_load)
    bpy.app.handlers.load_post.append(_after_load)


def unregister() -> None:
    """Stop."""
    stop()
    for handlers, function in (
        (bpy.app.handlers.load_pre, _before_load),
        (bpy.app.handlers.load_post, _after_load),
    ):
        if function in handlers:
            handlers.remove(function)
