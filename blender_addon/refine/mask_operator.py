# SPDX-License-Identifier: GPL-3.0-or-later
"""Take a mask of the Movie Clip Editor: draw its pictures, and solve where they have changed."""

from __future__ import annotations

import time
from typing import Any

import bpy
from bpy.props import BoolProperty, StringProperty

from ..runtime import runs_modally
from ..scene.solve import load_solve
from .masks import MaskPictures, mask_folder
from .picture import picture_size
from .run import POLL_S
from .solving import Solving

MASK_WORK_S = 0.012
"""Time that one look may draw pictures of a mask."""


class MIEN_OT_mask(Solving, bpy.types.Operator):
    """Draw the mask's pictures as it is now: landmarks where it is white do not count. \
Animated shapes are taken frame by frame; feathers are left out"""

    bl_idname = "mien.mask"
    bl_label = "Use Mask"
    bl_options = {"UNDO"}

    mask: StringProperty(
        name="Mask", description="Name of the mask; the chosen one where it is not given",
        options={"SKIP_SAVE"},
    )  # fmt: skip
    clear: BoolProperty(
        name="None", description="Use no mask", default=False, options={"SKIP_SAVE"}
    )

    _pictures: Any = None

    def execute(self, context: bpy.types.Context) -> set[str]:
        """For scripts: draw all pictures; nothing is solved."""
        refine = context.scene.mien.collection.mien_refine
        if self.clear:
            refine.mask_path = ""
            return {"FINISHED"}
        if not self._begin(context):
            return {"CANCELLED"}
        path = ""
        while not path:
            path = self._draw(context)
            if path is None:
                return {"CANCELLED"}
        refine.mask_path = path
        return {"FINISHED"}

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Draw the pictures and solve where they have changed, in the background."""
        if self.clear:
            self.execute(context)
            return self.solve(context, "near", context.scene.mien.collection.mien_refine.auto)
        if not self._begin(context):
            return {"CANCELLED"}
        manager = context.window_manager
        self._timer = manager.event_timer_add(POLL_S, window=context.window)
        manager.modal_handler_add(self)
        runs_modally(self)
        manager.progress_begin(0, 100)
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Draw some pictures; then look at the solve that goes on."""
        if self._pictures is None:
            return self.look(context, event)
        if event.type == "ESC" and event.value == "PRESS":
            self.cancel(context)
            return {"CANCELLED"}
        if event.type != "TIMER":
            return {"PASS_THROUGH"}
        began, path = time.perf_counter(), ""
        while path == "" and time.perf_counter() - began < MASK_WORK_S:
            path = self._draw(context)
        if path == "":
            context.window_manager.progress_update(100 * self._pictures.fraction)
            return {"PASS_THROUGH"}
        context.window_manager.progress_end()
        self._remove_timer(context)
        if path is None:
            return {"CANCELLED"}
        refine = context.scene.mien.collection.mien_refine
        refine.mask_path = path
        return self.solve(context, "near", refine.auto, is_modal=True)

    def cancel(self, context: bpy.types.Context) -> None:
        """Blender closes the window, or it was stopped."""
        if self._pictures is not None:
            self._pictures.close()
            self._pictures = None
            context.window_manager.progress_end()
        super().cancel(context)

    def _begin(self, context: bpy.types.Context) -> bool:
        settings = context.scene.mien
        collection, refine = settings.collection, settings.collection.mien_refine
        solve = load_solve(collection)
        if self.mask:
            refine.mask = bpy.data.masks.get(self.mask)
        try:
            if refine.mask is None or solve is None:
                raise ValueError(
                    "Choose a mask first: draw one in the Movie Clip Editor's Mask mode"
                )
            self._pictures = MaskPictures(
                refine.mask, settings.clip, picture_size(collection), refine.offset,
                int(solve.frames[-1]) - refine.offset, mask_folder(refine),
            )  # fmt: skip
        except (ValueError, OSError) as error:
            self.report({"ERROR"}, str(error))
            return False
        return True

    def _draw(self, context: bpy.types.Context) -> str | None:
        """Draw one picture; returns the path at the end, None where it went wrong."""
        path: str | None = None
        try:
            path = self._pictures.step()
        except (ValueError, OSError) as error:
            self.report({"ERROR"}, str(error))
        if path != "":
            self._pictures.close()
            self._pictures = None
        return path


register, unregister = bpy.utils.register_classes_factory((MIEN_OT_mask,))
