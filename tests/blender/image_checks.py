"""Checks of the textures of a live job, run inside Blender: shown at once, kept in the file."""

from __future__ import annotations

import importlib
from typing import Any

import bpy
import numpy as np
from scene_checks import _find
from tracking_checks import _set_up

MODULE = "bl_ext.user_default.mien"
PICTURES = ("Mien Texture", "Mien Visibility")


def _pixels(name: str) -> np.ndarray:
    image = bpy.data.images[name]
    pixels = np.empty(image.size[0] * image.size[1] * 4, np.float32)
    image.pixels.foreach_get(pixels)
    return np.rint(pixels.reshape(image.size[1], image.size[0], 4)[::-1] * 255)


def _state(track: str) -> dict[str, Any]:
    """How the images differ from the track's, and where Blender has them from."""
    file = np.load(track)
    seen = (file["visibility"][::-1, :, None] > 0) * 255.0
    return {
        "texture": float(np.abs(_pixels("Mien Texture") - file["texture"]).max()),
        "visibility": float(np.abs(_pixels("Mien Visibility")[..., :3] - seen).max()),
        "sources": [bpy.data.images[name].source for name in PICTURES],
        "packed": [bpy.data.images[name].packed_file is not None for name in PICTURES],
        "shown": _find("head").data.materials[0].node_tree.nodes["Mien Texture"].image.name,
    }


def live(track: str, clip: str, connection: str, job_id: str, blend: str) -> dict[str, Any]:
    """Track as the timer does, go back and forth, save, load."""
    _set_up(clip, connection)
    bpy.ops.ed.undo_push(message="Start")
    run = importlib.import_module(f"{MODULE}.operators.track").start_run(bpy.context, job_id)
    while not run.step():
        pass
    states = {"live": _state(track)}
    bpy.ops.ed.undo_push(message="Track")
    bpy.data.objects.new("Something", None)
    bpy.ops.ed.undo_push(message="Add")
    bpy.ops.ed.undo()
    states["undone what came after"] = _state(track)
    bpy.ops.ed.undo()
    gone = len(bpy.data.images)
    bpy.ops.ed.redo()
    states["redone"] = _state(track)
    bpy.ops.wm.save_as_mainfile(filepath=blend)
    states["saved"] = _state(track)
    bpy.ops.wm.open_mainfile(filepath=blend)
    states["loaded"] = _state(track)
    return {"states": states, "images after undo": gone}


def again(track: str, other: str, clip: str) -> dict[str, Any]:
    """A result in a file that was saved takes another size of pictures."""
    bpy.ops.mien.import_track(filepath=other, clip_path=clip)
    bpy.ops.mien.import_track(filepath=track, clip_path=clip)
    return _state(track)
