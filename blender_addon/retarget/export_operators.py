# SPDX-License-Identifier: GPL-3.0-or-later
"""Files for other programs: Live Link Face CSV, FBX, Alembic, USD, glTF."""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np
from bpy.props import EnumProperty, StringProperty
from bpy_extras.io_utils import ExportHelper

from ..scene.datablocks import find_object
from ..scene.footage import index_to_frame
from ..scene.rotations import quaternion_to_matrix
from ..shared.conventions import T_CAMERAOBJECT_CV, T_CV_BLENDER
from ..shared.live_link import table
from ..translations import rpt
from .exchange import FORMATS, export_objects, readable
from .performance import NoPerformance, read_performance, scene_rate


def live_link_text(scene: bpy.types.Scene) -> str:
    """Return the performance in Blender's curves as a Live Link Face table.

    Raises `NoPerformance`.
    """
    settings = scene.mien
    performance = read_performance(settings.collection)
    # To the axes of ARKit's face: y up, z out of the face.
    axes = (T_CAMERAOBJECT_CV @ T_CV_BLENDER)[:3, :3]
    head, eyes = (
        axes @ quaternion_to_matrix(turns) @ axes.T
        for turns in (performance.head, performance.eyes)
    )
    index = np.maximum(performance.frames - index_to_frame(settings.clip), 0).tolist()
    return table(index, scene_rate(scene, settings.clip), performance.weights, head, eyes)


class MIEN_OT_export_csv(bpy.types.Operator, ExportHelper):
    """Write the 52 expressions, head and eyes as Live Link Face records them, edits included"""

    bl_idname = "mien.export_csv"
    bl_label = "Live Link Face (.csv)"

    filename_ext = ".csv"
    filter_glob: StringProperty(default="*.csv", options={"HIDDEN"})

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with a result."""
        return context.scene.mien.collection is not None

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Write it, whole or not at all."""
        path = Path(bpy.path.abspath(self.filepath))
        partial = path.with_name(f"{path.name}.part")
        try:
            partial.write_text(live_link_text(context.scene), "utf-8", newline="")
            partial.replace(path)
        except (NoPerformance, OSError) as error:
            partial.unlink(missing_ok=True)
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        self.report({"INFO"}, rpt("Written: {path}", path=path))
        return {"FINISHED"}


class MIEN_OT_export_file(bpy.types.Operator, ExportHelper):
    """Write head, rig and camera to a file, by Blender's own exporter with settings that work"""

    bl_idname = "mien.export_file"
    bl_label = "Export Result"

    filename_ext = ""
    check_extension = None
    file_format: EnumProperty(
        name="Format",
        description="Kind of file",
        items=[(name, kind.label, kind.about) for name, kind in FORMATS.items()],
    )
    what: EnumProperty(
        name="Export",
        description="What is written",
        items=(
            ("RESULT", "Result", "Mien's head, rig and camera"),
            ("CHARACTER", "Character", "The character of the To Rigs panel, with its armature"),
        ),
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with a result."""
        return context.scene.mien.collection is not None

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Choose the objects and write them."""
        scene, kind = context.scene, FORMATS[self.file_format]
        path = Path(bpy.path.abspath(self.filepath))
        if path.suffix.lower() != kind.suffix:
            path = path.with_name(path.name + kind.suffix)
        try:
            # Blender's exporters differ in what they do about a folder that is not there.
            path.parent.mkdir(parents=True, exist_ok=True)
            export_objects(scene, self._objects(scene), self.file_format, str(path))
        except (ValueError, RuntimeError, OSError) as error:
            self.report({"ERROR"}, readable(error))
            return {"CANCELLED"}
        if not path.is_file():
            self.report({"ERROR"}, rpt("{path}: Blender's exporter has written nothing", path=path))
            return {"CANCELLED"}
        self.report({"INFO"}, rpt("Written: {path}", path=path))
        return {"FINISHED"}

    def _objects(self, scene: bpy.types.Scene) -> list[bpy.types.Object]:
        if self.what == "CHARACTER":
            target = scene.mien_retarget.target
            if target is None:
                raise ValueError("Choose a character in the To Rigs panel first")
            related = [target, *target.children_recursive]
            related += [target.parent] if target.parent is not None else []
            related += [m.object for m in target.modifiers if m.type == "ARMATURE" and m.object]
            return list(dict.fromkeys(related))
        collection = scene.mien.collection
        roles = ("head", "rig", "origin", "camera")
        found = [find_object(collection, role) for role in roles]
        if found[0] is None:
            raise NoPerformance("There is no tracked head: track a clip or import a track first.")
        return [o for o in found if o is not None]


def menu_export(self: bpy.types.Menu, context: bpy.types.Context) -> None:
    """Draw the entries in File > Export."""
    if context.scene.mien.collection is not None:
        self.layout.operator(MIEN_OT_export_csv.bl_idname, text="Mien: Live Link Face (.csv)")


CLASSES = (MIEN_OT_export_csv, MIEN_OT_export_file)


def register() -> None:
    """Add the operators and the menu entry."""
    for kind in CLASSES:
        bpy.utils.register_class(kind)
    bpy.types.TOPBAR_MT_file_export.append(menu_export)


def unregister() -> None:
    """Take them away."""
    bpy.types.TOPBAR_MT_file_export.remove(menu_export)
    for kind in reversed(CLASSES):
        bpy.utils.unregister_class(kind)
