"""Checks of what artists do to results, run inside Blender: see conftest.py."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import bpy
from scene_checks import _find

MODULE = "bl_ext.user_default.mien"


def _mien(name: str) -> Any:
    return importlib.import_module(f"{MODULE}.{name}")


def told_by(operator: Any, *arguments: Any, **properties: Any) -> str:
    """Return what an operator says, an error or "" where it works; a traceback is no answer."""
    try:
        operator(*arguments, **properties)
    except RuntimeError as error:
        assert "Traceback" not in str(error), str(error)
        return str(error)
    return ""


def broken_update(clip: str, connection: str, job_id: str) -> dict[str, Any]:
    """An error of the add-on while the scene is updated: it is told, and Track works again."""
    preferences = bpy.context.preferences.addons[MODULE].preferences
    preferences.mode, preferences.address = "CONNECT", connection
    bpy.context.scene.mien.clip = bpy.data.movieclips.load(clip)
    build = _mien("scene.build")
    whole = build.SceneUpdate._motion

    def broken(self: Any) -> None:
        raise KeyError("jawOpen")

    build.SceneUpdate._motion = broken
    told = told_by(bpy.ops.mien.track, job_id=job_id)
    can_track = bpy.ops.mien.track.poll()
    build.SceneUpdate._motion = whole
    again = told_by(bpy.ops.mien.track, job_id=job_id)
    # The same of a solve that goes on from there.
    refined = _mien("scene.refined").RefinedUpdate
    write = refined._write
    refined._write = broken
    x, y = 100.0, 90.0
    frame = int(_mien("scene.solve").load_solve(bpy.context.scene.mien.collection).frames[0])
    pinned = told_by(bpy.ops.mien.pin, landmark="ibug68/30", frame=frame, x=x, y=y, solve_now=True)
    refined._write = write
    run = _mien("refine.run").current_run()
    return {
        "told": told, "can_track": can_track, "again": again,
        "pinned": pinned, "solve_has_ended": run is not None and run.is_finished,
    }  # fmt: skip


def linked(track: str, clip: str, folder: str, kind: str) -> dict[str, Any]:
    """A result that is linked from another file, or overrides it, is left as it is."""
    bpy.ops.mien.import_track(filepath=track, clip_path=clip)
    source = str(Path(folder) / f"{kind}.blend")
    bpy.ops.wm.save_as_mainfile(filepath=source)
    bpy.ops.wm.read_homefile(use_empty=True)
    with bpy.data.libraries.load(source, link=True) as (_, wanted):
        wanted.collections = ["Mien"]
    scene, collection = bpy.context.scene, wanted.collections[0]
    scene.collection.children.link(collection)
    if kind == "override":
        layer = bpy.context.view_layer
        collection = collection.override_hierarchy_create(scene, layer, do_fully_editable=True)
    scene.mien.collection = collection
    scene.mien.clip = bpy.data.movieclips.load(clip)
    curve = _mien("scene.animation").find_curve(
        _find("head").data.shape_keys, 'key_blocks["jawOpen"].value'
    )
    before = [point.co[1] for point in curve.keyframe_points]
    ops, told = bpy.ops.mien, {}
    for name, properties in (
        ("track", {}), ("import_track", {"filepath": track}), ("smooth", {"expression": 3.0}),
        ("motion", {"to": "CAMERA"}), ("shape", {"to": "ABSOLUTE"}), ("landmarks", {}),
        ("seen_group", {}), ("ignore_frames", {"start": 3}), ("neutral_frame", {"frame": 3}),
        ("pin", {"landmark": "ibug68/30", "frame": 3, "x": 5.0, "y": 5.0}), ("refine", {}),
    ):  # fmt: skip
        told[name] = told_by(getattr(ops, name), **properties)
    ops.queue_add()
    item = scene.mien_queue.items[0]
    item.collection = collection
    ops.queue_start(wait=True)
    told["queue"] = item.message
    after = [point.co[1] for point in curve.keyframe_points]
    return {
        "told": told, "same": before == after, "state": item.state,
        "csv": told_by(ops.export_csv, filepath=str(Path(folder) / f"{kind}.csv")),
    }  # fmt: skip
