# SPDX-License-Identifier: GPL-3.0-or-later
"""Match, correct and bake a performance onto a character."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
from bpy.props import BoolProperty, EnumProperty, StringProperty
from bpy_extras.io_utils import ExportHelper, ImportHelper

from ..scene.datablocks import find_object
from ..scene.motion import keys_mesh
from ..shared.arkit import EXPRESSION_NAMES
from ..translations import rpt, tip
from .bake import bake_bones, bake_shape_keys
from .mapping import MappingError, load_mapping, mapping_text, parse_mapping, presets, save_mapping
from .names import match_names
from .performance import NoPerformance, read_performance


class _NeedsTarget:
    """Works on the character of the panel, or on the one that is named."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with a character."""
        if context.scene.mien_retarget.target is None:
            cls.poll_message_set(tip("Choose a character in the To Rigs panel first"))
            return False
        return True


class MIEN_OT_match_keys(_NeedsTarget, bpy.types.Operator):
    """Find the shape keys of the character that mean the same as the 52 ARKit expressions"""

    bl_idname = "mien.match_keys"
    bl_label = "Match Shape Keys"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Fill the list; gain and neutral of what was there stay."""
        settings = context.scene.mien_retarget
        target = settings.target
        kept = {d.name: (d.use, d.gain, d.neutral) for d in settings.drives}
        keys = getattr(target.data, "shape_keys", None)
        if target.type != "ARMATURE" and keys is None:
            self.report({"ERROR"}, rpt("{name} has no shape keys", name=target.name))
            return {"CANCELLED"}
        if target.type == "ARMATURE":
            pairs = [(name, "") for name in EXPRESSION_NAMES]
            settings.report = "Bones: the mapping says what each expression moves."
        else:
            report = match_names([block.name for block in keys.key_blocks[1:]])
            pairs = [(match.source, match.target) for match in report.matches]
            settings.report = report.text()
            if not pairs:
                self.report(
                    {"ERROR"},
                    rpt("{name} has no shape key with a name of ARKit's", name=target.name),
                )
                return {"CANCELLED"}
        settings.drives.clear()
        for source, key in pairs:
            drive = settings.drives.add()
            drive.name, drive.target = source, key
            drive.use, drive.gain, drive.neutral = kept.get(source, (True, 1.0, 0.0))
        # The last one is what the status bar shows; all are in the Info editor.
        for line in reversed(settings.report.splitlines()):
            self.report({"INFO"}, line)
        return {"FINISHED"}


class MIEN_OT_neutral(bpy.types.Operator):
    """Take the face of the current frame as the performer's resting face"""

    bl_idname = "mien.retarget_neutral"
    bl_label = "Neutral from Frame"
    bl_options = {"REGISTER", "UNDO"}

    clear: BoolProperty(name="Clear", description="Set all to 0 instead", default=False)

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with a list."""
        if not len(context.scene.mien_retarget.drives):
            cls.poll_message_set(tip("Match the shape keys first"))
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Fill the neutral of every channel."""
        drives = context.scene.mien_retarget.drives
        if self.clear:
            for drive in drives:
                drive.neutral = 0.0
            return {"FINISHED"}
        try:
            performance = read_performance(context.scene.mien.collection)
        except NoPerformance as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        nearest = abs(performance.frames - context.scene.frame_current).argmin()
        for drive in drives:
            if drive.name in EXPRESSION_NAMES:
                number = EXPRESSION_NAMES.index(drive.name)
                drive.neutral = float(performance.weights[nearest, number])
        return {"FINISHED"}


def check_character(target: bpy.types.Object) -> None:
    """Raise ValueError where what is baked would be lost when the file is closed."""
    keys = getattr(target.data, "shape_keys", None)
    owner = target if target.type == "ARMATURE" else keys
    if owner is not None and owner.library is not None:
        raise ValueError(
            "The character comes from another file, and keys would be lost: make a library "
            "override of it, of a mesh with its data (Selected & Content), or make it local"
        )


