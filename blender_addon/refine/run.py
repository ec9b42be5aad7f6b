# SPDX-License-Identifier: GPL-3.0-or-later
"""One solve that goes on in the background, and the scene that gets it. `step` is one look."""

from __future__ import annotations

import time
from typing import Any

import bpy

from ..client import JobClient, JobPhase, Problem, scene_problem
from ..runtime import ensure_backend, preferences, runtime
from ..scene.build import Gone
from ..scene.datablocks import by_uid, check_editable
from ..scene.footage import index_to_frame
from ..scene.refined import RefinedUpdate, shot_of
from ..scene.solve import load_solve
from ..shared.messages import RefineJob
from ..translations import iface, rpt
from . import warm
from .job import Scope, as_text, refine_job
from .receiver import RefineReceiver

POLL_S = 0.01
"""Time between two looks."""

WORK_S = 0.010
"""Time that one look may spend on the scene, give or take one piece of an update."""

STAGES = {
    "fit": "Solving",
    "pose": "Posing the head",
}

PHASES = {
    "connecting": "Starting the backend",
    "queued": "Waiting",
    "running": "Solving",
    "cancelling": "Stopping",
    "done": "Done",
    "failed": "Failed",
    "cancelled": "Stopped",
}


class RefineRun:
    """A refine job, from its submission to the updated scene."""

    def __init__(self, scene: bpy.types.Scene, client: JobClient, job: RefineJob) -> None:
        """client has the job of the scene's result, and a `RefineReceiver`."""
        settings = scene.mien
        self._scene_uid = scene.session_uid
        self._clip_uid = settings.clip.session_uid if settings.clip else None
        self._collection_uid = settings.collection.session_uid
        self.client = client
        self.scope: Scope = "whole" if job.scope == "whole" else "near"
        self.problem: Problem | None = None
        self.began = time.monotonic()
        self.waited_s = self.shown_s = 0.0
        """Seconds from the start until the solve was there, and until the scene showed it."""
        self.is_finished = False
        self._asked = as_text(job.constraints) if job.constraints is not None else ""
        self._update: RefinedUpdate | None = None

    @property
    def phase(self) -> JobPhase:
        """Where the job is."""
        return "failed" if self.problem is not None else self.client.phase

    @property
    def fraction(self) -> float:
        """Share of the current stage that is done."""
        progress = self.client.receiver.progress
        return 0.0 if progress is None else min(max(progress.fraction, 0.0), 1.0)

    @property
    def status(self) -> str:
        """What it does at the moment."""
        if self.phase == "queued" and self.client.queue_position:
            ahead = self.client.queue_position
            if ahead == 1:
                return iface("Waiting for 1 other job")
            return iface("Waiting for {count} other jobs", count=ahead)
        progress = self.client.receiver.progress
        if self.phase == "running" and progress is not None:
            return iface(STAGES.get(progress.stage, progress.stage.capitalize()))
        return iface(PHASES[self.phase])

    @property
    def outcome(self) -> str:
        """How it went, for a person."""
        done = self.client.receiver.done
        if self.phase != "done" or done is None:
            return ""
        frames = len(self.client.receiver.frames)
        if not frames:
            return rpt("Nothing has changed near any frame.")
        if frames == 1:
            return rpt("1 frame solved in {time:.1f} s.", time=self.shown_s)
        return rpt("{count} frames solved in {time:.1f} s.", count=frames, time=self.shown_s)

    def step(self, budget_s: float = 0.006, work_s: float = WORK_S) -> bool:
        """Take what has arrived and bring the scene to it; returns whether that is all."""
        if self.is_finished:
            return True
        if self._update is None:
            self._poll(budget_s)
            if self.is_finished or self.phase != "done":
                return self.is_finished
            self.waited_s = time.monotonic() - self.began
            self._start_update()
            return self.is_finished
        try:
            if self._update.step(work_s):
                self._end_update(self._update)
        except Gone:
            # The artist has removed the result meanwhile.
            self.close()
        except Exception as error:
            # Whatever stands in the way in the scene: it is said, and the next solve can start.
            self.close()
            self.problem = scene_problem(error)
        return self.is_finished

    def cancel(self) -> None:
        """Ask for the job to stop; `step` tells when it has. A scene that is changing is ended."""
        self.client.cancel()

    def close(self) -> None:
        """Stop without waiting for an answer."""
        self._update, self.is_finished = None, True
        self.client.cancel()
        self.client.close()

    def _poll(self, budget_s: float) -> None:
        self.client.poll(budget_s)
        self.problem = self.client.problem
        backend = runtime.backend
        if self.client.phase == "connecting" and backend is not None and not backend.is_running:
            self.problem = Problem("no_backend", backend.failure())
        if self.phase in ("failed", "cancelled"):
            self.client.close()
            self.is_finished = True

    def _start_update(self) -> None:
        scene, collection = by_uid(bpy.data.scenes, self._scene_uid), self._collection()
        solve = load_solve(collection)
        if scene is None or collection is None or solve is None:
            self.close()
            return
        clip = by_uid(bpy.data.movieclips, self._clip_uid)
        receiver, refine = self.client.receiver, collection.mien_refine
        shot = receiver.onto(shot_of(solve, refine.offset))
        # The frames stay where they are, should the clip have been moved since.
        offset = index_to_frame(clip)
        shot.motion.frame_index[:] += refine.offset - offset
        self._update = RefinedUpdate(scene, shot, clip, collection, receiver.model is not None)

    def _end_update(self, update: RefinedUpdate) -> None:
        scene, collection = by_uid(bpy.data.scenes, self._scene_uid), update.collection
        if collection is not None:
            refine = collection.mien_refine
            refine.job, refine.solved = self.client.job_id, self._asked
        if scene is not None:
            # Curves that were written are not evaluated before the frame is set again.
            scene.frame_current = scene.frame_current
        self.shown_s = time.monotonic() - self.began
        self._update, self.is_finished = None, True

    def _collection(self) -> bpy.types.Collection | None:
        return by_uid(bpy.data.collections, self._collection_uid)


