# SPDX-License-Identifier: GPL-3.0-or-later
"""Smooth, switch what moves, switch the shape, put empties on landmarks, go where it is unsure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
import numpy as np
from bpy.props import EnumProperty, FloatProperty, StringProperty

from ..confidence import worst_frames
from ..refine.solving import NeedsResult
from ..scene.datablocks import ROLE, find_object
from ..scene.exact import show_absolute, show_cache, show_keys
from ..scene.landmarks import LANDMARKS, PREFIX, update_landmarks
from ..scene.motion import LostPart, update_curves
from ..scene.solve import Solve, load_solve
from ..translations import CONTEXT, rpt
from .properties import MOTION_ITEMS, SHAPE_ITEMS, held

NO_HEAD = "The result has no head any more: track again to get it back"
NO_RESULT = "This collection holds no result of Mien: choose another one as Result, or empty it"
OLD = "This result was made by an older Mien: import its track, or track again, to have this"


def _made_anew(operator: bpy.types.Operator, collection: bpy.types.Collection) -> set[str]:
    """Write the result's curves from its solve, and say where it has none."""
    try:
        if update_curves(collection):
            return {"FINISHED"}
        problem = no_solve(collection)
    except LostPart as error:
        problem = str(error)
    operator.report({"ERROR"}, problem)
    return {"CANCELLED"}


def no_solve(collection: bpy.types.Collection) -> str:
    """Say why a collection keeps no solve, and what to do."""
    return OLD if collection.get(ROLE) == "shot" else NO_RESULT


class MIEN_OT_smooth(NeedsResult, bpy.types.Operator):
    """Smooth the channels of the solve; 0 gives the solve back. Nothing is solved again"""

    bl_idname = "mien.smooth"
    bl_label = "Smooth"
    bl_translation_context = CONTEXT
    bl_options = {"REGISTER", "UNDO"}

    position: FloatProperty(
        name="Position", description="Frames to either side", min=0.0, soft_max=10.0, max=200.0
    )
    rotation: FloatProperty(
        name="Rotation", description="Frames to either side", min=0.0, soft_max=10.0, max=200.0
    )
    expression: FloatProperty(
        name="Expression",
        description="Frames to either side; shape keys and eyes",
        min=0.0,
        soft_max=10.0,
        max=200.0,
    )
    focal: FloatProperty(
        name="Focal Length", description="Frames to either side", min=0.0, soft_max=10.0, max=200.0
    )

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Start from what is set."""
        for name, value in vars(context.scene.mien.collection.mien_result.smoothing()).items():
            setattr(self, name, value)
        return context.window_manager.invoke_props_dialog(self)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Set the four and make the curves anew."""
        collection = context.scene.mien.collection
        with held():
            for name in ("position", "rotation", "expression", "focal"):
                setattr(collection.mien_result, f"smooth_{name}", getattr(self, name))
        return _made_anew(self, collection)


class MIEN_OT_motion(NeedsResult, bpy.types.Operator):
    """Choose what moves: the bones, the rig as an object, or the camera before a still head"""

    bl_idname = "mien.motion"
    bl_label = "Switch Motion"
    bl_options = {"REGISTER", "UNDO"}

    to: EnumProperty(name="Motion", description="What moves", items=MOTION_ITEMS)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Write the curves there."""
        collection = context.scene.mien.collection
        with held():
            collection.mien_result.motion = self.to
        return _made_anew(self, collection)


class MIEN_OT_shape(NeedsResult, bpy.types.Operator):
    """Choose what shapes the head: 52 keys, an exact key for every frame, or an exact cache"""

    bl_idname = "mien.shape"
    bl_label = "Switch Shape"
    bl_options = {"REGISTER", "UNDO"}

    to: EnumProperty(name="Shape", description="What shapes the head", items=SHAPE_ITEMS)
    filepath: StringProperty(
        name="Cache",
        description="PC2 file for the cache; empty for one beside the .blend file",
        subtype="FILE_PATH",
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Bake and switch."""
        collection = context.scene.mien.collection
        head, solve = find_object(collection, "head"), load_solve(collection)
        if head is None or solve is None:
            problem = no_solve(collection) if solve is None else NO_HEAD
            self.report({"ERROR"}, problem)
            return {"CANCELLED"}
        try:
            return self._switch(collection, head, solve)
        except LostPart as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}

    def _switch(
        self, collection: bpy.types.Collection, head: bpy.types.Object, solve: Solve
    ) -> set[str]:
        if self.to == "KEYS":
            show_keys(collection, head)
        elif self.to == "ABSOLUTE":
            show_absolute(collection, head, solve.frames)
        else:
            path = self._path(collection)
            if path is None:
                self.report({"ERROR"}, "Save the .blend file first, or name a file for the cache")
                return {"CANCELLED"}
            try:
                show_cache(collection, head, solve.frames, path)
            except OSError as error:
                self.report(
                    {"ERROR"},
                    rpt(
                        "{path}: cannot be written: {reason}",
                        path=path,
                        reason=error.strerror or error,
                    ),
                )
                return {"CANCELLED"}
        return {"FINISHED"}

    def _path(self, collection: bpy.types.Collection) -> Path | None:
        if self.filepath:
            return Path(bpy.path.abspath(self.filepath))
        if not bpy.data.filepath:
            return None
        blend = Path(bpy.data.filepath)
        return blend.with_name(f"{blend.stem}_{bpy.path.clean_name(collection.name)}.pc2")


