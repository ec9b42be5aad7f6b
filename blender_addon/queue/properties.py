# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of jobs of a scene, saved with it."""

from __future__ import annotations

import bpy
from bpy.props import (
    BoolProperty,
    CollectionProperty,
    EnumProperty,
    IntProperty,
    PointerProperty,
    StringProperty,
)

STATES = (
    ("WAITING", "Waiting", "Runs when those before it have ended"),
    ("RUNNING", "Running", "Runs at the backend"),
    ("DONE", "Done", "Its result is in the scene"),
    ("FAILED", "Failed", "It ended with an error; Retry runs it again"),
    ("CANCELLED", "Cancelled", "It was stopped; Retry runs it again"),
)
ENDED = frozenset({"DONE", "FAILED", "CANCELLED"})


class MienQueueItem(bpy.types.PropertyGroup):
    """One job: a clip, and a person in it. All but the name is read-only in spirit."""

    # `name` is a property group's own.
    key: StringProperty(
        name="Key",
        description="Tells this entry from all others",
        options={"HIDDEN"},
    )
    clip: PointerProperty(
        name="Clip",
        type=bpy.types.MovieClip,
        description="The footage",
        options={"HIDDEN"},
    )
    job: StringProperty(
        name="Job",
        description="All settings as they were when it was added (JSON)",
        options={"HIDDEN"},
    )
    job_id: StringProperty(
        name="Job Identifier",
        description="By which the backend knows the job and keeps its results",
        options={"HIDDEN"},
    )
    person: StringProperty(
        name="Person",
        description="Who is tracked; empty for the largest face",
        options={"HIDDEN"},
    )
    person_key: StringProperty(
        name="Person's Key",
        description="Who that is in the list of people",
        options={"HIDDEN"},
    )
    details: StringProperty(
        name="Details",
        description="Frames and quality",
        options={"HIDDEN"},
    )
    collection: PointerProperty(
        name="Result",
        type=bpy.types.Collection,
        description="What the job has made, or updates",
        options={"HIDDEN"},
    )
    set_scene: BoolProperty(
        name="Set Up Scene",
        description="Give the scene the clip's resolution, frame rate, range and colours",
        options={"HIDDEN"},
    )
    state: EnumProperty(
        name="State",
        description="Where the job is",
        items=STATES,
        options={"HIDDEN"},
    )
    message: StringProperty(
        name="Message",
        description="How it ended, and what to do",
        options={"HIDDEN"},
    )


class MienQueue(bpy.types.PropertyGroup):
    """The jobs of a scene, in the order in which they run."""

    items: CollectionProperty(
        name="Jobs",
        type=MienQueueItem,
        description="In order",
        options={"HIDDEN"},
    )
    index: IntProperty(
        name="Active",
        description="The entry that is chosen in the list",
        options={"HIDDEN"},
    )

    def find(self, key: str) -> MienQueueItem | None:
        """Return the entry of a key, if it is still there."""
        return next((item for item in self.items if item.key == key), None)


CLASSES = (MienQueueItem, MienQueue)


def register() -> None:
    """Give every scene a queue."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    bpy.types.Scene.mien_queue = PointerProperty(type=MienQueue)


def unregister() -> None:
    """Take it away."""
    del bpy.types.Scene.mien_queue
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
