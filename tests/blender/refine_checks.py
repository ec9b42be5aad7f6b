"""Checks of the artist's hand over a result, run inside Blender against a real service."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bpy
import numpy as np
from scene_checks import _find, _in_pixels, _posed
from tracking_checks import MODULE, _mien, _set_up

TIP = "ibug68/30"


def _track(clip: str, connection: str, job_id: str) -> Any:
    settings = _set_up(clip, connection)
    assert bpy.ops.mien.track(job_id=job_id) == {"FINISHED"}
    return settings.collection.mien_refine


def _seen(frame: int, name: str = TIP) -> np.ndarray:
    """Where Blender's own projection puts a landmark in a frame of the scene."""
    bpy.context.scene.frame_set(frame)
    table = _mien("refine.layout").landmarks()
    number = table.names.index(name)
    return _in_pixels(table.weights[number] @ _posed()[table.vertices[number]])


def _weights(name: str) -> list[float]:
    """The keys of an expression."""
    curves = _mien("scene.animation").curves_of(_find("head").data.shape_keys)
    path = f'key_blocks["{name}"].value'
    curve = next(c for c in curves if c.data_path == path)
    return [float(point.co[1]) for point in curve.keyframe_points]


def _pin(frame: int, shift: tuple[float, float], **more: Any) -> np.ndarray:
    """Pin the nose's tip beside where it is; returns where."""
    x, y = _seen(frame) + shift
    assert bpy.ops.mien.pin(landmark=TIP, frame=frame, x=x, y=y, **more) == {"FINISHED"}
    return np.array([x, y])


def places(clip: str, connection: str, job_id: str, frames: int, offset: int) -> dict[str, Any]:
    """Where the add-on says that landmarks are, and where Blender's projection puts them."""
    refine = _track(clip, connection, job_id)
    picture = _mien("refine.picture")
    collection, gaps, tips = bpy.context.scene.mien.collection, [], []
    for motion in ("HEAD", "CAMERA"):
        bpy.ops.mien.motion(to=motion)
        bpy.data.objects["Mien"].location = (0.3, -0.2, 0.1)
        bpy.data.objects["Mien"].rotation_euler = (0.1, 0.2, -0.3)
        for frame in (offset, offset + frames - 1):
            bpy.context.scene.frame_set(frame)
            graph = bpy.context.evaluated_depsgraph_get()
            pixels, facing = picture.landmark_pixels(collection, graph)
            table = _mien("refine.layout").landmarks()
            points = table.points(_posed())
            gaps += [
                float(np.abs(_in_pixels(p) - q).max()) for p, q in zip(points, pixels, strict=True)
            ]
            tips.append(pixels[30].tolist())
    return {
        "gap": max(gaps),
        "tips": tips,
        "facing": float(facing.mean()),
        "job": refine.job,
        "offset": refine.offset,
        "n_limits": len(refine.limits),
    }


def pin(clip: str, connection: str, job_id: str, frame: int, reach: int) -> dict[str, Any]:
    """Pin, solve near it, undo; an edit by hand and what is far away stay."""
    refine = _track(clip, connection, job_id)
    keys = _find("head").data.shape_keys
    curve = next(
        c
        for c in _mien("scene.animation").curves_of(keys)
        if c.data_path == 'key_blocks["browInnerUp"].value'
    )
    # An edit by hand far from the pin, and one near it, and a key that was deleted.
    first = int(curve.keyframe_points[0].co[0])
    curve.keyframe_points[1].co[1] += 0.2
    curve.keyframe_points[frame - first].co[1] += 0.3
    curve.keyframe_points.remove(curve.keyframe_points[3])
    edited = _weights("browInnerUp")
    before = [_seen(f).tolist() for f in (frame, frame + reach + 2, frame - reach - 2)]
    solved_from = refine.job
    bpy.ops.ed.undo_push(message="Edited")
    target = _pin(frame, (8.0, -5.0))
    dirty = not _mien("refine.job").is_solved(refine)
    assert bpy.ops.mien.refine("EXEC_DEFAULT", True, scope="NEAR") == {"FINISHED"}
    after = [_seen(f).tolist() for f in (frame, frame + reach + 2, frame - reach - 2)]
    run = _mien("refine.run").current_run()
    result = {
        "gap_before": float(np.linalg.norm(before[0] - target)),
        "gap_after": float(np.linalg.norm(after[0] - target)),
        "far": float(np.abs(np.array(after[1:]) - before[1:]).max()),
        "edited": edited,
        "after": _weights("browInnerUp"),
        "dirty": dirty,
        "solved": _mien("refine.job").is_solved(refine),
        "new_job": refine.job != solved_from,
        "outcome": run.outcome,
        "pins": [[p.landmark, p.frame, p.title] for p in refine.pins],
        "objects": sorted(o.name for o in bpy.data.objects),
    }
    bpy.ops.ed.undo()
    refine = bpy.context.scene.mien.collection.mien_refine
    return result | {
        "undone_pins": len(refine.pins),
        "undone_job": refine.job == solved_from,
        "undone": float(np.abs(_seen(frame) - before[0]).max()),
    }