class MIEN_OT_bake_to_character(_NeedsTarget, bpy.types.Operator):
    """Key the character with the performance as it is in Blender's curves now, edits included"""

    bl_idname = "mien.bake_to_character"
    bl_label = "Bake to Character"
    bl_options = {"REGISTER", "UNDO"}

    action_name: StringProperty(
        name="Action", description="Name of the new action; empty for one made of the character's"
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Bake to shape keys or to bones."""
        settings = context.scene.mien_retarget
        target = settings.target
        name = self.action_name or f"{target.name} Mien"
        try:
            performance = read_performance(context.scene.mien.collection)
            check_character(target)
            if target.type == "ARMATURE":
                action, missing = self._bones(settings, performance, name)
                if missing:
                    self.report(
                        {"WARNING"}, rpt("Bones not found: {names}", names=", ".join(missing))
                    )
            else:
                self._check_keys(context, target)
                if not len(settings.drives):
                    bpy.ops.mien.match_keys()
                drives = settings.drive_list()
                action = bake_shape_keys(target, performance, drives, name, settings.as_strip)
        except (ValueError, RuntimeError) as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        self.report(
            {"INFO"},
            rpt(
                "{count} frames in the action {name}",
                count=len(performance.frames),
                name=action.name,
            ),
        )
        return {"FINISHED"}

    def _check_keys(self, context: bpy.types.Context, target: bpy.types.Object) -> None:
        if getattr(target.data, "shape_keys", None) is None:
            raise ValueError(rpt("{name} has no shape keys", name=target.name))
        collection = context.scene.mien.collection
        head = find_object(collection, "head")
        if head is not None and target.data in (head.data, keys_mesh(collection, head)):
            raise ValueError("This is the tracked head itself: choose another character")

    def _bones(self, settings: Any, performance: Any, name: str) -> Any:
        if settings.mapping is None:
            settings.mapping = _text_of_preset(next(iter(presets())))
        mapping = parse_mapping(settings.mapping.as_string(), settings.mapping.name)
        drives = settings.drive_list()
        return bake_bones(settings.target, performance, mapping, drives, name, settings.as_strip)


def _preset_items(self: Any, context: bpy.types.Context | None) -> list[tuple[str, str, str]]:
    if not _ITEMS:
        _ITEMS.extend((name, name, f"The mapping {path.name}") for name, path in presets().items())
    return _ITEMS


_ITEMS: list[tuple[str, str, str]] = []
"""Kept: Blender does not hold on to the strings of such a list."""


def _text_of_preset(name: str) -> bpy.types.Text:
    mapping = load_mapping(presets()[name])
    text = bpy.data.texts.new(f"{name}.json")
    text.from_string(mapping_text(mapping))
    return text


class MIEN_OT_preset_mapping(bpy.types.Operator):
    """Use a mapping that comes with Mien; it can be edited in the Text Editor"""

    bl_idname = "mien.preset_mapping"
    bl_label = "Mapping Preset"
    bl_options = {"REGISTER", "UNDO"}

    preset: EnumProperty(name="Preset", description="Kind of rig", items=_preset_items)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Load it."""
        context.scene.mien_retarget.mapping = _text_of_preset(self.preset)
        return {"FINISHED"}


class MIEN_OT_load_mapping(bpy.types.Operator, ImportHelper):
    """Load a mapping from expressions to bones from a JSON file"""

    bl_idname = "mien.load_mapping"
    bl_label = "Load Mapping"
    bl_options = {"REGISTER", "UNDO"}

    filename_ext = ".json"
    filter_glob: StringProperty(default="*.json", options={"HIDDEN"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Check it and keep it as a text."""
        path = Path(bpy.path.abspath(self.filepath))
        try:
            mapping = load_mapping(path)
        except MappingError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        text = bpy.data.texts.new(path.name)
        text.from_string(mapping_text(mapping))
        context.scene.mien_retarget.mapping = text
        return {"FINISHED"}


class MIEN_OT_save_mapping(bpy.types.Operator, ExportHelper):
    """Save the mapping from expressions to bones as a JSON file"""

    bl_idname = "mien.save_mapping"
    bl_label = "Save Mapping"

    filename_ext = ".json"
    filter_glob: StringProperty(default="*.json", options={"HIDDEN"})

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with a mapping."""
        return context.scene.mien_retarget.mapping is not None

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Check it and write it."""
        text = context.scene.mien_retarget.mapping
        path = bpy.path.abspath(self.filepath)
        try:
            save_mapping(parse_mapping(text.as_string(), text.name), path)
        except (MappingError, OSError) as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        self.report({"INFO"}, rpt("Written: {path}", path=path))
        return {"FINISHED"}


CLASSES = (
    MIEN_OT_match_keys,
    MIEN_OT_neutral,
    MIEN_OT_bake_to_character,
    MIEN_OT_preset_mapping,
    MIEN_OT_load_mapping,
    MIEN_OT_save_mapping,
)
register, unregister = bpy.utils.register_classes_factory(CLASSES)
