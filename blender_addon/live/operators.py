# SPDX-License-Identifier: GPL-3.0-or-later
"""Start and stop live tracking and its recording; a timer carries frames into the scene."""

from __future__ import annotations

import time
from pathlib import Path

import bpy
from bpy.app.handlers import persistent

from .. import backend_process
from ..backend_process import BackendError
from ..client import scene_problem
from ..runtime import preferences, redraw
from ..scene.datablocks import by_uid, check_editable
from ..shot import HeadModel
from ..translations import iface, rpt
from .drive import apply_pose, build_head, write_recording
from .stream import LiveStream

POLL_S = 0.015
"""Between two looks at what has come."""
HEAD_EVERY_S = 5.0
"""Least time between two shapes of the head: each costs about as much as some frames."""


class LiveRun:
    """One live run in one scene."""

    def __init__(self, scene: bpy.types.Scene, stream: LiveStream) -> None:
        # Its number: the artist may rename it meanwhile.
        self._scene_uid = scene.session_uid
        self.stream = stream
        self.model: HeadModel | None = None
        self.error = ""
        self.is_finished = False
        self._head_at = -HEAD_EVERY_S

    @property
    def is_recording(self) -> bool:
        """Whether frames are kept."""
        return self.stream.is_recording

    @property
    def status(self) -> str:
        """How it goes, for a person."""
        stream = self.stream
        if not stream.frames:
            return iface("Opening the camera…")
        count = iface("{count} frames", count=stream.frames)
        face = [] if stream.is_found else [iface("no face")]
        behind = iface("{time:.0f} ms behind", time=stream.latency_ms)
        dropped = iface("{count} dropped", count=stream.dropped)
        recorded = len(stream.recorded)
        kept = [iface("{count} recorded", count=recorded)] if self.is_recording else []
        return ", ".join((count, *face, behind, dropped, *kept))

    def step(self) -> bool:
        """Carry what has come into the scene; returns whether the run has ended."""
        if self.is_finished:
            return True
        stream, scene = self.stream, self._scene()
        has_frame = stream.poll()
        if scene is None:
            self.finish()
            return True
        self._update_head(scene)
        collection = scene.mien_live.collection
        if has_frame and stream.newest is not None and collection is not None:
            if not apply_pose(collection, stream.expression_names, stream.newest):
                scene.mien_live.collection = None
                self._head_at = -HEAD_EVERY_S
        if stream.is_finished:
            self.error = stream.problem
            self.finish()
        return self.is_finished

    def record(self) -> None:
        """Keep frames from now on."""
        self.stream.recorded = []
        self.stream.is_recording = True

    def end_recording(self) -> int:
        """Write what was kept as actions; returns the number of frames."""
        stream, scene = self.stream, self._scene()
        stream.is_recording = False
        poses, stream.recorded = stream.recorded, []
        if not poses or self.model is None or scene is None:
            return 0
        settings = scene.mien_live
        settings.collection = write_recording(
            scene, settings.collection, self.model, poses, stream.image_size, stream.frame_rate
        )
        return len(poses)

    def fail(self, error: str) -> None:
        """End the run for an error of the add-on; what was recorded is lost with it."""
        self.leave()
        self.error = error

    def leave(self) -> None:
        """End the run and leave the scene as it is."""
        self.is_finished = True
        self.stream.close()

    def finish(self) -> int:
        """End the run; returns the frames of a recording that was under way."""
        if self.is_finished:
            return 0
        self.is_finished = True
        self.stream.stop()
        recorded = self.end_recording() if self.is_recording else 0
        self.stream.close()
        return recorded

    def _scene(self) -> bpy.types.Scene | None:
        return by_uid(bpy.data.scenes, self._scene_uid)

    def _update_head(self, scene: bpy.types.Scene) -> None:
        stream, settings = self.stream, scene.mien_live
        now = time.monotonic()
        has_new = stream.head_file is not None or settings.collection is None
        # While it is recorded the head keeps its shape, but there must be one.
        may_change = self.model is None or not self.is_recording
        is_due = now - self._head_at >= HEAD_EVERY_S and may_change
        if stream.newest is None or not has_new or not is_due:
            return
        self.model = stream.take_head() or self.model
        if self.model is None:
            return
        self._head_at = now
        settings.collection = build_head(
            scene, settings.collection, self.model, stream.newest, stream.image_size
        )