def again(clip: str, connection: str, job_id: str, frame: int, folder: str) -> dict[str, Any]:
    """Pins are saved with the .blend, and the next solve goes on from the last one."""
    _track(clip, connection, job_id)
    target = _pin(frame, (8.0, -5.0), sigma=0.25, solve_now=True)
    held = _seen(frame)
    path = str(Path(folder) / "pinned.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.read_homefile()
    bpy.ops.wm.open_mainfile(filepath=path)
    refine = bpy.context.scene.mien.collection.mien_refine
    kept = [[p.landmark, p.frame, p.x, p.y, round(p.sigma, 4)] for p in refine.pins]
    solved = _mien("refine.job").is_solved(refine)
    same = float(np.abs(_seen(frame) - held).max())
    # Nothing has changed: nothing is solved.
    bpy.ops.mien.refine(scope="NEAR")
    unchanged = _mien("refine.run").current_run().outcome
    bpy.ops.mien.pin_delete(index=0)
    bpy.ops.mien.refine(scope="NEAR")
    return {
        "kept": kept, "target": target.tolist(), "solved": solved, "same": same,
        "unchanged": unchanged, "left": len(refine.pins),
        "gap_held": float(np.linalg.norm(held - target)),
        "gap_freed": float(np.linalg.norm(_seen(frame) - target)),
    }  # fmt: skip


def whole(clip: str, connection: str, job_id: str, frame: int, offset: int) -> dict[str, Any]:
    """Limits, locks, neutral and ignored frames, the person and the lens, over the whole shot."""
    refine = _track(clip, connection, job_id)
    scene, collection = bpy.context.scene, bpy.context.scene.mien.collection
    before = {name: _weights(name) for name in ("jawOpen", "mouthSmileLeft", "eyeBlinkLeft")}
    scene.frame_set(frame)
    bpy.ops.mien.limit_expression(expression="jawOpen", low=0.0, high=0.05)
    bpy.ops.mien.limit_expression(expression="mouthSmileLeft", lock=True)
    locked = refine.limits["mouthSmileLeft"].value
    bpy.ops.mien.neutral_frame(frame=offset + 4)
    bpy.ops.mien.ignore_frames(start=offset + 8, end=offset + 9)
    bpy.ops.mien.ignore_frames(start=offset + 10)
    bpy.ops.mien.ignore_frames(start=offset + 9, remove=True)
    ignored = [[f.start, f.end] for f in refine.ignored]
    target = _pin(frame, (8.0, -5.0))
    refine.hold_person = True
    refine.focal_mode, refine.focal_mm, refine.sensor_mm = "FIXED", 50.0, 36.0
    mesh = _find("head").data
    rest = np.empty((len(mesh.vertices), 3), np.float32)
    mesh.vertices.foreach_get("co", rest.ravel())
    bpy.ops.mien.refine(scope="WHOLE")
    run = _mien("refine.run").current_run()
    mesh = _find("head").data
    now = np.empty_like(rest)
    mesh.vertices.foreach_get("co", now.ravel())
    jaw, smile = _weights("jawOpen"), _weights("mouthSmileLeft")
    # The neutral frame is at rest whatever is locked.
    del smile[4]
    neutral = [_weights(k.name)[4] for k in list(mesh.shape_keys.key_blocks)[1:]]
    result = {
        "problem": None if run.problem is None else run.problem.message,
        "jaw": [max(before["jawOpen"]), max(jaw)],
        "smile": [float(np.ptp(before["mouthSmileLeft"])), min(smile), max(smile), locked],
        "neutral": float(np.abs(neutral).max()),
        "ignored": ignored,
        "gap": float(np.linalg.norm(_seen(frame) - target)),
        "person": float(np.abs(now - rest).max()),
        "lens": _find("camera").data.lens * 36.0 / _find("camera").data.sensor_width,
    }
    refine.hold_person = False
    refine.focal_mode = "ZOOM"
    bpy.ops.mien.refine(scope="WHOLE")
    solve = _mien("scene.solve").load_solve(collection)
    now = np.empty_like(rest)
    mesh.vertices.foreach_get("co", now.ravel())
    return result | {
        "zoom": float(np.ptp(solve.focal_px)),
        "freed": float(np.abs(now - rest).max()),
    }


def mask(clip: str, connection: str, job_id: str, frame: int, folder: str) -> dict[str, Any]:
    """A mask that is white for a part of the shot hides the landmarks under it there."""
    refine = _track(clip, connection, job_id)
    mask = bpy.data.masks.new("Hand")
    layer = mask.layers.new(name="Layer")
    spline = layer.splines.new()
    spline.points.add(3)
    for point, place in zip(spline.points, ((-1, -1), (2, -1), (2, 2), (-1, 2)), strict=True):
        point.co, point.handle_type = place, "VECTOR"
    spline.use_cyclic = True
    # Only about one frame, and all over the picture.
    layer.alpha = 0.0
    for number, alpha in ((frame - 2, 0.0), (frame - 1, 1.0), (frame + 1, 1.0), (frame + 2, 0.0)):
        layer.alpha = alpha
        layer.keyframe_insert("alpha", frame=number)
    told = ""
    try:
        bpy.ops.mien.mask(mask="Hand")
    except RuntimeError as error:
        told = str(error)
    refine.mask_folder = folder
    now = bpy.context.scene.frame_current
    scenes = len(bpy.data.scenes)
    assert bpy.ops.mien.mask(mask="Hand") == {"FINISHED"}
    path, moved_frame = refine.mask_path, bpy.context.scene.frame_current - now
    before = _seen(frame)
    bpy.ops.mien.refine(scope="NEAR")
    run = _mien("refine.run").current_run()
    moved = float(np.abs(_seen(frame) - before).max())
    first = {
        "problem": None if run.problem is None else run.problem.message,
        "outcome": run.outcome,
    }
    # A mask that stands still is one picture, and its shape may be keyed.
    layer.keyframe_delete("alpha", frame=frame)
    mask.animation_data_clear()
    layer.alpha = 1.0
    half = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
    for point, place in zip(spline.points, half, strict=True):
        point.co = place
    bpy.ops.mien.mask()
    still = refine.mask_path
    bpy.ops.mien.mask(clear=True)
    return first | {
        "told": told, "path": path, "still": still, "cleared": refine.mask_path, "moved": moved,
        "scenes": len(bpy.data.scenes) - scenes, "frame": moved_frame,
        "shape_key": _keyed_shape(mask, layer, clip, refine, bpy.context.scene.frame_start),
    }  # fmt: skip


def _keyed_shape(mask: Any, layer: Any, clip: str, refine: Any, start: int) -> str:
    """Key the shape of a mask in the Movie Clip Editor, and draw it; its path."""
    window = bpy.context.window_manager.windows[0]
    area = window.screen.areas[0]
    area.type = "CLIP_EDITOR"
    space = area.spaces.active
    space.clip, space.mode, space.mask = bpy.context.scene.mien.clip, "MASK", mask
    region = next(r for r in area.regions if r.type == "WINDOW")
    with bpy.context.temp_override(window=window, area=area, region=region):
        for number, shift in ((start, 0.0), (start + 10, 0.5)):
            bpy.context.scene.frame_set(number)
            for point, x in zip(layer.splines[0].points, (0.0, 0.5, 0.5, 0.0), strict=True):
                point.co = (x + shift, point.co[1])
                point.select = True
            assert bpy.ops.mask.shape_key_insert() == {"FINISHED"}
    bpy.ops.mien.mask(mask=mask.name)
    return refine.mask_path


def streamed(clip: str, connection: str, job_id: str, frame: int) -> dict[str, Any]:
    """Solve as the interface does, a look at a time: how long it took, and the longest look."""
    refine = _track(clip, connection, job_id)
    run_module = _mien("refine.run")
    figures: dict[str, Any] = {"wait_s": [], "shown_s": [], "cpu_s": [], "longest_ms": []}
    for number in range(6):
        _pin(frame + number, (6.0, -4.0))
        began, cpu, longest = time.monotonic(), time.process_time(), 0.0
        run = run_module.start(bpy.context, "near")
        while True:
            look = time.perf_counter()
            done = run.step()
            longest = max(longest, time.perf_counter() - look)
            if done:
                break
            assert time.monotonic() - began < 120
            time.sleep(run_module.POLL_S)
        assert run.problem is None, run.problem
        figures["wait_s"].append(run.waited_s)
        figures["shown_s"].append(run.shown_s)
        figures["cpu_s"].append(time.process_time() - cpu)
        figures["longest_ms"].append(1000 * longest)
        figures.setdefault("near_ms", []).append(run.client.receiver.done.near_ms)
    # A newer solve takes over from one that goes on, and cancelling leaves the result.
    _pin(frame, (2.0, -1.0))
    older = run_module.start(bpy.context, "near")
    newer = run_module.start(bpy.context, "whole")
    job = refine.job
    while newer.phase not in ("running", "done"):
        newer.step()
        time.sleep(0.01)
    bpy.ops.mien.refine_cancel()
    while not newer.step():
        time.sleep(0.01)
    return figures | {"older": older.is_finished, "newer": newer.phase, "kept": refine.job == job}


def refusals(track: str, clip: str, connection: str) -> dict[str, Any]:
    """What the artist is told when it does not work."""
    settings = _set_up(clip, connection)
    told = {"nothing": _told(lambda: bpy.ops.mien.refine())}
    bpy.ops.mien.import_track(filepath=track)
    refine = settings.collection.mien_refine
    told["landmark"] = _told(lambda: bpy.ops.mien.pin(landmark="nose", frame=5, x=1, y=2))
    told["frame"] = _told(lambda: bpy.ops.mien.pin(landmark=TIP, frame=900, x=1, y=2))
    told["place"] = _told(lambda: bpy.ops.mien.pin(landmark=TIP, frame=5))
    told["index"] = _told(lambda: bpy.ops.mien.pin_delete(index=3))
    told["range"] = _told(lambda: bpy.ops.mien.ignore_frames(start=5, end=4))
    told["neutral"] = _told(lambda: bpy.ops.mien.neutral_frame(frame=900))
    told["limit"] = _told(
        lambda: bpy.ops.mien.limit_expression(expression="jawOpen", low=0.5, high=0.1)
    )
    told["mask"] = _told(lambda: bpy.ops.mien.mask())
    told["source"] = refine.track
    # This track has no landmarks: the backend says so.
    told["landmarks"] = _told(lambda: bpy.ops.mien.refine())
    refine.track = ""
    told["unknown"] = _told(lambda: bpy.ops.mien.refine())
    return told


def _told(call: Any) -> str:
    try:
        call()
    except RuntimeError as error:
        return str(error)
    raise AssertionError("it was not refused")


def imported(track: str, clip: str, connection: str) -> dict[str, Any]:
    """A track file brings the pins that it was solved with, and is solved again."""
    settings = _set_up(clip, connection)
    bpy.ops.mien.import_track(filepath=track)
    refine = settings.collection.mien_refine
    pins = [[p.landmark, p.frame, p.x, p.y, p.sigma] for p in refine.pins]
    limits = [[item.name, item.low, round(item.high, 4)] for item in refine.limits if item.use]
    solved = _mien("refine.job").is_solved(refine)
    target = _pin(pins[0][1], (9.0, 0.0), sigma=0.5, solve_now=True)
    return {
        "pins": pins, "limits": limits, "solved": solved, "count": len(refine.pins),
        "source": refine.job != "", "gap": float(np.linalg.norm(_seen(pins[0][1]) - target)),
    }  # fmt: skip


def leaving() -> dict[str, Any]:
    """Nothing is left when the extension is switched off, and it comes back."""
    names = ("CLIP_MT_tracking_context_menu", "VIEW3D_MT_object_context_menu")

    def entries() -> int:
        menus = [getattr(bpy.types, name) for name in names if hasattr(bpy.types, name)]
        return sum(
            "mien" in str(getattr(f, "__module__", ""))
            for menu in menus
            for f in getattr(getattr(menu, "draw", None), "_draw_funcs", ())
        )

    def keys() -> int:
        configuration = bpy.context.window_manager.keyconfigs.addon
        maps = [] if configuration is None else configuration.keymaps
        return sum(item.idname.startswith("mien.") for m in maps for item in m.keymap_items)

    def state() -> list[Any]:
        return [
            entries(), keys(), hasattr(bpy.types.Collection, "mien_refine"),
            hasattr(bpy.types.Scene, "mien_show_pins"), hasattr(bpy.types, "MIEN_PT_pins_clip"),
            len([h for h in bpy.app.handlers.undo_pre if "mien" in h.__module__]),
        ]  # fmt: skip

    states = {"on": state()}
    bpy.ops.preferences.addon_disable(module=MODULE)
    states["off"] = state()
    bpy.ops.preferences.addon_enable(module=MODULE)
    states["again"] = state()
    return states | {"processes": os.getpid() > 0}


class WithoutLists:
    """A layout whose lists are rows: Blender crashes where a list has no window."""

    def __init__(self, layout: Any) -> None:
        object.__setattr__(self, "layout", layout)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.layout, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.layout, name, value)

    def template_list(
        self, kind: str, name: str, data: Any, items: str, active: Any, active_name: str,
        **_: Any,
    ) -> None:  # fmt: skip
        draw_item = getattr(_mien("refine.panel"), kind).draw_item
        for index, item in enumerate(getattr(data, items)):
            draw_item(
                None, bpy.context, self.layout.column(), data, item, 0, active, active_name, index
            )