class MIEN_OT_landmarks(NeedsResult, bpy.types.Operator):
    """Put empties on named points of the face; they follow the mesh without any keys"""

    bl_idname = "mien.landmarks"
    bl_label = "Landmark Empties"
    bl_options = {"REGISTER", "UNDO"}

    which: EnumProperty(
        name="Landmarks",
        description="Where to have an empty; those that are not chosen are removed",
        items=[
            (name, name.replace("_", " ").capitalize(), f"An empty at {name}") for name in LANDMARKS
        ],
        options={"ENUM_FLAG"},
        default={"nose_tip", "chin", "eye_outer.L", "eye_outer.R", "ear.L", "ear.R"},
    )

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Start from those that are there."""
        roles = [str(o.get("mien_role", "")) for o in context.scene.mien.collection.objects]
        there = {role.removeprefix(PREFIX) for role in roles if role.startswith(PREFIX)}
        if there:
            self.which = there & set(LANDMARKS)
        return context.window_manager.invoke_props_dialog(self)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Make and remove empties."""
        collection = context.scene.mien.collection
        head = find_object(collection, "head")
        try:
            if head is None:
                raise ValueError(NO_HEAD)
            update_landmarks(collection, head, [n for n in LANDMARKS if n in self.which])
        except ValueError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"FINISHED"}


class MIEN_OT_next_unsure(NeedsResult, bpy.types.Operator):
    """Go to the next run of frames that the solve is unsure of"""

    bl_idname = "mien.next_unsure"
    bl_label = "Next Unsure Frame"
    bl_options = {"REGISTER", "UNDO"}
    only_looks = True

    backwards: bpy.props.BoolProperty(
        name="Backwards", description="To the one before instead", default=False
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Find it and go there."""
        scene: Any = context.scene
        solve = load_solve(scene.mien.collection)
        if solve is None:
            self.report({"ERROR"}, no_solve(scene.mien.collection))
            return {"CANCELLED"}
        sure = np.where(solve.found, solve.confidence, 0.0)
        runs = worst_frames(solve.frames, sure)
        # The worst frame of each run is the one to look at.
        worst = [
            int(solve.frames[inside][sure[inside].argmin()])
            for first, last in runs
            if (inside := (solve.frames >= first) & (solve.frames <= last)).any()
        ]
        now = scene.frame_current
        if self.backwards:
            there = [frame for frame in worst if frame < now][-1:] or worst[-1:]
        else:
            there = [frame for frame in worst if frame > now][:1] or worst[:1]
        if not there:
            self.report({"INFO"}, "The solve is sure of all frames")
            return {"CANCELLED"}
        scene.frame_set(there[0])
        return {"FINISHED"}


CLASSES = (
    MIEN_OT_smooth,
    MIEN_OT_motion,
    MIEN_OT_shape,
    MIEN_OT_landmarks,
    MIEN_OT_next_unsure,
)
register, unregister = bpy.utils.register_classes_factory(CLASSES)
