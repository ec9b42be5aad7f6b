"""Checks of people and of the queue, run inside Blender against a real service."""

from __future__ import annotations

import importlib
import os
import signal
import time
from pathlib import Path
from typing import Any

import bpy
from tracking_checks import _mien, _set_up

MODULE = "bl_ext.user_default.mien"


def _queue() -> Any:
    return bpy.context.scene.mien_queue


def _states() -> list[str]:
    return [item.state for item in _queue().items]


def _collection_facts(collection: Any) -> dict[str, Any]:
    roles = {o["mien_role"]: o for o in collection.all_objects}
    rig = roles["rig"]
    return {
        "name": collection.name,
        "names": sorted(o.name for o in roles.values()),
        "frames": [round(v) for v in rig.animation_data.action.frame_range],
        "clip": roles["camera"].data.background_images[0].clip.name,
        "place": list(rig.pose.bones["neck"].location),
    }


def _pixel_of(collection: Any, frame: int) -> list[float]:
    """Where the camera of a result sees the middle of its head, in a frame."""
    from bpy_extras.object_utils import world_to_camera_view

    scene = bpy.context.scene
    scene.frame_set(frame)
    roles = {o["mien_role"]: o for o in collection.all_objects}
    rig = roles["rig"].evaluated_get(bpy.context.evaluated_depsgraph_get())
    eyes = [rig.matrix_world @ rig.pose.bones[n].head for n in ("eye.L", "eye.R")]
    x, y, _ = world_to_camera_view(scene, roles["camera"], (eyes[0] + eyes[1]) / 2)
    return [x * scene.render.resolution_x, (1 - y) * scene.render.resolution_y]


def _picture(key: str) -> dict[str, Any]:
    """A person's picture in the list, and its icon, as Blender has them."""
    face = _mien("people.faces")._previews[0][key]
    picture, icon = list(face.image_pixels_float), list(face.icon_pixels_float)
    return {
        "sizes": [list(face.image_size), list(face.icon_size)],
        "means": [sum(pixels) / len(pixels) for pixels in (picture, icon)],
        "opaque": min(picture[3::4] + icon[3::4]),
    }


def people(clip: str, connection: str) -> dict[str, Any]:
    """Find two people, give one a name, track both, and one of them again."""
    settings = _set_up(clip, connection)
    settings.quality, settings.clip.frame_start = "preview", 101
    scene = bpy.context.scene
    assert bpy.ops.mien.find_people() == {"FINISHED"}
    found = [[p.name, p.frame, list(p.place), p.seen] for p in scene.mien_people.items]
    pictures = [_picture(person.key) for person in scene.mien_people.items]
    # Again, in one frame: they are the same two.
    scene.frame_current = 107
    bpy.ops.mien.find_people(whole_clip=False)
    again = len(scene.mien_people.items)
    scene.mien_people.items[0].name = "Anna"
    assert bpy.ops.mien.track_people(who="ALL") == {"FINISHED"}
    results = [_collection_facts(p.collection) for p in scene.mien_people.items]
    pixels = [_pixel_of(p.collection, 107) for p in scene.mien_people.items]
    return {
        "found": found,
        "pictures": pictures,
        "again": again,
        "states": _states(),
        "messages": [item.message for item in _queue().items],
        "results": results,
        "pixels": pixels,
        "collections": len(bpy.data.collections),
        "camera": scene.camera.name,
        "frames": [scene.frame_start, scene.frame_end],
    }


def picked(clip: str, connection: str, x: float, y: float) -> dict[str, Any]:
    """Pick by a pixel, as a script does; and where nobody is."""
    settings = _set_up(clip, connection)
    settings.quality = "preview"
    people = bpy.context.scene.mien_people
    assert bpy.ops.mien.pick_person(frame=7, x=x, y=y) == {"FINISHED"}
    assert bpy.ops.mien.pick_person(frame=7, x=5, y=5) == {"FINISHED"}
    bpy.ops.mien.track_people(who="ALL")
    facts = {
        "people": [[p.name, p.frame] for p in people.items],
        "states": _states(),
        "message": _queue().items[1].message,
        "pixel": _pixel_of(people.items[0].collection, 7),
        "nobody": people.items[1].collection is None,
    }
    people.index = 1
    bpy.ops.mien.person_remove()
    return facts | {"left": [p.name for p in people.items]}


