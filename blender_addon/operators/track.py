# SPDX-License-Identifier: GPL-3.0-or-later
"""Track: send the clip to the backend and build the scene while results arrive."""

from __future__ import annotations

import os
import time
from typing import Any

import bpy
from bpy.props import StringProperty

from ..backend_process import BackendError
from ..client import JobClient, JobPhase, Problem
from ..rig_list import first_focal_px, rig_cameras
from ..runtime import ensure_backend, preferences, redraw, runtime
from ..scene import images
from ..scene.build import Changes, Gone, SceneUpdate
from ..scene.camera import clip_focal_px
from ..scene.footage import (
    clip_rate,
    clip_size,
    clip_source,
    index_to_frame,
    is_shown_rotated,
)
from ..shared.conventions import focal_mm_to_px
from ..shared.messages import TrackJob
from ..shot import Shot, ShotReceiver

POLL_S = 0.02
"""Time between two looks at what has arrived."""

WORK_S = 0.010
"""Time that one look may spend on the scene, give or take one piece of an update."""

REDRAW_S = 0.1
"""Time between two drawings of the progress."""

NOTHING = (0, 0, 0, False)
"""What a run has shown before anything has arrived."""

SHARE = 0.2
"""Share of the time that updates of the scene may take while frames arrive."""


def track_job(settings: Any) -> TrackJob:
    """Return the job that a scene's settings (scene.mien) describe. Raises ValueError."""
    clip = settings.clip
    if clip is None:
        raise ValueError("Choose a clip first.")
    offset = index_to_frame(clip)
    start = end = None
    if settings.use_range:
        start, end = settings.frame_start - offset, settings.frame_end - offset
        if end < start:
            raise ValueError("The frame range ends before it starts.")
        if end < 0:
            raise ValueError(f"The frame range ends before the clip starts, at frame {offset}.")
        start = max(start, 0)
    size = clip_size(clip)
    focal_px = None
    if settings.focal_mode == "FIXED":
        focal_px = focal_mm_to_px(settings.focal_mm, size, settings.sensor_mm, "HORIZONTAL")
    elif settings.focal_mode == "CLIP":
        focal_px = clip_focal_px(clip)
    cameras = rig_cameras(settings, focal_px)
    if focal_px is None and cameras:
        focal_px = first_focal_px(settings)
    return TrackJob(
        clip=clip_source(clip),
        start=start,
        end=end,
        quality=settings.quality,
        focal_mode="solve" if focal_px is None else "fixed",
        focal_px=focal_px,
        texture_size=int(settings.texture_size),
        cameras=cameras,
        person=os.path.abspath(bpy.path.abspath(settings.person)) if settings.person else "",
    )


class TrackRun:
    """A job and the scene that shows it. `step` is the whole work of one look."""

    def __init__(self, scene: bpy.types.Scene, client: JobClient) -> None:
        """client has the job of the scene's clip, and a receiver for its results."""
        # Undo replaces data-blocks: what is kept is their number, not the block.
        self._scene_uid = scene.session_uid
        self._clip_uid = scene.mien.clip.session_uid if scene.mien.clip else None
        self.client = client
        self.problem: Problem | None = None
        self.warning = self.summary = ""
        self.offset = index_to_frame(scene.mien.clip)
        self.share = SHARE
        self._shown = NOTHING
        self._ready_at = 0.0
        self._update: SceneUpdate | None = None
        self._update_state = NOTHING
        self._update_frame: int | None = None
        self._spent_s = 0.0
        self._is_complete = False

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
            return f"Waiting for {ahead} other job{'s'[: ahead != 1]}" if ahead else "Waiting"
        progress = self.client.receiver.progress
        if self.phase == "running" and progress is not None:
            stage = STAGES.get(progress.stage, progress.stage.capitalize())
            if progress.frame_index is not None:
                return f"{stage}, frame {progress.frame_index + self.offset}"
            return stage
        return PHASES[self.phase]

    def step(self, budget_s: float = 0.006, work_s: float = WORK_S) -> bool:
        """Take what has arrived, for up to budget_s, show it for up to work_s.

        Returns whether the job has ended and the scene shows all of it.
        """
        if not self._has_ended:
            # Little while the scene is being updated: both together must not be felt.
            self.client.poll(budget_s if self._update is None else budget_s / 3)
            self.problem = self.client.problem or self._backend_problem()
        if self.problem is not None:
            self.client.close()
        try:
            self._is_complete = self._show(work_s) and self._has_ended
        except Gone:
            # The artist has undone or removed it: all of it is made again.
            self._update, self._shown = None, NOTHING
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
        scene = _by_uid(bpy.data.scenes, self._scene_uid)
        if scene is None:
            return False
        if not has_ended and time.monotonic() < self._ready_at:
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
        settings, clip = scene.mien, _by_uid(bpy.data.movieclips, self._clip_uid)
        update = SceneUpdate(scene, shot, clip, settings.collection, changes, settings.set_scene)
        settings.collection = update.collection
        self._update, self._update_state, self._spent_s = update, state, 0.0
        self._update_frame = receiver.newest_frame if changes.motion else None
        return True

    def _end_update(self, update: SceneUpdate) -> None:
        shot, scene = update.shot, _by_uid(bpy.data.scenes, self._scene_uid)
        clip = _by_uid(bpy.data.movieclips, self._clip_uid)
        self._update, self._shown = None, self._update_state
        if scene is not None and self._update_frame is not None:
            # Blender evaluates the frame once, when it draws: `frame_set` would do so here too.
            scene.frame_current = self._update_frame + self.offset
        if self.phase == "done":
            self.summary = _summary(shot)
            if is_shown_rotated(clip, shot.image_size):
                self.warning = (
                    "This Blender ignores the clip's rotation, so the background lies on its side. "
                    "Use Blender 4.5 or newer, or convert the clip."
                )


