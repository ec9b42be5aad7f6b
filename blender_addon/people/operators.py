# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the people of a clip, track some of them, and look after the list."""

from __future__ import annotations

import time
from typing import Any

import bpy
from bpy.props import BoolProperty, EnumProperty, IntProperty

from ..backend_process import BackendError
from ..client import JobClient
from ..runtime import redraw, runs_modally
from ..scene.footage import index_to_frame
from ..translations import iface, rpt, tip
from .finding import add_person, ask

POLL_S = 0.05
"""Time between two looks at what has arrived."""


class MIEN_OT_find_people(bpy.types.Operator):
    """List the people of the clip: some frames of it are looked at, spread over the range"""

    bl_idname = "mien.find_people"
    bl_label = "Find People"
    bl_options = {"UNDO"}

    whole_clip: BoolProperty(
        name="Whole Clip",
        description="Look at frames of the whole range; otherwise at the current frame alone",
        default=True,
    )

    _timer: Any = None
    _client: JobClient | None = None

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with a clip."""
        if context.scene.mien.clip is None:
            cls.poll_message_set(tip("Choose a clip first"))
            return False
        return True

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask, and look at what arrives while Blender goes on."""
        if not self._start(context):
            return {"CANCELLED"}
        manager = context.window_manager
        self._timer = manager.event_timer_add(POLL_S, window=context.window)
        manager.modal_handler_add(self)
        runs_modally(self)
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """One look, or a request to stop."""
        assert self._client is not None
        if event.type == "ESC" and event.value == "PRESS":
            self._client.cancel()
        if event.type != "TIMER":
            return {"PASS_THROUGH"}
        self._client.poll()
        progress = self._client.receiver.progress
        share = 0 if progress is None else round(100 * progress.fraction)
        context.workspace.status_text_set(
            iface("Looking for people, {share} %    Esc: Stop", share=share)
        )
        return self._end(context) if self._client.is_finished else {"PASS_THROUGH"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """For scripts and background mode: return when the list is there."""
        if not self._start(context):
            return {"CANCELLED"}
        assert self._client is not None
        while not self._client.is_finished:
            self._client.poll()
            time.sleep(POLL_S / 5)
        return self._end(context)

    def cancel(self, context: bpy.types.Context) -> None:
        """Blender closes the window, or loads another file; or the add-on is switched off."""
        self._remove_timer(context)
        if self._client is not None:
            self._client.cancel()
            self._client.close()

    def _start(self, context: bpy.types.Context) -> bool:
        settings, scene = context.scene.mien, context.scene
        offset = index_to_frame(settings.clip)
        start = end = None
        if not self.whole_clip:
            start = end = max(0, scene.frame_current - offset)
        elif settings.use_range:
            start, end = max(0, settings.frame_start - offset), settings.frame_end - offset
            if end < start:
                self.report({"ERROR"}, "The frame range holds no frame of the clip.")
                return False
        try:
            self._client = ask(settings.clip, start, end)
        except BackendError as error:
            self.report({"ERROR"}, str(error))
            return False
        return True

    def _remove_timer(self, context: bpy.types.Context) -> None:
        if self._timer is not None:
            context.window_manager.event_timer_remove(self._timer)
            self._timer = None
            if context.workspace is not None:
                context.workspace.status_text_set(None)

    def _end(self, context: bpy.types.Context) -> set[str]:
        self._remove_timer(context)
        client = self._client
        assert client is not None
        if client.problem is not None:
            self.report({"ERROR"}, client.problem.report)
            return {"CANCELLED"}
        if client.phase != "done":
            return {"CANCELLED"}
        found = client.receiver
        for person in found.people:
            seen = f"{len(person.boxes)} of {found.n_frames} frames"
            add_person(context.scene, context.scene.mien.clip, person, seen)
        context.scene.mien_people.index = 0
        redraw()
        self.report({"INFO"}, rpt("{count} found", count=len(found.people)))
        return {"FINISHED"}


class MIEN_OT_track_people(bpy.types.Operator):
    """Track people of the list, each into a collection of their own, one after another"""

    bl_idname = "mien.track_people"
    bl_label = "Track People"
    bl_options = {"UNDO"}

    who: EnumProperty(
        name="Who",
        description="Which people of the list",
        items=(
            ("PERSON", "Person", "The one who is chosen in the list"),
            ("ALL", "All People", "Everybody in the list"),
        ),
        default="PERSON",
    )
    wait: BoolProperty(
        name="Wait",
        description="Return when all is done, as scripts need it; always so in background mode",
        options={"SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only where somebody was picked."""
        if not context.scene.mien_people.items:
            cls.poll_message_set(tip("Find people, or pick one on the frame, first"))
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Add them to the queue and start it."""
        if bpy.ops.mien.queue_add(who=self.who) != {"FINISHED"}:
            return {"CANCELLED"}
        bpy.ops.mien.queue_start(wait=self.wait)
        return {"FINISHED"}


class MIEN_OT_person_remove(bpy.types.Operator):
    """Take this person out of the list; what was tracked of them stays"""

    bl_idname = "mien.person_remove"
    bl_label = "Remove Person"
    bl_options = {"UNDO"}

    index: IntProperty(
        name="Index",
        description="Who, counted from 0; -1 for the one who is chosen in the list",
        default=-1,
        min=-1,
        options={"SKIP_SAVE"},
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Remove the entry."""
        people = context.scene.mien_people
        index = people.index if self.index < 0 else self.index
        if not 0 <= index < len(people.items):
            return {"CANCELLED"}
        people.items.remove(index)
        people.index = max(0, min(index, len(people.items) - 1))
        return {"FINISHED"}


CLASSES = (MIEN_OT_find_people, MIEN_OT_track_people, MIEN_OT_person_remove)
register, unregister = bpy.utils.register_classes_factory(CLASSES)
