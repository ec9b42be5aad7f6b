# SPDX-License-Identifier: GPL-3.0-or-later
"""Track: send the clip to the backend and build the scene while results arrive."""

from __future__ import annotations

import os
import time
from typing import Any

import bpy
from bpy.props import BoolProperty, StringProperty

from ..backend_process import BackendError
from ..client import JobClient
from ..rig_list import first_focal_px, rig_cameras
from ..runtime import ensure_backend, preferences, redraw, runs_modally, runtime
from ..scene import images
from ..scene.camera import clip_focal_px
from ..scene.datablocks import check_editable
from ..scene.footage import (
    clip_rate,
    clip_size,
    clip_source,
    index_to_frame,
    last_frame,
)
from ..shared.conventions import focal_mm_to_px
from ..shared.messages import Lens, TrackJob
from ..shot import ShotReceiver
from ..track_run import TrackRun
from ..translations import rpt, tip

POLL_S = 0.02
"""Time between two looks at what has arrived."""

REDRAW_S = 0.1
"""Time between two drawings of the progress."""


def track_job(settings: Any, person: Any = None) -> TrackJob:
    """Return the job that a scene's settings (scene.mien) describe. Raises ValueError.

    person: one of scene.mien_people, who is then tracked in the clip where they were picked.
    """
    clip = settings.clip if person is None else person.clip
    if clip is None:
        raise ValueError("Choose a clip first.")
    offset = index_to_frame(clip)
    start = end = None
    if settings.use_range:
        start, end = settings.frame_start - offset, settings.frame_end - offset
        if end < start:
            raise ValueError("The frame range ends before it starts.")
        if end < 0:
            raise ValueError(
                rpt(
                    "The frame range ends before the clip starts, at frame {offset}.", offset=offset
                )
            )
        last = last_frame(clip)
        if clip.frame_duration > 0 and settings.frame_start > last:
            raise ValueError(
                rpt("The frame range starts after the clip has ended, at frame {last}.", last=last)
            )
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
        subject=None if person is None else tuple(person.place),
        subject_frame=None if person is None else person.frame,
        texture_size=int(settings.texture_size),
        lens=_lens(settings, clip),
        cameras=cameras,
        person=os.path.abspath(bpy.path.abspath(settings.person)) if settings.person else "",
    )


_OTHER_LENSES = {
    "DIVISION": ("division_k1", "division_k2"),
    "NUKE": ("nuke_k1", "nuke_k2"),
    "BROWN": ("brown_k1", "brown_k2", "brown_k3", "brown_k4", "brown_p1", "brown_p2"),
}
"""Coefficients of the Movie Clip's lens models that the backend does not know."""


def _lens(settings: Any, clip: bpy.types.MovieClip) -> Lens:
    """What is known of the lens. Raises ValueError for a model that the backend does not know."""
    if settings.focal_mode != "CLIP":
        return Lens(zoom=settings.focal_mode == "ZOOM")
    camera = clip.tracking.camera
    model = camera.distortion_model
    others = _OTHER_LENSES.get(model, ())
    if any(getattr(camera, name, 0.0) for name in others):
        raise ValueError(
            rpt(
                "The clip's lens has the distortion model {model}: choose Polynomial in "
                "the Movie Clip Editor, and solve the lens again.",
                model=model.capitalize(),
            )
        )
    is_bent = model == "POLYNOMIAL"
    distortion = (camera.k1, camera.k2, camera.k3) if is_bent else (0.0, 0.0, 0.0)
    centre = None
    if any(camera.principal_point):
        (x, y), (width, height) = camera.principal_point, clip_size(clip)
        centre = ((x + 1.0) * 0.5 * width - 0.5, (1.0 - y) * 0.5 * height - 0.5)
    return Lens(principal_point=centre, distortion=distortion)


def start_run(context: bpy.types.Context, job_id: str = "") -> TrackRun:
    """Start tracking the scene's clip, or go on with an earlier job of the same settings.

    Raises ValueError or `BackendError`.
    """
    if runtime.run is not None and not runtime.run.is_finished:
        raise ValueError("Mien is tracking already.")
    scene = context.scene
    check_editable(scene.mien.collection)
    job = track_job(scene.mien)
    endpoint = ensure_backend(preferences(context))
    clip = scene.mien.clip
    receiver = ShotReceiver(clip_size(clip), clip_rate(clip))
    client = JobClient(endpoint, job, receiver, job_id=job_id or None)
    runtime.run = TrackRun(scene, client, clip)
    return runtime.run


def shown_clip(context: bpy.types.Context) -> bpy.types.MovieClip | None:
    """Return the clip of the Movie Clip Editor that the mouse is in, if it has one."""
    space = context.space_data
    return space.clip if space is not None and space.type == "CLIP_EDITOR" else None


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
    shown: BoolProperty(
        name="Clip of the Editor",
        description="Track the clip that the Movie Clip Editor shows, not that of the Mien panel",
        default=False,
        options={"SKIP_SAVE"},
    )

    _timer: Any = None
    _drawn_at = 0.0

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with a clip, and one run at a time."""
        if context.scene.mien.clip is None and shown_clip(context) is None:
            cls.poll_message_set(tip("Choose a clip first"))
            return False
        return runtime.run is None or runtime.run.is_finished

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Start, and look at what arrives while Blender goes on."""
        if not self._start(context):
            return {"CANCELLED"}
        manager = context.window_manager
        self._timer = manager.event_timer_add(POLL_S, window=context.window)
        manager.modal_handler_add(self)
        runs_modally(self)
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
        clip, settings = shown_clip(context), context.scene.mien
        if clip is not None and (self.shown or settings.clip is None):
            settings.clip = clip
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
            self.report({"ERROR"}, run.problem.report)
        elif run is not None and run.warning:
            self.report({"WARNING"}, run.warning)
        # Finished, however it ended: the scene may have changed, and undo must know.
        return {"FINISHED"}

    def _remove_timer(self, context: bpy.types.Context) -> None:
        if self._timer is not None:
            context.window_manager.event_timer_remove(self._timer)
            self._timer = None
            if context.workspace is not None:
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
