# SPDX-License-Identifier: GPL-3.0-or-later
"""A job at the backend and the scene that shows it."""

from __future__ import annotations

import time
from typing import Protocol

import bpy

from .backend_process import BackendError
from .client import JobClient, JobPhase, Problem, scene_problem
from .refine.job import remember_source
from .runtime import ensure_backend, preferences, runtime
from .scene.build import Changes, Gone, SceneUpdate
from .scene.datablocks import by_uid
from .scene.footage import index_to_frame, is_shown_rotated
from .shot import Shot
from .translations import iface, rpt

WORK_S = 0.010
"""Time that one look may spend on the scene, give or take one piece of an update."""

NOTHING = (0, 0, 0, False)
"""What a run has shown before anything has arrived."""

SHARE = 0.2
"""Share of the time that updates of the scene may take while frames arrive."""

MOST_STARTS = 3
"""Times that a backend of this computer that died in a job is started again."""


class Target(Protocol):
    """Where the result of a run goes. Undo may take it away: it is looked up each time."""

    is_live: bool
    """Show frames while they arrive, and go to the newest; otherwise build all at the end."""
    label: str
    """What the result is called beside "Mien"; empty for nothing."""

    def find(self, scene: bpy.types.Scene) -> bpy.types.Collection | None:
        """Return the collection of an earlier run, which is updated."""

    def keep(self, scene: bpy.types.Scene, collection: bpy.types.Collection) -> None:
        """Note the collection that the result is in."""

    def sets_scene(self, scene: bpy.types.Scene) -> bool:
        """Whether the scene takes the footage's size, rate and range."""


class PanelTarget:
    """The result of the Track panel."""

    is_live = True
    label = ""

    def find(self, scene: bpy.types.Scene) -> bpy.types.Collection | None:
        """Return what the panel names."""
        return scene.mien.collection

    def keep(self, scene: bpy.types.Scene, collection: bpy.types.Collection) -> None:
        """Name it in the panel."""
        scene.mien.collection = collection

    def sets_scene(self, scene: bpy.types.Scene) -> bool:
        """Whether the panel says so."""
        return bool(scene.mien.set_scene)


