# SPDX-License-Identifier: GPL-3.0-or-later
"""Try Mien on a sample, and copy a report."""

from __future__ import annotations

import bpy
from bpy.props import EnumProperty

from ..backend_process import BackendError
from ..runtime import preferences, runtime
from ..shared.connection import default_state_directory
from .facts import backend_wheel, covering_objects, full_report, has_backend
from .report import is_loopback
from .sample import unpack_sample

ELSEWHERE = (
    "The sample clip lies on this computer, where a backend on another one cannot read it: choose "
    "a clip on a drive that both see."
)


SAMPLE_SCENE = "Mien Sample"
"""Name of the scene that the sample is tracked in."""


class MIEN_OT_try_it(bpy.types.Operator):
    """Load a short sample clip into a scene of its own and track it"""

    bl_idname = "mien.try_it"
    bl_label = "Try It"
    bl_options = {"UNDO"}

    quality: EnumProperty(
        name="Quality",
        items=(
            ("preview", "Preview", "Frame by frame with an average face: quick, no texture"),
            ("final", "Final", "The person's face, the focal length, the motion and the texture"),
        ),
        default="final",
    )

    @classmethod
    def description(
        cls, context: bpy.types.Context, properties: bpy.types.OperatorProperties
    ) -> str:
        """Say what this button does."""
        how = "quickly, without a texture" if properties.quality == "preview" else "in full"
        return f"Track the sample, 60 frames of a rendered face, in a scene of its own, {how}"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Not while something is tracked."""
        if runtime.run is not None and not runtime.run.is_finished:
            cls.poll_message_set("Mien is tracking: wait for its end, or cancel it")
            return False
        if not has_backend(context):
            cls.poll_message_set("Install the backend first, with the button above")
            return False
        return True

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Load the clip and track while Blender goes on."""
        return self._try(context, "INVOKE_DEFAULT")

    def execute(self, context: bpy.types.Context) -> set[str]:
        """For scripts: track to the end, then return."""
        return self._try(context, "EXEC_DEFAULT")

    def _try(self, context: bpy.types.Context, how: str) -> set[str]:
        addon = preferences(context)
        if addon.mode == "CONNECT" and not is_loopback(addon.address):
            self.report({"ERROR"}, ELSEWHERE)
            return {"CANCELLED"}
        try:
            path = unpack_sample(backend_wheel(), default_state_directory() / "samples")
            clip = bpy.data.movieclips.load(str(path), check_existing=True)
        except (BackendError, RuntimeError) as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        self._choose_scene(context)
        settings = context.scene.mien
        settings.clip, settings.quality = clip, self.quality
        try:
            return {"FINISHED"} if bpy.ops.mien.track(how) != {"CANCELLED"} else {"CANCELLED"}
        except RuntimeError as error:
            self.report({"ERROR"}, str(error).removeprefix("Error: ").strip())
            return {"CANCELLED"}

    def _choose_scene(self, context: bpy.types.Context) -> None:
        """Show a scene for the sample: the artist's own keeps its rate, range and objects."""
        scene = bpy.data.scenes.get(SAMPLE_SCENE)
        if scene is None:
            scene = bpy.data.scenes.new(SAMPLE_SCENE)
        if context.window is not None:
            context.window.scene = scene
        if context.space_data is not None and context.space_data.type == "VIEW_3D":
            context.space_data.region_3d.view_perspective = "CAMERA"


class MIEN_OT_hide_in_front(bpy.types.Operator):
    """Hide the objects that the camera is inside of, such as the cube of a new file: nothing \
else can be seen from there"""

    bl_idname = "mien.hide_in_front"
    bl_label = "Hide What Covers the Clip"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Hide them, here and in renders."""
        objects = covering_objects(context)
        if not objects:
            self.report({"INFO"}, "The camera is inside of no object")
            return {"CANCELLED"}
        for item in objects:
            item.hide_set(True)
            item.hide_render = True
        self.report({"INFO"}, f"Hidden: {', '.join(item.name for item in objects)}")
        return {"FINISHED"}


class MIEN_OT_copy_report(bpy.types.Operator):
    """Put on the clipboard what somebody needs to help: versions, device, settings and the \
backend's last lines; no tokens, and no names of your files and folders"""

    bl_idname = "mien.copy_report"
    bl_label = "Copy Report"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Copy it."""
        text = full_report(context)
        context.window_manager.clipboard = text
        self.report({"INFO"}, f"The report is on the clipboard: {len(text.splitlines())} lines")
        return {"FINISHED"}


CLASSES = (MIEN_OT_try_it, MIEN_OT_hide_in_front, MIEN_OT_copy_report)
register, unregister = bpy.utils.register_classes_factory(CLASSES)