_runs: list[LiveRun] = []


def live_run() -> LiveRun | None:
    """The run of this Blender, or the last one."""
    return _runs[-1] if _runs else None


def start_live(context: bpy.types.Context) -> LiveRun:
    """Start following. Raises `BackendError`; ValueError for a head that is not to be changed."""
    settings, scene = context.scene.mien_live, context.scene
    check_editable(settings.collection)
    command = backend_process.find_backend(bpy.path.abspath(preferences(context).backend_path))
    source = settings.source.strip()
    path = Path(bpy.path.abspath(source))
    arguments = ["--detector", settings.detector]
    if settings.use_focal:
        arguments += ["--field-of-view-deg", f"{settings.field_of_view * 57.29577951:.3f}"]
    try:
        stream = LiveStream(command, str(path) if path.is_file() else source, arguments)
    except OSError as error:
        raise BackendError(
            rpt("{program} cannot be started: {error}.", program=command[0], error=error)
        ) from error
    _runs[:] = [LiveRun(scene, stream)]
    return _runs[0]


def poll_live() -> float | None:
    """One look; returns when to look again, as Blender's timers want it."""
    run = live_run()
    try:
        is_finished = run is None or run.step()
    except Exception as error:
        # Whatever stands in the way in the scene: the camera is let go, and it is said.
        assert run is not None
        run.fail(scene_problem(error).message)
        is_finished = True
    redraw()
    return None if is_finished else POLL_S


@persistent
def _before_load(*_: object) -> None:
    """Let the camera go: the head that follows it is of the file that is closed."""
    run = live_run()
    if run is not None:
        run.leave()


class MIEN_OT_live(bpy.types.Operator):
    """Follow a face from a camera or a clip, and let the head in the scene follow it"""

    bl_idname = "mien.live"
    bl_label = "Start"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Start."""
        run = live_run()
        if run is not None and not run.is_finished:
            self.report({"ERROR"}, "A face is being followed already.")
            return {"CANCELLED"}
        try:
            start_live(context)
        except (BackendError, ValueError) as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        if not bpy.app.timers.is_registered(poll_live):
            bpy.app.timers.register(poll_live)
        return {"FINISHED"}


class MIEN_OT_live_stop(bpy.types.Operator):
    """Stop following; a recording that is under way is kept"""

    bl_idname = "mien.live_stop"
    bl_label = "Stop"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Stop."""
        run = live_run()
        if run is None or run.is_finished:
            return {"CANCELLED"}
        frames = run.finish()
        if frames:
            self.report({"INFO"}, rpt("{frames} frames recorded", frames=frames))
        return {"FINISHED"}


class MIEN_OT_live_record(bpy.types.Operator):
    """Begin to record, or write what was recorded as actions of head and rig"""

    bl_idname = "mien.live_record"
    bl_label = "Record"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Begin or end."""
        run = live_run()
        if run is None or run.is_finished:
            self.report({"ERROR"}, "Start following first.")
            return {"CANCELLED"}
        if not run.is_recording:
            run.record()
            return {"FINISHED"}
        frames = run.end_recording()
        self.report({"INFO"}, rpt("{frames} frames recorded", frames=frames))
        # Curves of the recording would hold what is set live.
        run.finish()
        return {"FINISHED"}


CLASSES = (MIEN_OT_live, MIEN_OT_live_stop, MIEN_OT_live_record)


def register() -> None:
    """Add the operators, and end what runs with its file."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    bpy.app.handlers.load_pre.append(_before_load)


def unregister() -> None:
    """End what runs and take the operators away."""
    if _before_load in bpy.app.handlers.load_pre:
        bpy.app.handlers.load_pre.remove(_before_load)
    run = live_run()
    if run is not None:
        run.finish()
    _runs.clear()
    if bpy.app.timers.is_registered(poll_live):
        bpy.app.timers.unregister(poll_live)
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