def panels(track: str, clip: str) -> None:
    """What the panels and the menu draw; answers by itself."""
    from panel_checks import in_layout, texts_of

    settings = bpy.context.scene.mien
    settings.clip = bpy.data.movieclips.load(clip)
    bpy.ops.mien.import_track(filepath=track)
    refine = settings.collection.mien_refine

    def drawn(layout: Any, kind: Any) -> str:
        box = layout.box()
        kind.draw(SimpleNamespace(layout=WithoutLists(box)), bpy.context)
        return " ".join(texts_of(box.introspect()))

    def states(layout: Any) -> dict[str, str]:
        types, found = bpy.types, {}
        found["nothing"] = drawn(layout, types.MIEN_PT_pins_view3d)
        bpy.context.scene.mien_show_pins = True
        bpy.ops.mien.pin(landmark=TIP, frame=5, x=1.0, y=2.0)
        bpy.ops.mien.ignore_frames(start=4, end=5)
        bpy.ops.mien.neutral_frame(frame=4)
        bpy.context.scene.frame_set(5)
        found["pins"] = drawn(layout, types.MIEN_PT_pins_clip)
        for name in ("frames", "mask", "limits", "hold"):
            found[name] = drawn(layout, getattr(types, f"MIEN_PT_{name}_clip"))
        refine.mask_path, refine.focal_mode = "/masks/hand.png", "FIXED"
        for name in ("mask", "hold"):
            found[f"{name} in use"] = drawn(layout, getattr(types, f"MIEN_PT_{name}_view3d"))
        found["menu"] = drawn(layout, types.MIEN_MT_refine)
        refine.track = ""
        found["unknown"] = drawn(layout, types.MIEN_PT_pins_view3d)
        return found

    in_layout(states)
