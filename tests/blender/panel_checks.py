"""What the panels draw, run inside Blender with a layout of its own.

Without a window Blender draws no panel. A popup menu's draw function gets a real layout all the
same, which can say what is in it; only showing the menu is impossible, so the process ends in the
draw function.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bpy
from tracking_checks import MODULE, _mien, _wait

import __main__


def texts_of(entry: Any) -> list[str]:
    """Return all texts of an introspected layout."""
    if isinstance(entry, dict):
        own = [entry["draw_string"]] if entry.get("draw_string") else []
        return own + texts_of(entry.get("items", []))
    return [text for item in entry for text in texts_of(item)]


def in_layout(states: Callable[[Any], Any]) -> None:
    """Call a function with a real layout, answer what it returns, and end the process."""

    def in_menu(menu: Any, context: Any) -> None:
        # Whatever leaves this function ends in a crash.
        try:
            __main__.answer(states(menu.layout))
            bpy.ops.preferences.addon_disable(module=MODULE)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)

    bpy.context.window_manager.popup_menu(in_menu, title="Mien")


def draw(track: str, clip: str, folder: str) -> None:
    """Draw panels and preferences in the states that an artist meets; answers by itself."""
    preferences = bpy.context.preferences.addons[MODULE].preferences
    settings = bpy.context.scene.mien
    panels, runtime = _mien("panels"), _mien("runtime").runtime
    operators = _mien("operators.track")

    def drawn(layout: Any, panel: Any) -> str:
        box = layout.box()
        panel.draw(SimpleNamespace(layout=box), bpy.context)
        texts = texts_of(box.introspect())
        layout.label(text="-")
        return " ".join(texts)

    def states(layout: Any) -> dict[str, str]:
        panel = panels.MIEN_PT_track_view3d
        found: dict[str, str] = {}
        preferences.mode, preferences.backend_path = "LOCAL", str(Path(folder) / "missing")
        found["no backend"] = drawn(layout, panel)
        settings.clip = bpy.data.movieclips.load(clip)
        settings.focal_mode = "FIXED"
        found["fixed focal length"] = drawn(layout, panel)
        settings.focal_mode = "CLIP"
        found["focal length of the clip"] = drawn(layout, panel)
        preferences.mode, preferences.address = "CONNECT", str(Path(folder) / "connection.json")
        Path(preferences.address).write_text("{}", "utf-8")
        run = operators.start_run(bpy.context)
        found["running"] = drawn(layout, panel)
        run.client._patience_s = (0.0, 0.0)
        _wait(run.step)
        found["failed"] = drawn(layout, panel)
        run = operators.start_run(bpy.context)
        run.cancel()
        found["cancelled"] = drawn(layout, panel)
        found["nothing to show"] = drawn(layout, panels.MIEN_PT_result_view3d)
        runtime.run = None
        bpy.ops.mien.import_track(filepath=track)
        found["result"] = drawn(layout, panels.MIEN_PT_result_view3d)
        found["texture"] = drawn(layout, panels.MIEN_PT_texture_view3d)
        refine, rigs = _mien("result.panel"), _mien("retarget.panel")
        found["refine"] = drawn(layout, refine.MIEN_PT_refine_view3d)
        found["rigs"] = drawn(layout, rigs.MIEN_PT_retarget)
        retarget = bpy.context.scene.mien_retarget
        retarget.target = next(o for o in bpy.data.objects if o.type == "ARMATURE")
        found["rigs, bones"] = drawn(layout, rigs.MIEN_PT_retarget)
        found["connect"] = _preferences(layout)
        preferences.mode = "LOCAL"
        found["local"] = _preferences(layout)
        return found

    def _preferences(layout: Any) -> str:
        box = layout.box()
        preferences.draw_in(box, bpy.context)
        return " ".join(texts_of(box.introspect()))

    in_layout(states)
