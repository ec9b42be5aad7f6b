"""Checks of the first minute, run inside Blender: installing, the sample, the report."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bpy
from panel_checks import in_layout, texts_of
from tracking_checks import MODULE, _mien, _wait


def _preferences() -> Any:
    return bpy.context.preferences.addons[MODULE].preferences


def _told(operator: Any, **properties: Any) -> str:
    try:
        operator(**properties)
    except RuntimeError as error:
        return str(error)
    raise AssertionError("it was not refused")


def try_it(python: str) -> dict[str, Any]:
    """Press Try It in a fresh file, with a backend that Blender starts."""
    preferences = _preferences()
    preferences.mode, preferences.backend_path = "LOCAL", python
    made_room = _make_room()
    scene = bpy.context.scene
    old = bpy.data.collections.new("Somebody else")
    scene.mien.collection, scene.mien.use_range = old, True
    scene.frame_end = 777
    began = time.monotonic()
    assert bpy.ops.mien.try_it(quality="preview") == {"FINISHED"}
    seconds = time.monotonic() - began
    run = _mien("runtime").runtime.run
    mine, scene = scene, bpy.context.scene
    collection = scene.mien.collection
    rig = next(o for o in collection.objects if o.type == "ARMATURE")
    first, last = rig.animation_data.action.frame_range
    result = {
        "seconds": seconds,
        "made_room": made_room,
        "phase": run.phase,
        "problem": None if run.problem is None else run.problem.message,
        "clip": Path(scene.mien.clip.filepath).name,
        "kept": [mine.mien.collection == old, mine.mien.clip is None, mine.frame_end],
        "scene": scene.name,
        "frames": [int(first), int(last)],
        "has_solve": _mien("scene.solve").load_solve(collection) is not None,
        "device": _mien("first.facts").known_device(bpy.context),
        "report": _mien("first.facts").full_report(bpy.context),
        "home": str(Path.home()),
    }
    covering = _covering()
    bpy.ops.mien.stop_backend()
    after = _mien("first.facts").full_report(bpy.context)
    return result | {"report_after": after, "covering": covering}


def _make_room() -> list[bool]:
    """Whether a new file's cube is hidden, and whether a file with work in it is no new file."""
    operators, scene = _mien("first.operators"), bpy.context.scene
    bpy.ops.mesh.primitive_cube_add(size=2.0)
    cube = bpy.context.object
    cube.name = "Cube"
    states = [operators.is_new_file(scene)]
    settings = _mien("first.operators").MIEN_OT_try_it
    settings._choose_scene(None, bpy.context, "no clip")
    states += [bpy.context.scene == scene, cube.hide_get() and cube.hide_render]
    cube.name = "My Model"
    return [*states, operators.is_new_file(scene)]


def _covering() -> list[list[str]]:
    """What hides the clip: with a new file's cube, with others, and after it was hidden."""
    facts, context = _mien("first.facts"), bpy.context
    states = [[o.name for o in facts.covering_objects(context)]]
    bpy.ops.mesh.primitive_cube_add(size=2.0)
    context.object.name = "Start"
    bpy.ops.mesh.primitive_cube_add(size=2.0, location=(3.0, 0.0, 0.0))
    context.view_layer.update()
    states.append([o.name for o in facts.covering_objects(context)])
    assert bpy.ops.mien.hide_in_front() == {"FINISHED"}
    context.view_layer.update()
    states.append([o.name for o in facts.covering_objects(context)])
    return [*states, [o.name for o in context.scene.objects if o.hide_render]]


def refusals(folder: str) -> dict[str, Any]:
    """What is said where the sample or the installation cannot be had."""
    preferences = _preferences()
    preferences.mode, preferences.address = "CONNECT", "tcp://render.example:5555"
    preferences.token = "s3cret-token"
    told = {"elsewhere": _told(bpy.ops.mien.try_it)}
    told["report"] = _mien("first.facts").full_report(bpy.context)
    preferences.mode, preferences.wheel_folder = "LOCAL", str(Path(folder) / "missing")
    told["no folder"] = _told(bpy.ops.mien.install_backend)
    preferences.wheel_folder = folder
    told["no wheels"] = _told(bpy.ops.mien.install_backend)
    preferences.wheel_folder = ""
    if not bpy.app.online_access:
        told["offline"] = _told(bpy.ops.mien.install_backend)
    return told


def installation(folder: str, python: str) -> None:
    """Install from a folder that lacks what is needed, and draw what is said; answers itself."""
    preferences = _preferences()
    preferences.mode, preferences.wheel_folder, preferences.python = "LOCAL", folder, python
    preferences.backend_path = ""
    runtime, poll = _mien("runtime").runtime, _mien("operators.backend").poll_installation
    panels = _mien("panels")

    def states(layout: Any) -> dict[str, Any]:
        def drawn(draw: Any) -> str:
            box = layout.box()
            draw(box)
            texts = " ".join(texts_of(box.introspect()))
            layout.label(text="-")
            return texts

        def panel(box: Any) -> None:
            panels.MIEN_PT_track_view3d.draw(SimpleNamespace(layout=box), bpy.context)

        def in_preferences(box: Any) -> None:
            preferences.draw_in(box, bpy.context)

        found: dict[str, Any] = {"before": drawn(panel)}
        assert bpy.ops.mien.install_backend() == {"FINISHED"}
        poll()
        found["while"], found["while, preferences"] = drawn(panel), drawn(in_preferences)
        _wait(lambda: poll() is None)
        found["after"], found["after, preferences"] = drawn(panel), drawn(in_preferences)
        found["error"] = runtime.installation.error
        found["report"] = _mien("first.facts").full_report(bpy.context)
        preferences.device = "A Device"
        found["device"] = drawn(panel)
        preferences.mode = "CONNECT"
        found["forgotten"] = drawn(panel)
        bpy.ops.mien.remove_backend()
        return found

    in_layout(states)
