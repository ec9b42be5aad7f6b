"""Checks of live tracking, run inside Blender against the real `mien live` on a clip."""

from __future__ import annotations

import time
from typing import Any

import bpy
import numpy as np
from tracking_checks import MODULE, _mien, _wait


def _posed(model: Any, pose: Any) -> np.ndarray:
    """Vertices (N,3) in the camera's frame by linear blend skinning, as the backend poses them."""
    conventions = _mien("shared.conventions")
    bind = model.neutral + np.tensordot(pose.expression, model.shape_keys, 1)
    local = conventions.rotvec_to_rotmat(pose.rotations.astype(np.float64))
    result = np.zeros_like(bind, dtype=np.float64)
    world: list[tuple[np.ndarray, np.ndarray]] = []
    for joint, parent in enumerate((None, 0, 1, 1)):
        own = model.joints[joint] - local[joint] @ model.joints[joint]
        if parent is None:
            world.append((local[joint], own + pose.translation))
        else:
            turn, place = world[parent]
            world.append((turn @ local[joint], turn @ own + place))
        turn, place = world[joint]
        result += model.skin_weights[:, joint, None] * (bind @ turn.T + place)
    return result


def _shown(collection: Any) -> np.ndarray:
    """Vertices (N,3) of the head as Blender shows it, in Mien's frame of the camera."""
    find = _mien("scene.datablocks").find_object
    head, origin = find(collection, "head"), find(collection, "origin")
    bpy.context.view_layer.update()
    shown = head.evaluated_get(bpy.context.evaluated_depsgraph_get())
    vertices = np.empty(3 * len(shown.data.vertices), np.float32)
    shown.data.vertices.foreach_get("co", vertices)
    matrix = np.array(origin.matrix_world.inverted() @ shown.matrix_world)
    return vertices.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3]


def _error_mm(collection: Any, model: Any, pose: Any) -> float:
    expected = _mien("shared.conventions").points_to_blender(_posed(model, pose))
    return 1000 * float(np.abs(_shown(collection) - expected).max())


def follow(clip: str, backend: str) -> dict[str, Any]:
    """Follow a clip, record it, and look at head and curves."""
    preferences = bpy.context.preferences.addons[MODULE].preferences
    preferences.mode, preferences.backend_path = "LOCAL", backend
    scene = bpy.context.scene
    scene.render.fps, scene.render.fps_base = 30, 1.0
    settings = scene.mien_live
    settings.source = clip
    operators = _mien("live.operators")
    run = operators.start_live(bpy.context)
    _wait(lambda: run.step() or settings.collection is not None)
    assert not run.is_finished, run.error
    run.record()
    _wait(lambda: run.step() or len(run.stream.recorded) >= 12)
    assert not run.is_finished, run.error
    pose, collection = run.stream.newest, settings.collection
    operators.apply_pose(collection, run.stream.expression_names, pose)
    live_mm = _error_mm(collection, run.model, pose)
    recorded = run.stream.recorded  # the list itself: more comes until it ends
    frames = run.finish()
    first, last = recorded[0], recorded[-1]
    end = 1 + round((last.time_s - first.time_s) * 30)
    errors = []
    for frame, kept in ((1, first), (end, last)):
        scene.frame_set(frame)
        errors.append(_error_mm(settings.collection, run.model, kept))
    rig = _mien("scene.datablocks").find_object(settings.collection, "rig")
    span = rig.animation_data.action.frame_range
    return {
        "live_mm": live_mm,
        "recorded_mm": max(errors),
        "frames": frames,
        "recorded": len(recorded),
        "span": [float(value) for value in span],
        "end": end,
        "status": run.status,
        "moved": float(np.abs(first.expression - last.expression).max()),
    }


def record_at_once(clip: str, backend: str) -> dict[str, Any]:
    """Record before the first frame, to the end of the clip."""
    preferences = bpy.context.preferences.addons[MODULE].preferences
    preferences.mode, preferences.backend_path = "LOCAL", backend
    settings = bpy.context.scene.mien_live
    settings.source, settings.detector = clip, "dense"
    assert bpy.ops.mien.live() == {"FINISHED"}
    assert bpy.ops.mien.live_record() == {"FINISHED"}
    run = _mien("live.operators").live_run()
    _wait(run.step)
    result: dict[str, Any] = {"error": run.error, "frames": run.stream.frames, "keyed": 0.0}
    if settings.collection is not None:
        rig = _mien("scene.datablocks").find_object(settings.collection, "rig")
        first, last = rig.animation_data.action.frame_range
        result["keyed"] = float(last - first)
    return result


def missing(backend: str) -> dict[str, Any]:
    """A source that is not there."""
    preferences = bpy.context.preferences.addons[MODULE].preferences
    preferences.mode, preferences.backend_path = "LOCAL", backend
    bpy.context.scene.mien_live.source = "/nowhere/clip.mp4"
    assert bpy.ops.mien.live() == {"FINISHED"}
    run = _mien("live.operators").live_run()
    began = time.monotonic()
    _wait(run.step)
    stopped = bpy.ops.mien.live_stop()
    return {
        "error": run.error,
        "seconds": time.monotonic() - began,
        "stopped": sorted(stopped),
        "collection": bpy.context.scene.mien_live.collection is not None,
    }