_run: list[RefineRun] = []


def current_run() -> RefineRun | None:
    """Return the solve that goes on, or the last one: its outcome is shown until the next."""
    return _run[0] if _run else None


def start(context: bpy.types.Context, scope: Scope) -> RefineRun:
    """Solve the scene's result again; a solve that goes on is stopped, for it is of older pins.

    Raises ValueError or `BackendError`.
    """
    scene = context.scene
    collection, clip = scene.mien.collection, scene.mien.clip
    solve = load_solve(collection)
    if collection is None or solve is None:
        raise ValueError("Track a clip or import a track first.")
    check_editable(collection)
    size = int(solve.image_size[0]), int(solve.image_size[1])
    job = refine_job(collection.mien_refine, clip, scope, size)
    stop()
    client: Any = JobClient(ensure_backend(preferences(context)), job, RefineReceiver())
    _run[:] = [RefineRun(scene, client, job)]
    return _run[0]


def stop() -> None:
    """Stop what goes on, at once."""
    run = current_run()
    if run is not None and not run.is_finished:
        run.close()


def forget() -> None:
    """Stop what goes on and show no outcome any more."""
    stop()
    warm.stop()
    _run.clear()


@bpy.app.handlers.persistent
def _on_change(*_: Any) -> None:
    """Undo has put everything back that an update has written; another file has other results."""
    forget()


_HANDLERS = ("undo_pre", "redo_pre", "load_pre")


def register() -> None:
    """Stop where undo, redo or another file takes away what a solve started from."""
    for name in _HANDLERS:
        getattr(bpy.app.handlers, name).append(_on_change)


def unregister() -> None:
    """Stop, and listen no more."""
    forget()
    for name in _HANDLERS:
        handlers = getattr(bpy.app.handlers, name)
        if _on_change in handlers:
            handlers.remove(_on_change)