def _by_uid(blocks: Any, uid: int | None) -> Any:
    return next((block for block in blocks if block.session_uid == uid), None)


def _summary(shot: Shot) -> str:
    """Say how well it went."""
    found = shot.motion.found
    lost = int((~found).sum())
    text = f"Done: {len(found)} frames."
    if lost:
        text += f" No face was found in {lost}; the head is carried over there."
    return text


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


def start_run(context: bpy.types.Context, job_id: str = "") -> TrackRun:
    """Start tracking the scene's clip, or go on with an earlier job of the same settings.

    Raises ValueError or `BackendError`.
    """
    if runtime.run is not None and not runtime.run.is_finished:
        raise ValueError("Mien is tracking already.")
    scene = context.scene
    job = track_job(scene.mien)
    endpoint = ensure_backend(preferences(context))
    clip = scene.mien.clip
    receiver = ShotReceiver(clip_size(clip), clip_rate(clip))
    client = JobClient(endpoint, job, receiver, job_id=job_id or None)
    runtime.run = TrackRun(scene, client)
    return runtime.run


class MIEN_OT_track(bpy.types.Operator):
    """Track the face in the clip and build an animated head that sits on it"""

    bl_idname = "mien.track"
    bl_label = "Track"
    bl_options = {"UNDO"}

    job_id: StringProperty(
        name="Job",
        description="Identifier of an earlier job with the same settings, whose results come "
        "again; empty for a new one",
        options={"HIDDEN", "SKIP_SAVE"},
    )

    _timer: Any = None
    _drawn_at = 0.0

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with a clip, and one run at a time."""
        if context.scene.mien.clip is None:
            cls.poll_message_set("Choose a clip first")
            return False
        return runtime.run is None or runtime.run.is_finished

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Start, and look at what arrives while Blender goes on."""
        if not self._start(context):
            return {"CANCELLED"}
        manager = context.window_manager
        self._timer = manager.event_timer_add(POLL_S, window=context.window)
        manager.modal_handler_add(self)
        context.workspace.status_text_set("Mien is tracking    Esc: Stop")
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """One look, or a request to stop."""
        run = runtime.run
        if run is None:
            return self._end(context)
        if event.type == "ESC" and event.value == "PRESS" and not run.is_finished:
            run.cancel()
            redraw()
            return {"RUNNING_MODAL"}
        if event.type != "TIMER":
            return {"PASS_THROUGH"}
        is_finished = run.step()
        now = time.monotonic()
        if is_finished or now - self._drawn_at > REDRAW_S:
            self._drawn_at = now
            redraw()
        return self._end(context) if is_finished else {"PASS_THROUGH"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """For scripts and background mode: track to the end, then return."""
        if not self._start(context):
            return {"CANCELLED"}
        run = runtime.run
        assert run is not None
        while not run.step():
            time.sleep(POLL_S / 4 if run.phase == "done" else POLL_S)
        return self._end(context)

    def cancel(self, context: bpy.types.Context) -> None:
        """Blender closes the window, or loads another file."""
        self._remove_timer(context)
        if runtime.run is not None:
            runtime.run.close()

    def _start(self, context: bpy.types.Context) -> bool:
        try:
            start_run(context, self.job_id)
        except (ValueError, BackendError) as error:
            self.report({"ERROR"}, str(error))
            return False
        return True

    def _end(self, context: bpy.types.Context) -> set[str]:
        self._remove_timer(context)
        run = runtime.run
        if run is not None and run.problem is not None:
            self.report({"ERROR"}, f"{run.problem.message} {run.problem.advice}")
        elif run is not None and run.warning:
            self.report({"WARNING"}, run.warning)
        # Finished, however it ended: the scene may have changed, and undo must know.
        return {"FINISHED"}

    def _remove_timer(self, context: bpy.types.Context) -> None:
        if self._timer is not None:
            context.window_manager.event_timer_remove(self._timer)
            self._timer = None
            context.workspace.status_text_set(None)


class MIEN_OT_cancel(bpy.types.Operator):
    """Stop tracking; what has arrived stays in the scene"""

    bl_idname = "mien.cancel"
    bl_label = "Cancel"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Ask for the job to stop."""
        if runtime.run is not None:
            runtime.run.cancel()
        return {"FINISHED"}


CLASSES = (MIEN_OT_track, MIEN_OT_cancel)
_register, _unregister = bpy.utils.register_classes_factory(CLASSES)


def register() -> None:
    """Add the operators, and have images ready when the .blend is saved."""
    _register()
    images.register()


def unregister() -> None:
    """Take both away."""
    images.unregister()
    _unregister()
