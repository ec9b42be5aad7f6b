# SPDX-License-Identifier: GPL-3.0-or-later
"""Where people look: right-click menus, and the mouse over landmarks."""

from __future__ import annotations

from typing import Any

import bpy

MENUS = ("CLIP_MT_tracking_context_menu", "VIEW3D_MT_object_context_menu")

KEYMAPS = (("Clip Editor", "CLIP_EDITOR"), ("3D View", "VIEW_3D"))
"""Name and space of the key maps that the mouse is looked for in."""

MODES = (("Object Mode", "EMPTY"), ("Pose", "EMPTY"))
"""Those of the 3D view that have an X of their own, which comes first."""

_items: list[tuple[Any, Any]] = []


class MIEN_MT_refine(bpy.types.Menu):
    """What can be set by hand in the current frame"""

    bl_label = "Mien"
    bl_idname = "MIEN_MT_refine"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the entries."""
        layout, scene = self.layout, context.scene
        layout.prop(scene, "mien_show_pins", icon="PINNED")
        layout.operator("mien.pins_clear", text="Delete Pins of This Frame").this_frame = True
        layout.separator()
        frame = scene.frame_current
        ignored = scene.mien.collection.mien_refine.ignored
        is_ignored = any(f.start <= frame <= f.end for f in ignored)
        text = "Ignore Frame No Longer" if is_ignored else "Ignore Frame"
        layout.operator("mien.ignore_frames", text=text).remove = is_ignored
        layout.operator("mien.neutral_frame", text="Face at Rest in This Frame")
        layout.separator()
        layout.operator("mien.refine", text="Solve Between Keyframes").scope = "WHOLE"
        layout.separator()
        layout.operator("mien.next_unsure", text="Next Unsure Frame").backwards = False
        layout.operator("mien.next_unsure", text="Previous Unsure Frame").backwards = True


def draw_entry(self: bpy.types.Menu, context: bpy.types.Context) -> None:
    """Draw the submenu where there is a result."""
    if context.scene.mien.collection is not None:
        self.layout.separator()
        self.layout.menu(MIEN_MT_refine.bl_idname)


def register() -> None:
    """Add menu entries and keys; Blender in the background has no keys."""
    bpy.utils.register_class(MIEN_MT_refine)
    for name in MENUS:
        menu = getattr(bpy.types, name, None)
        if menu is not None:
            menu.append(draw_entry)
    configuration = bpy.context.window_manager.keyconfigs.addon
    if configuration is None:
        return
    for name, space in KEYMAPS:
        keys = configuration.keymaps.new(name=name, space_type=space)
        # The operators let the event go on where no landmark is under the mouse.
        _items.append((keys, keys.keymap_items.new("mien.pin", "LEFTMOUSE", "PRESS")))
        delete = keys.keymap_items.new("mien.pin_delete", "LEFTMOUSE", "PRESS", ctrl=True)
        _items.append((keys, delete))
    for name, space in (*KEYMAPS, *MODES):
        keys = configuration.keymaps.new(name=name, space_type=space)
        _items.append((keys, keys.keymap_items.new("mien.pin_delete", "X", "PRESS")))


def unregister() -> None:
    """Take them away."""
    while _items:
        keys, item = _items.pop()
        keys.keymap_items.remove(item)
    for name in MENUS:
        menu = getattr(bpy.types, name, None)
        if menu is not None:
            menu.remove(draw_entry)
    bpy.utils.unregister_class(MIEN_MT_refine)
