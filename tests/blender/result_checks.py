"""Checks of what can be chosen after the track, run inside Blender: see conftest.py."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from scene_checks import _alignment, _find, _posed, _truth

MODULE = "bl_ext.user_default.mien"


def _mien(name: str) -> Any:
    return importlib.import_module(f"{MODULE}.{name}")


def _keys(owner: Any) -> dict[str, list[float]]:
    """Return the values of all keys of a data-block's curves."""
    curves = _mien("scene.animation").curves_of(owner)
    table = {}
    for curve in curves:
        points = np.empty((len(curve.keyframe_points), 2), np.float32)
        curve.keyframe_points.foreach_get("co", points.ravel())
        table[f"{curve.data_path}[{curve.array_index}]"] = points[:, 1].tolist()
    return table


def _all_keys() -> dict[str, list[float]]:
    keys = _find("head").data.shape_keys
    return _keys(_find("rig")) | _keys(keys) | _keys(_find("camera"))


def motions(track: str, offset: int) -> dict[str, Any]:
    """Switch what moves, and look at the picture and at what stands still."""
    bpy.ops.mien.import_track(filepath=track)
    first = _all_keys()
    scene, result = bpy.context.scene, {}
    skull = [g.group for g in ()]
    group = _find("head").vertex_groups["head"].index
    for vertex in _find("head").data.vertices:
        if any(g.group == group and g.weight > 0.999 for g in vertex.groups):
            skull.append(vertex.index)
    count = len(_truth(track)["vertices"])
    for motion in ("OBJECT", "CAMERA", "HEAD"):
        assert bpy.ops.mien.motion(to=motion) == {"FINISHED"}
        moved = {}
        for name, role in (("rig", "rig"), ("camera", "camera")):
            matrices = []
            for number in range(count):
                scene.frame_set(number + offset)
                matrices.append(np.array(_find(role).matrix_world))
            moved[name] = float(np.ptp(matrices, axis=0).max())
        for key in _find("head").data.shape_keys.key_blocks:
            key.mute = True
        heads = []
        for number in range(count):
            scene.frame_set(number + offset)
            heads.append(_posed()[skull])
        moved["skull"] = float(np.ptp(heads, axis=0).max())
        for key in _find("head").data.shape_keys.key_blocks:
            key.mute = False
        result[motion] = moved | {"landmarks_px": _alignment(track, offset)["landmarks_px"]}
    return result | {"as_before": _all_keys() == first}


def smoothing(track: str, offset: int, blend: str) -> dict[str, Any]:
    """Smooth, go back, edit, smooth, go back, in a file that was saved and loaded."""
    bpy.ops.mien.import_track(filepath=track)
    raw = _all_keys()
    bpy.ops.wm.save_as_mainfile(filepath=blend)
    bpy.ops.wm.open_mainfile(filepath=blend)
    widths = {"position": 2.0, "rotation": 2.0, "expression": 1.5, "focal": 1.0}
    assert bpy.ops.mien.smooth(**widths) == {"FINISHED"}
    smooth = _all_keys()
    bpy.ops.mien.smooth()
    back = _all_keys()

    path = 'key_blocks["jawOpen"].value'
    find = _mien("scene.animation").find_curve
    curve = find(_find("head").data.shape_keys, path)
    curve.keyframe_points[4].co[1] = 0.95
    curve.keyframe_points.remove(curve.keyframe_points[6])
    curve.update()
    settings = bpy.context.scene.mien.collection.mien_result
    settings.smooth_expression = 1.5
    edited = _all_keys()
    settings.smooth_expression = 0.0
    again = _all_keys()
    changed = [name for name in raw if smooth[name] != raw[name]]
    bend = lambda table: float(np.abs(np.diff(table[f"{path}[0]"], 2)).mean())  # noqa: E731
    return {
        "exact": back == raw,
        "changed": len(changed),
        "bend": [bend(raw), bend(smooth)],
        "jaw": [raw[f"{path}[0]"], smooth[f"{path}[0]"], edited[f"{path}[0]"], again[f"{path}[0]"]],
        "others": all(again[name] == raw[name] for name in raw if name != f"{path}[0]"),
    }


def undo(track: str) -> dict[str, Any]:
    """Take back each choice by one undo."""

    def state() -> Any:
        collection = bpy.context.scene.mien.collection
        chosen = collection.mien_result
        kind = chosen.motion, chosen.shape, round(chosen.smooth_expression, 3)
        count = sum(o.type == "EMPTY" for o in bpy.data.objects)
        keys = _keys(_find("rig")) | _keys(_find("camera"))
        return [*kind, count, len(keys), sum(map(sum, keys.values()))]

    bpy.ops.ed.undo_push(message="Start")
    bpy.ops.mien.import_track("EXEC_DEFAULT", True, filepath=track)
    steps = [
        lambda: bpy.ops.mien.smooth("EXEC_DEFAULT", True, expression=2.0, rotation=1.0),
        lambda: bpy.ops.mien.motion("EXEC_DEFAULT", True, to="CAMERA"),
        lambda: bpy.ops.mien.shape("EXEC_DEFAULT", True, to="ABSOLUTE"),
        lambda: bpy.ops.mien.landmarks("EXEC_DEFAULT", True, which={"chin"}),
    ]
    forward = [state()]
    for step in steps:
        step()
        forward.append(state())
    backward = [forward[-1]]
    for _ in steps:
        bpy.ops.ed.undo()
        backward.append(state())
    return {"forward": forward, "backward": backward[::-1]}


