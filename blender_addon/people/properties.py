# SPDX-License-Identifier: GPL-3.0-or-later
"""The people of a scene's clips, saved with it."""

from __future__ import annotations

import bpy
from bpy.props import (
    CollectionProperty,
    FloatVectorProperty,
    IntProperty,
    PointerProperty,
    StringProperty,
)


class MienPerson(bpy.types.PropertyGroup):
    """Somebody in a clip, by a pixel on their face."""

    # `name` is a property group's own, and the artist's to change.
    key: StringProperty(
        name="Key",
        description="Tells this person from all others",
        options={"HIDDEN"},
    )
    clip: PointerProperty(
        name="Clip",
        type=bpy.types.MovieClip,
        description="Where they are seen",
        options={"HIDDEN"},
    )
    frame: IntProperty(
        name="Frame",
        description="The clip's frame in which they were picked, counted from 0",
        subtype="TIME",
        options={"HIDDEN"},
    )
    place: FloatVectorProperty(
        name="Place",
        description="Pixel on the face in that frame, from the left and the top of the picture",
        size=2,
        options={"HIDDEN"},
    )
    boxes: StringProperty(
        name="Boxes",
        description="Left, top, right and bottom of the face in pixels, by frame (JSON)",
        options={"HIDDEN"},
    )
    seen: StringProperty(
        name="Seen",
        description="In how many of the frames that were looked at",
        options={"HIDDEN"},
    )
    collection: PointerProperty(
        name="Result", type=bpy.types.Collection, description="What was tracked of this person"
    )


class MienPeople(bpy.types.PropertyGroup):
    """The people of a scene's clips."""

    items: CollectionProperty(
        name="People",
        type=MienPerson,
        description="In order",
        options={"HIDDEN"},
    )
    index: IntProperty(
        name="Active",
        description="Who is chosen in the list",
        options={"HIDDEN"},
    )

    def find(self, key: str) -> MienPerson | None:
        """Return the person of a key, if they are still in the list."""
        return next((person for person in self.items if person.key == key), None)


CLASSES = (MienPerson, MienPeople)


def register() -> None:
    """Give every scene a list."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    bpy.types.Scene.mien_people = PointerProperty(type=MienPeople)


def unregister() -> None:
    """Take it away."""
    del bpy.types.Scene.mien_people
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
