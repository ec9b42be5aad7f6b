# SPDX-License-Identifier: GPL-3.0-or-later
"""Add to the queue, start and pause it, and what can be done with an entry."""

from __future__ import annotations

import time
import uuid
from typing import Any

import bpy
from bpy.props import BoolProperty, EnumProperty, IntProperty

from ..operators.track import track_job
from ..runtime import redraw
from ..scene.footage import index_to_frame
from ..shared.messages import new_job_id
from ..translations import rpt, tip
from . import runner
from .properties import ENDED
from .snapshot import describe_job, job_to_text

INDEX = IntProperty(
    name="Index",
    description="Which entry, counted from 0; -1 for the one that is chosen in the list",
    default=-1,
    min=-1,
    options={"SKIP_SAVE"},
)


def add_to_queue(scene: bpy.types.Scene, person: Any = None) -> Any:
    """Add the scene's clip, or a person in theirs, with the panel's settings. Raises ValueError."""
    settings = scene.mien
    job = track_job(settings, person)
    clip = settings.clip if person is None else person.clip
    queue = scene.mien_queue
    item = queue.items.add()
    item.key, item.job_id = uuid.uuid4().hex, new_job_id()
    item.clip, item.job = clip, job_to_text(job)
    item.details = describe_job(job, index_to_frame(clip))
    # Two clips of different size must not take turns in setting up the scene.
    item.set_scene = settings.set_scene and clip == settings.clip
    if person is not None:
        item.person, item.person_key = person.name, person.key
        item.collection = person.collection
        item.name = f"{clip.name}: {person.name}"
    else:
        item.name = clip.name
    queue.index = len(queue.items) - 1
    return item


class _QueueOperator:
    index: INDEX

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only where there is something in the queue."""
        return bool(context.scene.mien_queue.items)

    def _item(self, context: bpy.types.Context) -> Any:
        queue = context.scene.mien_queue
        index = queue.index if self.index < 0 else self.index
        if not 0 <= index < len(queue.items):
            self.report({"ERROR"}, "There is no such entry in the queue")
            return None
        return queue.items[index]


class MIEN_OT_queue_add(bpy.types.Operator):
    """Add the clip, or the people who were picked in it, to the queue with the settings above"""

    bl_idname = "mien.queue_add"
    bl_label = "Add to Queue"
    bl_options = {"REGISTER", "UNDO"}

    who: EnumProperty(
        name="Who",
        description="Who is tracked in the clip",
        items=(
            ("CLIP", "Largest Face", "Whoever is largest in the clip of the Track panel"),
            ("PERSON", "Person", "The person who is chosen in the list of people"),
            ("ALL", "All People", "Everybody in the list of people, one entry each"),
        ),
        default="CLIP",
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Add one entry, or one for each person."""
        scene = context.scene
        people: list[Any] = [None]
        if self.who != "CLIP":
            people = list(scene.mien_people.items)
            active = scene.mien_people.index
            people = people if self.who == "ALL" else people[active : active + 1]
            if not people:
                self.report({"ERROR"}, "Pick a person first")
                return {"CANCELLED"}
        try:
            for person in people:
                add_to_queue(scene, person)
        except ValueError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"FINISHED"}


