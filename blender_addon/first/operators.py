# SPDX-License-Identifier: GPL-3.0-or-later
"""Try Mien on a sample, and copy a report."""

from __future__ import annotations

import bpy
from bpy.props import EnumProperty

from ..backend_process import BackendError
from ..runtime import preferences, runtime
from ..scene.datablocks import by_uid, find_object
from ..shared.connection import default_state_directory
from ..translations import rpt, tip
from .facts import backend_wheel, covering_objects, full_report, has_backend
from .report import is_loopback
from .sample import unpack_sample

ELSEWHERE = (
    "The sample clip lies on this computer, where a backend on another one cannot read it: choose "
    "a clip on a drive that both see."
)


SAMPLE_SCENE = "Mien Sample"
"""Name of the scene that the sample is tracked in, where the current one is in use."""
START_OBJECTS = {"Camera", "Cube", "Light"}
"""What a new file has."""
LOOK_S = 0.5


class MIEN_OT_try_it(bpy.types.Operator):
    """Load a short sample clip and track it; beside work of yours, in a scene of its own"""

    bl_idname = "mien.try_it"
    bl_label = "Try It"
    bl_options = {"UNDO"}

    quality: EnumProperty(
        name="Quality",
        description="How the sample is tracked",
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
        if properties.quality == "preview":
            return tip(
                "Track the sample, 60 frames of a rendered face, quickly, without a texture; not "
                "in a scene of yours"
            )
        return tip(
            "Track the sample, 60 frames of a rendered face, in full; not in a scene of yours"
        )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Not while something is tracked."""
        if runtime.run is not None and not runtime.run.is_finished:
            cls.poll_message_set(tip("Mien is tracking: wait for its end, or cancel it"))
            return False
        if not has_backend(context):
            cls.poll_message_set(tip("Install the backend first, with the button above"))
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
        self._choose_scene(context, clip)
        settings = context.scene.mien
        settings.clip, settings.quality = clip, self.quality
        try:
            return {"FINISHED"} if bpy.ops.mien.track(how) != {"CANCELLED"} else {"CANCELLED"}
        except RuntimeError as error:
            self.report({"ERROR"}, str(error).removeprefix("Error: ").strip())
            return {"CANCELLED"}

    def _choose_scene(self, context: bpy.types.Context, clip: bpy.types.MovieClip) -> None:
        """Make room for the sample: in a new file here, otherwise in a scene of its own."""
        scene = context.scene
        if scene.mien.clip == clip:
            pass  # It has been tried here before: its result is updated.
        elif is_new_file(scene):
            for item in scene.objects:
                # The camera of the result will stand where the cube is.
                if item.type == "MESH":
                    item.hide_set(True)
                    item.hide_render = True
        else:
            scene = bpy.data.scenes.get(SAMPLE_SCENE) or bpy.data.scenes.new(SAMPLE_SCENE)
            if context.window is not None:
                context.window.scene = scene
        look_through_camera(context)


def is_new_file(scene: bpy.types.Scene) -> bool:
    """Whether a scene has nothing but what Blender starts with, in a file never saved."""
    names = {item.name for item in scene.objects}
    return not bpy.data.filepath and scene.mien.clip is None and names <= START_OBJECTS


def look_through_camera(context: bpy.types.Context) -> None:
    """Let the editor look through the scene's camera, once it has one of Mien's."""
    area = context.area
    if bpy.app.background or area is None or area.type != "VIEW_3D":
        return
    pointer, scene_uid, before = area.as_pointer(), context.scene.session_uid, runtime.run

    def look() -> float | None:
        # Neither the editor nor the scene need be there any more.
        windows = bpy.context.window_manager.windows
        areas = (area for window in windows for area in window.screen.areas)
        found = next((area for area in areas if area.as_pointer() == pointer), None)
        scene = by_uid(bpy.data.scenes, scene_uid)
        if found is None or found.type != "VIEW_3D" or scene is None:
            return None
        collection = scene.mien.collection
        camera = None if collection is None else find_object(collection, "camera")
        if camera is not None and scene.camera == camera:
            found.spaces.active.region_3d.view_perspective = "CAMERA"
            return None
        run = runtime.run
        return None if run is not before and run is not None and run.is_finished else LOOK_S

    bpy.app.timers.register(look, first_interval=LOOK_S)


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
        self.report(
            {"INFO"}, rpt("Hidden: {names}", names=", ".join(item.name for item in objects))
        )
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
        self.report(
            {"INFO"},
            rpt("The report is on the clipboard: {count} lines", count=len(text.splitlines())),
        )
        return {"FINISHED"}


CLASSES = (MIEN_OT_try_it, MIEN_OT_hide_in_front, MIEN_OT_copy_report)
register, unregister = bpy.utils.register_classes_factory(CLASSES)
