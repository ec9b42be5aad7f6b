# SPDX-License-Identifier: GPL-3.0-or-later
"""Pick a person on the frame in the Movie Clip Editor: faces get frames, a click chooses one."""

from __future__ import annotations

from typing import Any

import bpy
import gpu
from bpy.props import FloatProperty, IntProperty
from gpu_extras.batch import batch_for_shader

from ..backend_process import BackendError
from ..client import JobClient
from ..runtime import redraw, runs_modally
from ..scene.footage import clip_size, index_to_frame
from ..translations import iface, rpt, tip
from .finding import add_person, ask
from .receiver import Box, FoundPerson, hit

POLL_S = 0.05
HALF_SIDE = 0.02
"""Half the box of a face that was picked before the backend has said where it is, in widths."""


def to_pixel(region: bpy.types.Region, x: float, y: float, size: tuple[int, int]) -> Any:
    """Return the pixel of a picture (W, H), from its left and top, under a place in the region."""
    u, v = region.view2d.region_to_view(x, y)
    return u * size[0] - 0.5, (1.0 - v) * size[1] - 0.5


def to_region(region: bpy.types.Region, x: float, y: float, size: tuple[int, int]) -> Any:
    """Inverse of `to_pixel`."""
    u, v = (x + 0.5) / size[0], 1.0 - (y + 0.5) / size[1]
    return region.view2d.view_to_region(u, v, clip=False)


