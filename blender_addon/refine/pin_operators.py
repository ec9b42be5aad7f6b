# SPDX-License-Identifier: GPL-3.0-or-later
"""Pin a landmark, by dragging it or in a script, and delete pins."""

from __future__ import annotations

from typing import Any

import bpy
from bpy.props import BoolProperty, FloatProperty, IntProperty, StringProperty

from ..runtime import redraw, runs_modally
from ..translations import iface, rpt
from .layout import label
from .picture import from_shown, view_of
from .pins import can_edit, current_drag, drag_from, end_drag, pin_under, set_pin
from .solving import NeedsResult, Solving


class MIEN_OT_pin(Solving, bpy.types.Operator):
    """Pin a landmark of the face in the current frame: drag it to where it belongs. The frames \
about it are solved again when the mouse button is released"""

    bl_idname = "mien.pin"
    bl_label = "Pin Landmark"
    bl_options = {"UNDO"}

    landmark: StringProperty(
        name="Landmark",
        description='"ibug68/30" (the nose\'s tip), "dense320/101", or a vertex, "vertex/123"',
        options={"SKIP_SAVE"},
    )
    frame: IntProperty(
        name="Frame",
        description="Frame of the scene; the current one where it is not given",
        options={"SKIP_SAVE"},
        subtype="TIME",
    )
    x: FloatProperty(
        name="X",
        description="Pixels from the left of the clip's upright picture in full size; the centre "
        "of the first pixel is 0",
        options={"SKIP_SAVE"},
        subtype="PIXEL",
    )
    y: FloatProperty(
        name="Y",
        description="Pixels from the top of the picture; the centre of the first pixel is 0",
        options={"SKIP_SAVE"},
        subtype="PIXEL",
    )
    sigma: FloatProperty(
        name="Deviation",
        description="How exactly it is set, as a standard deviation in pixels; that of the panel "
        "where it is not given",
        min=0.05,
        default=0.5,
        options={"SKIP_SAVE"},
        subtype="PIXEL",
    )
    camera: IntProperty(
        name="Camera",
        description="Which camera's picture, where several recorded the face; 0 is the first clip",
        min=0,
        options={"SKIP_SAVE"},
    )
    solve_now: BoolProperty(
        name="Solve",
        description="Solve the frames about it at once",
        default=False,
        options={"SKIP_SAVE"},
    )

    _offset = (0.0, 0.0)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """For scripts: set the pin, and solve where that is asked for."""
        collection = context.scene.mien.collection
        given = self.properties.is_property_set
        frame = self.frame if given("frame") else context.scene.frame_current
        if not (given("x") and given("y")):
            self.report({"ERROR"}, "Give the pin's place: x and y in pixels of the clip")
            return {"CANCELLED"}
        try:
            sigma = self.sigma if given("sigma") else None
            set_pin(collection, self.landmark, frame, (self.x, self.y), sigma, self.camera)
        except ValueError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return self.solve_to_end(context, "near") if self.solve_now else {"FINISHED"}

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Take the landmark under the mouse; where there is none the click is for others."""
        found = pin_under(context, event, pins_only=False) if can_edit(context) else None
        if found is None:
            return {"PASS_THROUGH"}
        collection = context.scene.mien.collection
        name, pixel = found
        mouse = self._pixel(context, event)
        # What was taken beside its middle stays there under the mouse.
        self._offset = (pixel[0] - mouse[0], pixel[1] - mouse[1])
        drag_from(collection, name, pixel)
        context.window_manager.modal_handler_add(self)
        runs_modally(self)
        text = iface("{landmark}    Drag: Pin    Esc, Right Mouse: Cancel", landmark=label(name))
        context.workspace.status_text_set(text)
        redraw()
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Follow the mouse; then look at the solve that goes on."""
        drag = current_drag()
        if self._run is not None or drag is None:
            return self.look(context, event)
        if event.type in {"ESC", "RIGHTMOUSE"} and event.value == "PRESS":
            self._end_drag(context)
            return {"CANCELLED"}
        if event.type in {"MIDDLEMOUSE", "WHEELUPMOUSE", "WHEELDOWNMOUSE"}:
            return {"PASS_THROUGH"}
        if event.type in {"MOUSEMOVE", "INBETWEEN_MOUSEMOVE", "LEFTMOUSE"}:
            mouse = self._pixel(context, event)
            drag.pixel = (mouse[0] + self._offset[0], mouse[1] + self._offset[1])
            redraw()
        if event.type == "LEFTMOUSE" and event.value == "RELEASE":
            self._end_drag(context)
            return self._release(context, drag)
        return {"RUNNING_MODAL"}

    def cancel(self, context: bpy.types.Context) -> None:
        """Blender closes the window, or loads another file."""
        self._end_drag(context)
        super().cancel(context)

    def _release(self, context: bpy.types.Context, drag: Any) -> set[str]:
        collection = context.scene.mien.collection
        if collection is None or collection.session_uid != drag.collection_uid:
            return {"CANCELLED"}
        try:
            set_pin(collection, drag.landmark, context.scene.frame_current, drag.pixel)
        except ValueError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        # The modal handler of the drag goes on as that of the solve.
        return self.solve(context, "near", collection.mien_refine.auto, is_modal=True)

    def _pixel(self, context: bpy.types.Context, event: bpy.types.Event) -> tuple[float, float]:
        view = view_of(context)
        drag = current_drag()
        if view is None:
            return drag.pixel if drag is not None else (0.0, 0.0)
        shown = view.to_pixels((event.mouse_region_x, event.mouse_region_y))
        pixel = from_shown(context.scene.mien.collection, context, shown)
        return float(pixel[0]), float(pixel[1])

    def _end_drag(self, context: bpy.types.Context) -> None:
        end_drag()
        if context.workspace is not None:
            context.workspace.status_text_set(None)
        redraw()