def several(clips: list[str], connection: str, blend: str) -> dict[str, Any]:
    """Clips in a queue, one of which is missing: the others are done; then Retry."""
    settings = _set_up(clips[0], connection)
    settings.quality = "preview"
    for clip in clips:
        settings.clip = bpy.data.movieclips.load(clip, check_existing=True)
        bpy.ops.mien.queue_add()
    Path(clips[1]).rename(clips[1] + ".away")
    added = [[item.name, item.details, item.state, item.set_scene] for item in _queue().items]
    bpy.ops.mien.queue_move(index=0, step=2)
    order = [item.name for item in _queue().items]
    bpy.ops.mien.queue_start()
    states, messages = _states(), [item.message for item in _queue().items]
    Path(clips[1] + ".away").rename(clips[1])
    bpy.ops.mien.queue_retry(index=0)
    bpy.ops.mien.queue_start()
    after = _states()
    results = [_collection_facts(item.collection) for item in _queue().items]
    bpy.ops.mien.queue_clear()
    cleared = len(_queue().items)
    settings.clip = bpy.data.movieclips[0]
    bpy.ops.mien.queue_add()
    bpy.ops.mien.queue_add()
    bpy.ops.mien.queue_cancel(index=0)
    bpy.ops.mien.queue_remove(index=1)
    return {
        "added": added,
        "order": order,
        "states": states,
        "messages": messages,
        "after": after,
        "results": results,
        "cleared": cleared,
        "cancelled": _states(),
        "collections": len(bpy.data.collections),
    }


def left(clip: str, connection: str, blend: str) -> dict[str, Any]:
    """Start a job, save, and end Blender in the middle of it."""
    settings = _set_up(clip, connection)
    settings.quality = "preview"
    bpy.ops.mien.queue_add()
    bpy.ops.mien.queue_add()
    runner = _mien("queue.runner")
    running = runner.start(bpy.context.scene)
    deadline = time.monotonic() + 120
    while not (running.run is not None and running.run.phase == "running"):
        running.step()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    bpy.ops.wm.save_as_mainfile(filepath=blend)
    states = _states()
    return {"states": states, "job_ids": [item.job_id for item in _queue().items]}


def resumed(connection: str, blend: str) -> dict[str, Any]:
    """Open that file in another Blender, and start the queue: the jobs are found again."""
    preferences = bpy.context.preferences.addons[MODULE].preferences
    preferences.mode, preferences.address = "CONNECT", connection
    bpy.ops.wm.open_mainfile(filepath=blend)
    states = _states()
    bpy.ops.mien.queue_start()
    return {
        "loaded": states,
        "states": _states(),
        "job_ids": [item.job_id for item in _queue().items],
        "results": [_collection_facts(item.collection) for item in _queue().items],
    }


def backend_dies(clip: str, python: str) -> dict[str, Any]:
    """The backend that Blender has started is killed in a job: it starts again and goes on."""
    preferences = bpy.context.preferences.addons[MODULE].preferences
    preferences.mode, preferences.backend_path = "LOCAL", python
    settings = bpy.context.scene.mien
    settings.clip = bpy.data.movieclips.load(clip)
    settings.quality = "preview"
    bpy.ops.mien.queue_add()
    runtime = _mien("runtime").runtime
    running = _mien("queue.runner").start(bpy.context.scene)
    killed = 0
    deadline = time.monotonic() + 300
    while not running.step():
        assert time.monotonic() < deadline
        receiver = None if running.run is None else running.run.client.receiver
        if not killed and receiver is not None and receiver.frame_count > 2:
            file = runtime.backend.connection_file
            killed = _mien("shared.connection").read_connection_file(file).pid
            os.kill(killed, signal.SIGKILL)
        time.sleep(0.01)
    file = runtime.backend.connection_file
    again = importlib.import_module(f"{MODULE}.shared.connection").read_connection_file(file).pid
    return {
        "killed": killed,
        "again": again,
        "states": _states(),
        "messages": [item.message for item in _queue().items],
    }