def lens(track: str, clip: str) -> dict[str, Any]:
    """Import a track of a lens that distorts."""
    bpy.ops.mien.import_track(filepath=track, clip_path=clip)
    camera = bpy.context.scene.mien.clip.tracking.camera
    background = _find("camera").data.background_images[0]
    return {
        "model": camera.distortion_model,
        "k": [camera.k1, camera.k2, camera.k3],
        "straight": background.clip_user.use_render_undistorted,
        "centre": list(camera.principal_point_pixels),
    }


def shapes(track: str, other: str, offset: int, folder: str) -> dict[str, Any]:
    """Bake the exact shape both ways, go back, and track again over it."""
    bpy.ops.mien.import_track(filepath=track)
    expected = _truth(track)["vertices"]
    expected = np.stack([expected[..., 0], expected[..., 2], -expected[..., 1]], -1)
    result: dict[str, Any] = {}
    for to in ("ABSOLUTE", "CACHE", "KEYS", "ABSOLUTE"):
        path = str(Path(folder) / "head.pc2") if to == "CACHE" else ""
        assert bpy.ops.mien.shape(to=to, filepath=path) == {"FINISHED"}
        worst = 0.0
        for number, vertices in enumerate(expected):
            bpy.context.scene.frame_set(number + offset)
            worst = max(worst, float(np.abs(_posed() - vertices).max()))
        result[to] = 1e3 * worst
        result[f"{to} is"] = bpy.context.scene.mien.collection.mien_result.shape
        result[f"{to} meshes"] = len(bpy.data.meshes)
    try:
        bpy.ops.mien.shape(to="CACHE")
    except RuntimeError as error:
        result["refused"] = str(error)
    bpy.ops.mien.import_track(filepath=other)
    return result | {"again": _alignment(other, offset), "meshes": len(bpy.data.meshes)}


def landmarks(track: str, offset: int) -> dict[str, Any]:
    """Put empties on landmarks, follow them, then choose fewer."""
    bpy.ops.mien.import_track(filepath=track)
    table = _mien("scene.landmarks").LANDMARKS
    bpy.ops.mien.landmarks(which=set(table))
    truth = _truth(track)["vertices"]
    worst = 0.0
    for number, vertices in enumerate(truth):
        bpy.context.scene.frame_set(number + offset)
        graph = bpy.context.evaluated_depsgraph_get()
        for name, landmark in table.items():
            x, y, z = np.array(landmark.weights) @ vertices[list(landmark.vertices)]
            place = bpy.data.objects[f"Mien {name}"].evaluated_get(graph).matrix_world.translation
            worst = max(worst, float(np.abs(np.array(place) - (x, z, -y)).max()))
    count = sum(o.type == "EMPTY" for o in bpy.data.objects)
    bpy.ops.mien.landmarks(which={"chin"})
    left = sorted(o.name for o in bpy.data.objects if o.type == "EMPTY")
    return {"worst_mm": 1e3 * worst, "count": count, "left": left}


def confidence(track: str) -> dict[str, Any]:
    """Return what the strip shows, and where the operator goes."""
    bpy.ops.mien.import_track(filepath=track)
    strip = _mien("result.strip")
    runs = strip.strip_of(bpy.context.scene.mien.collection)
    places, colours = strip.quads(runs, 10.0, 12.0, 0.0, 5.0)
    scene = bpy.context.scene
    scene.frame_set(1)
    bpy.ops.mien.next_unsure()
    return {
        "runs": runs,
        "places": places.tolist(),
        "colours": len(colours),
        "frame": scene.frame_current,
        "cached": strip.strip_of(scene.mien.collection) is runs,
    }


def pieces(track: str, offset: int) -> dict[str, Any]:
    """Build the scene a piece at a time; then have the head vanish in the middle of it."""
    build = _mien("scene.build")
    shot = _mien("shot").read_track(track)
    scene = bpy.context.scene
    update = build.SceneUpdate(scene, shot, None, None)
    scene.mien.collection = update.collection
    steps = 1
    while not update.step(0.0):
        steps += 1
        # Undo does this to data-blocks that Python still holds.
        bpy.context.view_layer.update()
    result: dict[str, Any] = {"steps": steps, "alignment": _alignment(track, offset)}
    again = build.SceneUpdate(scene, shot, None, scene.mien.collection)
    again.step(0.0)
    again.step(0.0)
    bpy.data.objects.remove(_find("head"))
    try:
        again.finish()
        result["gone"] = ""
    except build.Gone as error:
        result["gone"] = str(error)
    build.update_scene(scene, shot, None, scene.mien.collection)
    return result | {"mended": _alignment(track, offset)}