class MIEN_OT_pin_delete(Solving, bpy.types.Operator):
    """Delete the pin under the mouse, or one of the list, and solve the frames about it again"""

    bl_idname = "mien.pin_delete"
    bl_label = "Delete Pin"
    bl_options = {"UNDO"}

    index: IntProperty(
        name="Pin",
        description="Number in the list of pins, from 0; -1 for the one under the mouse",
        default=-1,
        options={"SKIP_SAVE"},
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        """For scripts: delete it; nothing is solved."""
        refine = context.scene.mien.collection.mien_refine
        if not 0 <= self.index < len(refine.pins):
            self.report(
                {"ERROR"},
                rpt(
                    "There is no pin {index}: there are {count}",
                    index=self.index,
                    count=len(refine.pins),
                ),
            )
            return {"CANCELLED"}
        refine.pins.remove(self.index)
        refine.active_pin = max(0, min(refine.active_pin, len(refine.pins) - 1))
        redraw()
        return {"FINISHED"}

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Delete it and solve in the background."""
        refine = context.scene.mien.collection.mien_refine
        if self.index < 0:
            found = pin_under(context, event, pins_only=True) if can_edit(context) else None
            number = None if found is None else refine.pin_at(found[0], context.scene.frame_current)
            if number is None:
                return {"PASS_THROUGH"}
            self.index = number
        if self.execute(context) != {"FINISHED"}:
            return {"CANCELLED"}
        return self.solve(context, "near", refine.auto)


class MIEN_OT_pins_clear(Solving, bpy.types.Operator):
    """Delete all pins, or those of the current frame"""

    bl_idname = "mien.pins_clear"
    bl_label = "Delete Pins"
    bl_options = {"UNDO"}

    this_frame: BoolProperty(
        name="Current Frame Only", description="Only pins of the current frame", default=False
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        """For scripts: delete them; nothing is solved."""
        refine, frame = context.scene.mien.collection.mien_refine, context.scene.frame_current
        for number in reversed(range(len(refine.pins))):
            if not self.this_frame or refine.pins[number].frame == frame:
                refine.pins.remove(number)
        refine.active_pin = 0
        redraw()
        return {"FINISHED"}

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Delete them and solve in the background."""
        self.execute(context)
        return self.solve(context, "near", context.scene.mien.collection.mien_refine.auto)


class MIEN_OT_pin_jump(NeedsResult, bpy.types.Operator):
    """Go to the frame of a pin"""

    bl_idname = "mien.pin_jump"
    bl_label = "Jump to Pin"
    bl_options = {"REGISTER", "UNDO"}
    only_looks = True

    index: IntProperty(name="Pin", description="Number in the list of pins, from 0", default=-1)
    backwards: BoolProperty(
        name="Backwards",
        description="Without a number: to the frame with pins before this one, not the next",
        default=False,
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Go there."""
        scene: Any = context.scene
        refine, now = scene.mien.collection.mien_refine, scene.frame_current
        if 0 <= self.index < len(refine.pins):
            refine.active_pin = self.index
            scene.frame_set(refine.pins[self.index].frame)
            return {"FINISHED"}
        frames = sorted({pin.frame for pin in refine.pins})
        if not frames:
            self.report({"INFO"}, "There are no pins yet")
            return {"CANCELLED"}
        if self.backwards:
            there = [f for f in frames if f < now][-1:] or frames[-1:]
        else:
            there = [f for f in frames if f > now][:1] or frames[:1]
        scene.frame_set(there[0])
        return {"FINISHED"}


CLASSES = (MIEN_OT_pin, MIEN_OT_pin_delete, MIEN_OT_pins_clear, MIEN_OT_pin_jump)
register, unregister = bpy.utils.register_classes_factory(CLASSES)