class MIEN_OT_queue_start(bpy.types.Operator):
    """Track what waits in the queue, one after another; Blender stays usable"""

    bl_idname = "mien.queue_start"
    bl_label = "Start"

    wait: BoolProperty(
        name="Wait",
        description="Return when all is done, as scripts need it; always so in background mode",
        options={"SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only where something waits."""
        items = context.scene.mien_queue.items
        if not any(item.state not in ENDED for item in items):
            cls.poll_message_set(tip("Nothing waits in the queue"))
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Start; the timer does the rest."""
        running = runner.start(context.scene)
        if self.wait or bpy.app.background:
            while not running.step():
                time.sleep(runner.TICK_S / 4)
        return {"FINISHED"}


class MIEN_OT_queue_pause(bpy.types.Operator):
    """Let the job that runs come to its end, and start no other"""

    bl_idname = "mien.queue_pause"
    bl_label = "Pause"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only while it runs."""
        running = runner.current()
        return running is not None and running.run is not None and not running.is_paused

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Note it."""
        running = runner.current()
        assert running is not None
        running.is_paused = True
        redraw()
        return {"FINISHED"}


class MIEN_OT_queue_cancel(_QueueOperator, bpy.types.Operator):
    """Stop this job; those after it go on"""

    bl_idname = "mien.queue_cancel"
    bl_label = "Cancel"
    bl_options = {"UNDO"}

    index: INDEX

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Ask the backend to stop it, or skip it where it waits."""
        item = self._item(context)
        if item is None or item.state in ENDED:
            return {"CANCELLED"}
        running = runner.current()
        if running is not None and running.key == item.key:
            running.cancel(item.key)
        else:
            item.state, item.message = "CANCELLED", rpt("Stopped.")
        return {"FINISHED"}


class MIEN_OT_queue_retry(_QueueOperator, bpy.types.Operator):
    """Have a job that ended run again, with the settings that it was added with"""

    bl_idname = "mien.queue_retry"
    bl_label = "Retry"
    bl_options = {"UNDO"}

    index: INDEX

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Let it wait again, as a new job."""
        item = self._item(context)
        if item is None or item.state not in ENDED:
            return {"CANCELLED"}
        item.state, item.message, item.job_id = "WAITING", "", new_job_id()
        running = runner.current()
        if running is not None:
            running.again(item.key)
        return {"FINISHED"}


class MIEN_OT_queue_move(_QueueOperator, bpy.types.Operator):
    """Let this job run earlier or later"""

    bl_idname = "mien.queue_move"
    bl_label = "Move"
    bl_options = {"UNDO"}

    index: INDEX
    step: IntProperty(name="Step", description="How many places down; negative for up", default=1)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Move the entry."""
        queue = context.scene.mien_queue
        index = queue.index if self.index < 0 else self.index
        target = index + self.step
        if not (0 <= index < len(queue.items) and 0 <= target < len(queue.items)):
            return {"CANCELLED"}
        queue.items.move(index, target)
        queue.index = target
        return {"FINISHED"}


class MIEN_OT_queue_remove(_QueueOperator, bpy.types.Operator):
    """Take this job out of the queue; a result that it has made stays"""

    bl_idname = "mien.queue_remove"
    bl_label = "Remove"
    bl_options = {"UNDO"}

    index: INDEX

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Remove the entry; a job that runs is stopped."""
        queue = context.scene.mien_queue
        item = self._item(context)
        if item is None:
            return {"CANCELLED"}
        index = next(n for n, one in enumerate(queue.items) if one.key == item.key)
        queue.items.remove(index)
        queue.index = min(index, len(queue.items) - 1)
        return {"FINISHED"}


class MIEN_OT_queue_clear(_QueueOperator, bpy.types.Operator):
    """Take all jobs that are done out of the queue; their results stay"""

    bl_idname = "mien.queue_clear"
    bl_label = "Clear Done"
    bl_options = {"UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Remove the entries."""
        queue = context.scene.mien_queue
        for index in reversed(range(len(queue.items))):
            if queue.items[index].state == "DONE":
                queue.items.remove(index)
        queue.index = max(0, min(queue.index, len(queue.items) - 1))
        return {"FINISHED"}


CLASSES = (
    MIEN_OT_queue_add,
    MIEN_OT_queue_start,
    MIEN_OT_queue_pause,
    MIEN_OT_queue_cancel,
    MIEN_OT_queue_retry,
    MIEN_OT_queue_move,
    MIEN_OT_queue_remove,
    MIEN_OT_queue_clear,
)
register, unregister = bpy.utils.register_classes_factory(CLASSES)
