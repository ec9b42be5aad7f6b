# SPDX-License-Identifier: GPL-3.0-or-later
"""Solve again, ignore frames, say where the face is at rest, limit expressions."""

from __future__ import annotations

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, IntProperty

from ..runtime import redraw
from ..scene.solve import load_solve
from ..shared.arkit import EXPRESSION_NAMES
from ..translations import rpt
from .run import current_run
from .solving import NeedsResult, Solving


class MIEN_OT_refine(Solving, bpy.types.Operator):
    """Solve the result again with its pins and the rest of what is set in Refine. Nothing is \
detected again. Goes on in the background; Esc stops it"""

    bl_idname = "mien.refine"
    bl_label = "Solve Again"
    bl_options = {"UNDO"}

    scope: EnumProperty(
        name="Scope",
        description="What to solve",
        items=(
            (
                "NEAR",
                "Near Changes",
                "The frames about pins that have changed, and about frames that are ignored now or "
                "no longer; person and camera stay",
            ),
            (
                "WHOLE",
                "Between Keyframes",
                "All frames, between pins too, with the person's face and the focal length",
            ),
        ),
        default="NEAR",
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        """For scripts and background mode: solve to the end, then return."""
        return self.solve_to_end(context, "whole" if self.scope == "WHOLE" else "near")

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Solve in the background."""
        return self.solve(context, "whole" if self.scope == "WHOLE" else "near")


class MIEN_OT_refine_cancel(bpy.types.Operator):
    """Stop solving; the result stays as it was"""

    bl_idname = "mien.refine_cancel"
    bl_label = "Cancel"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Ask for it to stop."""
        run = current_run()
        if run is not None:
            run.cancel()
        return {"FINISHED"}


class MIEN_OT_ignore_frames(Solving, bpy.types.Operator):
    """Ignore what the detector saw in some frames; the motion is carried over them"""

    bl_idname = "mien.ignore_frames"
    bl_label = "Ignore Frames"
    bl_options = {"UNDO"}

    start: IntProperty(
        name="Start",
        description="First frame of the scene; the current one where it is not given",
        options={"SKIP_SAVE"},
        subtype="TIME",
    )
    end: IntProperty(
        name="End",
        description="Last frame of the scene, included; the first one where it is not given",
        options={"SKIP_SAVE"},
        subtype="TIME",
    )
    remove: BoolProperty(
        name="No Longer",
        description="Take these frames out of the list again",
        default=False,
        options={"SKIP_SAVE"},
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Change the list; nothing is solved."""
        refine = context.scene.mien.collection.mien_refine
        given = self.properties.is_property_set
        start = self.start if given("start") else context.scene.frame_current
        end = self.end if given("end") else start
        if end < start:
            self.report(
                {"ERROR"},
                rpt("Frames {start} to {end} end before they start", start=start, end=end),
            )
            return {"CANCELLED"}
        ranges = [(f.start, f.end) for f in refine.ignored]
        ranges = without(ranges, start, end) if self.remove else merged([*ranges, (start, end)])
        refine.ignored.clear()
        for first, last in ranges:
            item = refine.ignored.add()
            item.start, item.end = first, last
        refine.active_ignored = max(0, min(refine.active_ignored, len(ranges) - 1))
        redraw()
        return {"FINISHED"}

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Change the list and solve the frames about it in the background."""
        if self.execute(context) != {"FINISHED"}:
            return {"CANCELLED"}
        return self.solve(context, "near", context.scene.mien.collection.mien_refine.auto)


def merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return ranges of frames, those that meet as one."""
    result: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if result and start <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((start, end))
    return result


def without(ranges: list[tuple[int, int]], start: int, end: int) -> list[tuple[int, int]]:
    """Return ranges of frames without those from start to end."""
    parts = [part for a, b in ranges for part in ((a, min(b, start - 1)), (max(a, end + 1), b))]
    return merged([(a, b) for a, b in parts if a <= b])


class MIEN_OT_neutral_frame(Solving, bpy.types.Operator):
    """Say that the face is at rest in a frame: whatever it looks like there is the person"""

    bl_idname = "mien.neutral_frame"
    bl_label = "Neutral Frame"
    bl_options = {"UNDO"}

    frame: IntProperty(
        name="Frame",
        description="Frame of the scene; the current one where it is not given",
        options={"SKIP_SAVE"},
        subtype="TIME",
    )
    remove: BoolProperty(
        name="No Longer",
        description="Take the frame out of the list again",
        default=False,
        options={"SKIP_SAVE"},
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Change the list; the whole solve takes the person along."""
        collection = context.scene.mien.collection
        given = self.properties.is_property_set("frame")
        frame = self.frame if given else context.scene.frame_current
        refine, solve = collection.mien_refine, load_solve(collection)
        if not self.remove and (solve is None or frame not in solve.frames):
            self.report(
                {"ERROR"},
                rpt("Frame {frame} is not among the frames that were tracked", frame=frame),
            )
            return {"CANCELLED"}
        frames = {item.start for item in refine.neutrals} - {frame}
        refine.neutrals.clear()
        for number in sorted(frames if self.remove else frames | {frame}):
            item = refine.neutrals.add()
            item.start = item.end = number
        redraw()
        return {"FINISHED"}


class MIEN_OT_limit_expression(NeedsResult, bpy.types.Operator):
    """Keep an expression in a range, or at one value, in all frames of the next solve"""

    bl_idname = "mien.limit_expression"
    bl_label = "Limit Expression"
    bl_options = {"REGISTER", "UNDO"}

    expression: EnumProperty(
        name="Expression",
        description="ARKit's name",
        items=[(name, name, f"The shape key {name}") for name in EXPRESSION_NAMES],
    )
    low: FloatProperty(name="Min", description="Least weight", default=0.0)
    high: FloatProperty(name="Max", description="Largest weight", default=1.0)
    lock: BoolProperty(
        name="Lock", description="Hold it at what it is in the current frame", default=False
    )
    clear: BoolProperty(
        name="Free", description="Limit and lock it no longer", default=False, options={"SKIP_SAVE"}
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Set it."""
        refine = context.scene.mien.collection.mien_refine
        refine.ensure_limits()
        limit = refine.limits[self.expression]
        if not self.clear and not self.lock and self.high < self.low:
            self.report(
                {"ERROR"},
                rpt(
                    "From {low:g} to {high:g}: there is nothing between",
                    low=self.low,
                    high=self.high,
                ),
            )
            return {"CANCELLED"}
        limit.lock = self.lock and not self.clear
        limit.use = not self.lock and not self.clear
        if limit.use:
            limit.low, limit.high = self.low, self.high
        redraw()
        return {"FINISHED"}


class MIEN_OT_limits_show(NeedsResult, bpy.types.Operator):
    """List the 52 expressions, to limit or lock them"""

    bl_idname = "mien.limits_show"
    bl_label = "Show Expressions"
    bl_options = {"UNDO", "INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Make the list."""
        context.scene.mien.collection.mien_refine.ensure_limits()
        return {"FINISHED"}


CLASSES = (
    MIEN_OT_refine,
    MIEN_OT_refine_cancel,
    MIEN_OT_ignore_frames,
    MIEN_OT_neutral_frame,
    MIEN_OT_limit_expression,
    MIEN_OT_limits_show,
)
register, unregister = bpy.utils.register_classes_factory(CLASSES)