class MIEN_OT_pick_person(bpy.types.Operator):
    """Click on a face in the frame that is shown: whoever it is can be tracked"""

    bl_idname = "mien.pick_person"
    bl_label = "Pick Person"
    bl_options = {"UNDO"}

    frame: IntProperty(
        name="Frame",
        description="Frame of the scene in which the face is at X, Y; for scripts",
        options={"SKIP_SAVE"},
        subtype="TIME",
    )
    x: FloatProperty(
        name="X",
        description="Pixels from the left of the clip's picture; for scripts",
        options={"SKIP_SAVE"},
        subtype="PIXEL",
    )
    y: FloatProperty(
        name="Y",
        description="Pixels from the top of the clip's picture; for scripts",
        options={"SKIP_SAVE"},
        subtype="PIXEL",
    )

    _timer: Any = None
    _handler: Any = None
    _client: JobClient | None = None
    _hovered: int | None = None

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with a clip: the editor's own, or the panel's."""
        if _clip(context) is None:
            cls.poll_message_set(tip("Choose a clip first"))
            return False
        return True

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask for the faces of this frame, and wait for a click."""
        if context.area is None or context.area.type != "CLIP_EDITOR":
            self.report({"ERROR"}, "Pick people in the Movie Clip Editor, on the frame")
            return {"CANCELLED"}
        clip = _clip(context)
        self._number = max(0, context.scene.frame_current - index_to_frame(clip))
        self._size, self._hovered = clip_size(clip), None
        try:
            self._client = ask(clip, self._number, self._number)
        except BackendError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        self._region = next(r for r in context.area.regions if r.type == "WINDOW")
        manager = context.window_manager
        self._timer = manager.event_timer_add(POLL_S, window=context.window)
        self._handler = bpy.types.SpaceClipEditor.draw_handler_add(
            self._draw, (), "WINDOW", "POST_PIXEL"
        )
        manager.modal_handler_add(self)
        runs_modally(self)
        context.window.cursor_modal_set("CROSSHAIR")
        self._tell(context)
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Look at what arrives, follow the mouse, take a click."""
        assert self._client is not None
        if event.type == "TIMER":
            if self._client.poll():
                self._region.tag_redraw()
                self._tell(context)
            return {"PASS_THROUGH"}
        x, y = event.mouse_x - self._region.x, event.mouse_y - self._region.y
        inside = 0 <= x < self._region.width and 0 <= y < self._region.height
        if event.type == "MOUSEMOVE":
            self._hover(x, y)
            return {"PASS_THROUGH"}
        if event.type in {"ESC", "RIGHTMOUSE"} and event.value == "PRESS":
            self._end(context)
            return {"CANCELLED"}
        if event.type == "LEFTMOUSE" and event.value == "PRESS" and inside:
            pixel = to_pixel(self._region, x, y, self._size)
            self._take(context, self._number, *pixel)
            self._end(context)
            return {"FINISHED"}
        return {"PASS_THROUGH"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """For scripts: whoever is at X, Y in a frame."""
        offset = index_to_frame(_clip(context))
        if self.frame < offset:
            self.report({"ERROR"}, rpt("The clip starts at frame {offset}", offset=offset))
            return {"CANCELLED"}
        self._take(context, self.frame - offset, self.x, self.y)
        return {"FINISHED"}

    def cancel(self, context: bpy.types.Context) -> None:
        """Blender closes the window, or loads another file."""
        self._end(context)

    def _boxes(self) -> list[Box]:
        return [] if self._client is None else [p.box for p in self._client.receiver.people]

    def _hover(self, x: float, y: float) -> None:
        hovered = hit(self._boxes(), *to_pixel(self._region, x, y, self._size))
        if hovered != self._hovered:
            self._hovered = hovered
            self._region.tag_redraw()

    def _take(self, context: bpy.types.Context, number: int, x: float, y: float) -> None:
        clip, chosen = _clip(context), hit(self._boxes(), x, y)
        if chosen is not None and self._client is not None:
            found = self._client.receiver.people[chosen]
        else:
            # The backend looks for the face there itself, and says so where there is none.
            half = HALF_SIDE * clip_size(clip)[0]
            box = (x - half, y - half, x + half, y + half)
            found = FoundPerson(number, (x, y), {number: box})
        if context.scene.mien.clip is None:
            context.scene.mien.clip = clip
        person = add_person(context.scene, clip, found)
        self.report(
            {"INFO"},
            rpt("{name}, frame {frame}", name=person.name, frame=number + index_to_frame(clip)),
        )
        redraw()

    def _tell(self, context: bpy.types.Context) -> None:
        client = self._client
        assert client is not None
        if client.problem is not None:
            text = iface("{message}    Click on a face", message=client.problem.message)
        elif client.is_finished:
            text = "Click on a face    Esc: Stop"
        else:
            text = "Looking for faces: click on one, or wait for their frames    Esc: Stop"
        context.workspace.status_text_set(text)

    def _draw(self) -> None:
        """Draw a frame around each face, brighter under the mouse."""
        if bpy.context.region != self._region:
            return
        shader = gpu.shader.from_builtin("UNIFORM_COLOR")
        gpu.state.blend_set("ALPHA")
        for number, (left, top, right, bottom) in enumerate(self._boxes()):
            is_hovered = number == self._hovered
            corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
            points = [to_region(self._region, *corner, self._size) for corner in corners]
            gpu.state.line_width_set(3.0 if is_hovered else 1.5)
            shader.bind()
            shader.uniform_float("color", (1.0, 0.65, 0.1, 1.0 if is_hovered else 0.7))
            batch_for_shader(shader, "LINE_STRIP", {"pos": points}).draw(shader)
        gpu.state.line_width_set(1.0)
        gpu.state.blend_set("NONE")

    def _end(self, context: bpy.types.Context) -> None:
        if self._timer is not None:
            context.window_manager.event_timer_remove(self._timer)
            self._timer = None
        if self._handler is not None:
            bpy.types.SpaceClipEditor.draw_handler_remove(self._handler, "WINDOW")
            self._handler = None
            self._region.tag_redraw()
            if context.window is not None:
                context.window.cursor_modal_restore()
            if context.workspace is not None:
                context.workspace.status_text_set(None)
        if self._client is not None:
            self._client.cancel()
            self._client.close()


def _clip(context: bpy.types.Context) -> bpy.types.MovieClip | None:
    return getattr(context.space_data, "clip", None) or context.scene.mien.clip


def _draw_menu(self: bpy.types.Menu, context: bpy.types.Context) -> None:
    layout = self.layout
    layout.separator()
    layout.operator("mien.track", text="Track Face", icon="TRACKER").shown = True
    layout.operator("mien.pick_person", icon="EYEDROPPER")


_MENUS = ("CLIP_MT_clip", "CLIP_MT_tracking_context_menu")


def register() -> None:
    """Add the operator, and its entries in the Clip menu and under the right mouse button."""
    bpy.utils.register_class(MIEN_OT_pick_person)
    for name in _MENUS:
        if hasattr(bpy.types, name):
            getattr(bpy.types, name).append(_draw_menu)


def unregister() -> None:
    """Take them away."""
    for name in _MENUS:
        if hasattr(bpy.types, name):
            getattr(bpy.types, name).remove(_draw_menu)
    bpy.utils.unregister_class(MIEN_OT_pick_person)
