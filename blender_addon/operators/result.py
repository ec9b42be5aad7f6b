# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be done with a result: another texture, a vertex group, the shot's light."""

from __future__ import annotations

import re
from pathlib import Path

import bpy
from bpy.props import FloatProperty, StringProperty
from bpy_extras.io_utils import ImportHelper

from ..scene.datablocks import LOCKED, find_object, is_locked
from ..scene.light import has_lighting, use_lighting
from ..scene.material import set_sequence
from ..scene.visibility import SEEN, update_seen_group
from ..translations import rpt


def _head(context: bpy.types.Context) -> bpy.types.Object | None:
    collection = context.scene.mien.collection
    return None if collection is None else find_object(collection, "head")


class MIEN_OT_load_sequence(bpy.types.Operator, ImportHelper):
    """Show the texture of every frame: choose the first file that "mien bake --sequence" wrote"""

    bl_idname = "mien.load_sequence"
    bl_label = "Load Texture Sequence"
    bl_options = {"REGISTER", "UNDO"}

    filter_glob: StringProperty(default="*.png;*.exr", options={"HIDDEN"})

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only where there is a head of this file."""
        if is_locked(context.scene.mien.collection):
            cls.poll_message_set(LOCKED)
            return False
        return _head(context) is not None

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Find the files and give them to the material."""
        path = Path(bpy.path.abspath(self.filepath))
        match = re.fullmatch(r"(.*?)(\d+)(\.\w+)", path.name)
        if match is None or not path.is_file():
            self.report(
                {"ERROR"},
                rpt("{path}: choose a file with a number, such as texture.0001.png", path=path),
            )
            return {"CANCELLED"}
        stem, digits, suffix = match.groups()
        first, count = int(digits), 1
        while path.with_name(f"{stem}{first + count:0{len(digits)}d}{suffix}").is_file():
            count += 1
        if not set_sequence(_head(context), str(path), first, count):
            self.report({"ERROR"}, "The head has a material of its own: load the images into it")
            return {"CANCELLED"}
        self.report(
            {"INFO"},
            rpt(
                "{count} textures, frames {first} to {last}",
                count=count,
                first=first,
                last=first + count - 1,
            ),
        )
        return {"FINISHED"}


class MIEN_OT_new_result(bpy.types.Operator):
    """Leave this result as it is: the next run makes a new head beside it"""

    bl_idname = "mien.new_result"
    bl_label = "New Result"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only where there is a result that the next run would update."""
        return context.scene.mien.collection is not None

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Empty the panel's Result."""
        context.scene.mien.collection = None
        return {"FINISHED"}


class MIEN_OT_seen_group(bpy.types.Operator):
    """Fill the vertex group "Mien Seen" with what was seen in enough of the frames"""

    bl_idname = "mien.seen_group"
    bl_label = "Update Seen Group"
    bl_options = {"REGISTER", "UNDO"}

    percent: FloatProperty(
        name="Seen In",
        description="Share of the frames in which a vertex must be seen",
        default=50.0,
        min=0.0,
        max=100.0,
        subtype="PERCENTAGE",
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only where the visibility is known, and the head is of this file."""
        if is_locked(context.scene.mien.collection):
            cls.poll_message_set(LOCKED)
            return False
        head = _head(context)
        return head is not None and SEEN in head.data.attributes

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Fill the group again."""
        count = update_seen_group(_head(context), self.percent)
        self.report({"INFO"}, rpt("{count} vertices", count=count))
        return {"FINISHED"}


class MIEN_OT_shot_light(bpy.types.Operator):
    """Light the scene as the shot was, by what the face shows of it"""

    bl_idname = "mien.shot_light"
    bl_label = "Use the Shot's Light"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only where the light is known."""
        head = _head(context)
        return head is not None and has_lighting(head)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Make the world and choose it."""
        use_lighting(context.scene, _head(context))
        return {"FINISHED"}


CLASSES = (MIEN_OT_new_result, MIEN_OT_load_sequence, MIEN_OT_seen_group, MIEN_OT_shot_light)
register, unregister = bpy.utils.register_classes_factory(CLASSES)
