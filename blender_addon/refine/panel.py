# SPDX-License-Identifier: GPL-3.0-or-later
"""The "Refine" panel: pins, frames, mask, expressions, person and lens of the next solve."""

from __future__ import annotations

from typing import Any

import bpy

from ..scene.solve import SOLVE
from ..text import draw_text
from ..translations import iface
from .job import is_solved
from .run import current_run


class MIEN_UL_pins(bpy.types.UIList):
    """Pins: frame, landmark, deviation"""

    def draw_item(
        self, context: Any, layout: bpy.types.UILayout, data: Any, item: Any, icon: int,
        active_data: Any, active_property: str, index: int = 0, flag: int = 0,
    ) -> None:  # fmt: skip
        """Draw one row."""
        is_here = item.frame == context.scene.frame_current
        row = layout.row(align=True)
        jump = row.operator("mien.pin_jump", text=str(item.frame), depress=is_here, emboss=is_here)
        jump.index = index
        row.label(text=item.title)
        row.prop(item, "sigma", text="", emboss=False)
        row.operator("mien.pin_delete", text="", icon="X", emboss=False).index = index


class MIEN_UL_limits(bpy.types.UIList):
    """Expressions: range, or lock"""

    def draw_item(
        self, context: Any, layout: bpy.types.UILayout, data: Any, item: Any, icon: int,
        active_data: Any, active_property: str, index: int = 0, flag: int = 0,
    ) -> None:  # fmt: skip
        """Draw one row."""
        column = layout.column(align=True)
        row = column.row(align=True)
        check = row.row(align=True)
        check.enabled = not item.lock
        check.prop(item, "use", text="")
        row.label(text=item.name, translate=False)
        icon_name = "LOCKED" if item.lock else "UNLOCKED"
        row.prop(item, "lock", text="", icon=icon_name, emboss=False)
        # The numbers have a line of their own: beside them the names would be cut.
        if item.lock:
            column.prop(item, "value", text="")
        elif item.use:
            values = column.row(align=True)
            values.prop(item, "low", text="")
            values.prop(item, "high", text="")