def undone(clip: str, connection: str) -> dict[str, Any]:
    """What was undone is not done again by itself, but by Start."""
    settings = _set_up(clip, connection)
    settings.quality = "preview"
    bpy.ops.mien.queue_add()
    bpy.ops.ed.undo_push(message="Added")
    running = _mien("queue.runner").start(bpy.context.scene)
    while not running.step():
        time.sleep(0.01)
    bpy.ops.ed.undo_push(message="Tracked")
    before = [_states(), len(bpy.data.objects)]
    bpy.ops.ed.undo()
    while not running.step():
        time.sleep(0.01)
    after = [_states(), len(bpy.data.objects)]
    bpy.ops.mien.queue_start()
    return {"before": before, "after": after, "again": [_states(), len(bpy.data.objects)]}


def breaks(clip: str, folder: str) -> dict[str, Any]:
    """An error of the add-on itself ends a job, not the queue."""
    connection = Path(folder) / "connection.json"
    connection.write_text("{}", "utf-8")
    _set_up(clip, str(connection))
    bpy.ops.mien.queue_add()
    bpy.ops.mien.queue_add()
    runner = _mien("queue.runner")
    running = runner.start(bpy.context.scene)
    running.step()

    def broken() -> bool:
        raise RuntimeError("something is wrong")

    running.run.step = broken
    goes_on = [runner._tick() is not None]
    after = _states()
    running.step()
    running.run.step = broken
    goes_on += [runner._tick() is not None, runner._tick() is not None]
    return {
        "goes_on": goes_on,
        "after": after,
        "states": _states(),
        "message": _queue().items[0].message,
    }


class _WithoutLists:
    """A layout that leaves lists out, which Blender can only draw in a window."""

    def __init__(self, layout: Any) -> None:
        self._layout = layout

    def __getattr__(self, name: str) -> Any:
        if name == "template_list":
            return lambda *arguments, **options: None
        found = getattr(self._layout, name)
        if name in ("row", "column", "box"):
            return lambda *arguments, **options: _WithoutLists(found(*arguments, **options))
        return found


def panels(clip: str) -> None:
    """What the panels say with and without people and jobs; answers by itself."""
    from types import SimpleNamespace

    from panel_checks import in_layout, texts_of

    scene = bpy.context.scene
    people, queue = _mien("people.panel"), _mien("queue.panel")

    def drawn(layout: Any, panel: Any) -> str:
        box = layout.box()
        panel.draw(SimpleNamespace(layout=_WithoutLists(box)), bpy.context)
        return " ".join(texts_of(box.introspect()))

    def both(layout: Any) -> list[str]:
        return [drawn(layout, p) for p in (people.MIEN_PT_people_clip, queue.MIEN_PT_queue_clip)]

    def states(layout: Any) -> dict[str, Any]:
        found = {"empty": both(layout)}
        scene.mien.clip = bpy.data.movieclips.load(clip)
        bpy.ops.mien.pick_person(frame=3, x=10, y=20)
        bpy.ops.mien.queue_add(who="ALL")
        found["one"] = both(layout)
        item = scene.mien_queue.items[0]
        item.state, item.message = "FAILED", "It did not work. Try again."
        found["failed"] = both(layout)
        return found

    in_layout(states)


def documented() -> dict[str, list[str]]:
    """Properties of the operators that have no description."""
    names = [n for n in dir(bpy.ops.mien) if n.startswith(("queue_", "person_", "pick_", "find_"))]
    missing = {}
    for name in [*names, "track_people"]:
        kind = getattr(bpy.ops.mien, name).get_rna_type()
        lacking = [p.identifier for p in kind.properties
                   if p.identifier != "rna_type" and not p.description]  # fmt: skip
        missing[name] = lacking if kind.description else [*lacking, "itself"]
    return missing