class TrackRun:
    """A job and the scene that shows it. `step` is the whole work of one look."""

    def __init__(
        self,
        scene: bpy.types.Scene,
        client: JobClient,
        clip: bpy.types.MovieClip | None,
        target: Target | None = None,
    ) -> None:
        """client has the job of the clip, and a receiver for its results."""
        # Undo replaces data-blocks: what is kept is their number, not the block.
        self._scene_uid = scene.session_uid
        self._clip_uid = clip.session_uid if clip else None
        self.client = client
        self.target: Target = target or PanelTarget()
        self.problem: Problem | None = None
        self.warning = self.summary = ""
        self.offset = index_to_frame(clip)
        self.share = SHARE
        self._shown = NOTHING
        self._ready_at = 0.0
        self._update: SceneUpdate | None = None
        self._update_state = NOTHING
        self._update_frame: int | None = None
        self._spent_s = 0.0
        self._is_complete = False
        self._starts = 0

    @property
    def phase(self) -> JobPhase:
        """Where the job is."""
        return "failed" if self.problem is not None else self.client.phase

    @property
    def is_finished(self) -> bool:
        """Whether the job has ended, and the scene shows all of it."""
        nothing_came = self._has_ended and self._update is None and not any(self._state()[:3])
        return self._is_complete or nothing_came

    @property
    def fraction(self) -> float:
        """Share of the current stage that is done."""
        progress = self.client.receiver.progress
        return 0.0 if progress is None else min(max(progress.fraction, 0.0), 1.0)

    @property
    def status(self) -> str:
        """What it does at the moment, and the scene's frame that it is at."""
        if self.phase == "queued":
            ahead = self.client.queue_position
            if not ahead:
                return iface("Waiting")
            if ahead == 1:
                return iface("Waiting for 1 other job")
            return iface("Waiting for {count} other jobs", count=ahead)
        progress = self.client.receiver.progress
        if self.phase == "running" and progress is not None:
            stage = iface(STAGES.get(progress.stage, progress.stage.capitalize()))
            if progress.frame_index is not None:
                frame = progress.frame_index + self.offset
                return iface("{stage}, frame {frame}", stage=stage, frame=frame)
            return stage
        return iface(PHASES[self.phase])

    def step(self, budget_s: float = 0.006, work_s: float = WORK_S) -> bool:
        """Take what has arrived, for up to budget_s, show it for up to work_s.

        Returns whether the job has ended and the scene shows all of it.
        """
        if not self._has_ended:
            # Little while the scene is being updated: both together must not be felt.
            self.client.poll(budget_s if self._update is None else budget_s / 3)
            self.problem = self.client.problem or self._backend_problem()
            self._revive()
        if self.problem is not None:
            self.client.close()
        try:
            self._is_complete = self._show(work_s) and self._has_ended
        except Gone:
            # The artist has undone or removed it: all of it is made again.
            self._update, self._shown = None, NOTHING
        except Exception as error:
            # Whatever stands in the way in the scene: it is said, and the next run can start.
            self.close()
            self.problem = scene_problem(error)
        return self.is_finished

    def cancel(self) -> None:
        """Ask for the job to stop; `step` tells when it has."""
        self.client.cancel()

    @property
    def _has_ended(self) -> bool:
        return self.problem is not None or self.client.is_finished

    def close(self) -> None:
        """Stop without waiting for an answer."""
        self._update, self._is_complete = None, True
        self.client.cancel()
        self.client.close()

    def leave(self) -> None:
        """Stop following the job, which goes on at the backend."""
        self._update, self._is_complete = None, True
        self.client.close()

    def _revive(self) -> None:
        """Start a backend of this computer again that died in the job: it goes on with it."""
        backend = runtime.backend
        if backend is None or backend.is_running or self.phase in ("connecting", "cancelling"):
            return
        if self._has_ended or self._starts >= MOST_STARTS:
            return
        self._starts += 1
        try:
            ensure_backend(preferences())
        except BackendError as error:
            self.problem = Problem("no_backend", str(error))

    def _backend_problem(self) -> Problem | None:
        backend = runtime.backend
        if self.client.phase != "connecting" or backend is None or backend.is_running:
            return None
        return Problem("no_backend", backend.failure())

    def _show(self, work_s: float) -> bool:
        """Go on with the update of the scene; returns whether it shows all that has arrived."""
        if self._update is None and not self._start_update():
            return True
        update = self._update
        if update is None:
            return False
        began = time.monotonic()
        is_done = update.step(work_s)
        self._spent_s += time.monotonic() - began
        if not is_done:
            return False
        self._end_update(update)
        self._ready_at = time.monotonic() + self._spent_s * (1.0 / self.share - 1.0)
        return self._shown == self._state()

    def _state(self) -> tuple[int, int, int, bool]:
        """Return how much has arrived: of models, frames and textures, and whether it was all."""
        receiver = self.client.receiver
        counts = receiver.model_count, receiver.frame_count, receiver.texture_count
        return (*counts, self._has_ended)

    def _start_update(self) -> bool:
        """Start an update where there is something new; returns whether there is."""
        receiver, has_ended = self.client.receiver, self._has_ended
        state, shown = self._state(), self._shown
        if state == shown:
            return False
        scene = by_uid(bpy.data.scenes, self._scene_uid)
        if scene is None:
            return False
        if not has_ended and (not self.target.is_live or time.monotonic() < self._ready_at):
            return True
        # A picture of all frames is not worth making for every few of them.
        shot = receiver.shot(with_visibility=has_ended)
        if shot is None:
            return False
        changes = Changes(
            model=state[0] != shown[0],
            motion=state[1] != shown[1] or has_ended,
            texture=state[2] != shown[2],
            visibility=has_ended,
        )
        clip, target = by_uid(bpy.data.movieclips, self._clip_uid), self.target
        update = SceneUpdate(
            scene, shot, clip, target.find(scene), changes, target.sets_scene(scene), target.label
        )
        target.keep(scene, update.collection)
        self._update, self._update_state, self._spent_s = update, state, 0.0
        self._update_frame = receiver.newest_frame if changes.motion else None
        return True

    def _end_update(self, update: SceneUpdate) -> None:
        shot, scene = update.shot, by_uid(bpy.data.scenes, self._scene_uid)
        clip = by_uid(bpy.data.movieclips, self._clip_uid)
        self._update, self._shown = None, self._update_state
        if scene is not None and self._update_frame is not None and self.target.is_live:
            # Blender evaluates the frame once, when it draws: `frame_set` would do so here too.
            scene.frame_current = self._update_frame + self.offset
        if self.phase == "done":
            self.summary = _summary(shot)
            if update.collection is not None:
                remember_source(update.collection, clip, shot, job=self.client.job_id)
            if is_shown_rotated(clip, shot.image_size):
                self.warning = rpt(
                    "This Blender ignores the clip's rotation, so the background lies on its side. "
                    "Use Blender 4.5 or newer, or convert the clip."
                )


def _summary(shot: Shot) -> str:
    """Say how well it went."""
    found = shot.motion.found
    lost = int((~found).sum())
    done = rpt("Done: {count} frames.", count=len(found))
    if not lost:
        return done
    return f"{done} " + rpt(
        "No face was found in {lost}; the head is carried over there.", lost=lost
    )


STAGES = {
    "detect": "Finding the face",
    "fit": "Fitting the shot",
    "pose": "Posing the head",
    "cover": "Looking for what covers the face",
    "texture": "Merging the texture",
}
"""The backend's stages in the artist's words."""

PHASES: dict[str, str] = {
    "connecting": "Starting the backend",
    "queued": "Waiting",
    "running": "Opening the clip",
    "cancelling": "Stopping",
    "done": "Done",
    "failed": "Failed",
    "cancelled": "Stopped",
}