class _Panel:
    """What the panels of both editors have in common."""

    bl_region_type = "UI"
    bl_category = "Mien"
    bl_options = {"DEFAULT_CLOSED"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with a result."""
        return context.scene is not None and context.scene.mien.collection is not None


def _prepared(panel: Any, context: bpy.types.Context) -> tuple[bpy.types.UILayout, Any]:
    """Return the panel's layout, and what is set by hand for the scene's result."""
    layout = panel.layout
    layout.use_property_split = True
    layout.use_property_decorate = False
    return layout, context.scene.mien.collection.mien_refine


class _Refine(_Panel):
    bl_label = "Refine"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw pins and how the solve goes."""
        layout, refine = _prepared(self, context)
        if SOLVE not in context.scene.mien.collection or not refine.has_source:
            text = "Track again, or import the track again: where this was solved is not known."
            draw_text(layout, text, context, icon="INFO")
            return
        row = layout.row(align=True)
        row.use_property_split = False
        row.prop(context.scene, "mien_show_pins", toggle=True, icon="PINNED")
        row.prop(context.scene, "mien_pin_layout", expand=True)
        if context.scene.mien_show_pins:
            draw_text(layout, "Drag a landmark to pin it. Ctrl Click or X: delete.", context)
        layout.template_list(
            "MIEN_UL_pins", "", refine, "pins", refine, "active_pin", rows=3, maxrows=8
        )
        row = layout.row(align=True)
        row.operator("mien.pin_jump", text="Previous", icon="TRIA_LEFT").backwards = True
        row.operator("mien.pin_jump", text="Next", icon="TRIA_RIGHT").backwards = False
        row.operator("mien.pins_clear", text="", icon="TRASH")
        layout.prop(refine, "pin_sigma")
        layout.prop(refine, "auto")
        run = current_run()
        if run is not None and not run.is_finished:
            layout.progress(factor=run.fraction, text=run.status)
            layout.operator("mien.refine_cancel", icon="CANCEL")
            return
        column = layout.column(align=True)
        column.operator("mien.refine", text="Solve Near Changes").scope = "NEAR"
        column.operator("mien.refine", text="Solve Between Keyframes").scope = "WHOLE"
        _draw_outcome(layout, context, run, refine)


def _draw_outcome(
    layout: bpy.types.UILayout, context: bpy.types.Context, run: Any, refine: Any
) -> None:
    if run is not None and run.problem is not None:
        box = layout.box()
        draw_text(box, run.problem.message, context, icon="ERROR")
        draw_text(box, run.problem.advice, context)
    elif run is not None and run.phase == "cancelled":
        draw_text(layout, "Stopped. The result is as it was.", context, icon="INFO")
    elif not is_solved(refine):
        draw_text(layout, "What is set here has not been solved with yet.", context, icon="INFO")
    elif run is not None and run.outcome:
        draw_text(layout, run.outcome, context, icon="CHECKMARK")


class _Frames(_Panel):
    bl_label = "Frames"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw ignored and neutral frames."""
        layout, refine = _prepared(self, context)
        layout.use_property_split = False
        column = layout.column(align=True)
        column.label(text="Ignored")
        for frames in refine.ignored:
            row = column.row(align=True)
            row.prop(frames, "start", text="")
            row.prop(frames, "end", text="")
            remove = row.operator("mien.ignore_frames", text="", icon="X")
            remove.start, remove.end, remove.remove = frames.start, frames.end, True
        column.operator("mien.ignore_frames", text="Ignore Current Frame", icon="ADD")
        column = layout.column(align=True)
        column.label(text="Face at Rest")
        for frames in refine.neutrals:
            row = column.row(align=True)
            row.label(text=iface("Frame {start}", start=frames.start))
            remove = row.operator("mien.neutral_frame", text="", icon="X")
            remove.frame, remove.remove = frames.start, True
        column.operator("mien.neutral_frame", text="At Rest in Current Frame", icon="ADD")


class _Mask(_Panel):
    bl_label = "Mask"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the mask."""
        layout, refine = _prepared(self, context)
        layout.prop(refine, "mask")
        layout.prop(refine, "mask_folder")
        row = layout.row(align=True)
        text = "Update Mask" if refine.mask_path else "Use Mask"
        row.operator("mien.mask", text=text, icon="MOD_MASK").clear = False
        if refine.mask_path:
            row.operator("mien.mask", text="", icon="X").clear = True


class _Limits(_Panel):
    bl_label = "Expressions"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the 52 expressions."""
        layout, refine = _prepared(self, context)
        layout.use_property_split = False
        if not len(refine.limits):
            layout.operator("mien.limits_show")
            return
        layout.template_list(
            "MIEN_UL_limits", "", refine, "limits", refine, "active_limit", rows=6, maxrows=14
        )


class _Hold(_Panel):
    bl_label = "Person and Lens"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw what the whole solve may change."""
        layout, refine = _prepared(self, context)
        layout.prop(refine, "hold_person")
        layout.prop(refine, "focal_mode")
        clip = context.scene.mien.clip
        if refine.focal_mode == "FIXED":
            layout.prop(refine, "focal_mm")
            layout.prop(refine, "sensor_mm")
        elif refine.focal_mode == "CLIP" and clip is not None:
            camera = clip.tracking.camera
            layout.label(text=f"{camera.focal_length:.4g} mm of {camera.sensor_width:.4g} mm")


def _panels() -> list[type]:
    """Return every panel for both editors; the first one holds the others."""
    made: list[type] = []
    for space, suffix in (("VIEW_3D", "view3d"), ("CLIP_EDITOR", "clip")):
        for name, kind in (
            ("pins", _Refine), ("frames", _Frames), ("mask", _Mask), ("limits", _Limits),
            ("hold", _Hold),
        ):  # fmt: skip
            fields = {"bl_space_type": space, "__doc__": kind.bl_label}
            if kind is not _Refine:
                fields["bl_parent_id"] = f"MIEN_PT_pins_{suffix}"
            made.append(type(f"MIEN_PT_{name}_{suffix}", (kind, bpy.types.Panel), fields))
    return made


CLASSES = (MIEN_UL_pins, MIEN_UL_limits, *_panels())
register, unregister = bpy.utils.register_classes_factory(CLASSES)
