"""Checks of what goes to characters and files, run inside Blender: see conftest.py."""

from __future__ import annotations

import importlib
import json
import os
import traceback
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from scene_checks import _find, _posed

import __main__

MODULE = "bl_ext.user_default.mien"
TARGETS = ("EyeBlink_L", "jaw_open", "CTRL_expressions_mouthCornerPullL", "brow_inner_up.L",
           "BrowInnerUp_R", "Unrelated")  # fmt: skip


def _mien(name: str) -> Any:
    return importlib.import_module(f"{MODULE}.{name}")


def _character() -> Any:
    mesh = bpy.data.meshes.new("Character")
    mesh.from_pydata([(0, 0, 0), (1, 0, 0), (0, 1, 0)], [], [(0, 1, 2)])
    character = bpy.data.objects.new("Character", mesh)
    bpy.context.scene.collection.objects.link(character)
    character.shape_key_add(name="Basis")
    for name in TARGETS:
        # Blender 5.0 gives new keys the value 1.
        character.shape_key_add(name=name, from_mix=False).value = 0.0
    return character


def shape_keys(track: str, offset: int) -> dict[str, Any]:
    """Match, correct and bake to a mesh, as an action and as a strip."""
    bpy.ops.mien.import_track(filepath=track)
    scene = bpy.context.scene
    settings = scene.mien_retarget
    settings.target = character = _character()
    bpy.ops.mien.match_keys()
    pairs = {d.target: d.name for d in settings.drives}
    report = settings.report
    scene.frame_set(offset)
    bpy.ops.mien.retarget_neutral()
    neutral = {d.name: d.neutral for d in settings.drives}
    settings.drives["eyeBlinkLeft"].gain = 2.0
    settings.drives["mouthSmileLeft"].use = False
    bpy.ops.mien.match_keys()
    gain = settings.drives["eyeBlinkLeft"].gain
    # What the artist has changed by hand goes along.
    curve = _mien("scene.animation").find_curve(
        _find("head").data.shape_keys, 'key_blocks["jawOpen"].value'
    )
    curve.keyframe_points[2].co[1] = 0.9
    curve.update()
    bpy.ops.mien.bake_to_character()
    blocks = character.data.shape_keys.key_blocks
    source = _find("head").data.shape_keys.key_blocks
    rows: dict[str, list[float]] = {name: [] for name in (*TARGETS, *neutral)}
    frames = [offset + number for number in range(9)]
    for frame in frames:
        scene.frame_set(frame)
        for name in TARGETS:
            rows[name].append(blocks[name].value)
        for name in neutral:
            rows[name].append(source[name].value)
    first = character.data.shape_keys.animation_data.action.name
    settings.as_strip = True
    bpy.ops.mien.bake_to_character(action_name="Take 2")
    keys = character.data.shape_keys
    strips = [s.name for t in keys.animation_data.nla_tracks for s in t.strips]
    again = []
    for frame in frames:
        scene.frame_set(frame)
        again.append(blocks["jaw_open"].value)
    settings.target = _find("head")
    try:
        bpy.ops.mien.bake_to_character()
        refused = ""
    except RuntimeError as error:
        refused = str(error)
    return {
        "pairs": pairs, "report": report, "neutral": neutral, "gain": gain, "rows": rows,
        "first": first, "strips": strips, "action": str(keys.animation_data.action),
        "again": again, "refused": refused,
        "kept": sorted(a.name for a in bpy.data.actions if a.name.startswith(("Char", "Take"))),
    }  # fmt: skip


def _armature() -> Any:
    data = bpy.data.armatures.new("Puppet")
    puppet = bpy.data.objects.new("Puppet", data)
    bpy.context.scene.collection.objects.link(puppet)
    bpy.context.view_layer.objects.active = puppet
    bpy.ops.object.mode_set(mode="EDIT")
    for name, head, tail, roll in (
        ("head", (0, 0, 1), (0, 0.3, 1.4), 0.4),
        ("a", (0.1, 0, 1.2), (0.1, -0.2, 1.3), 1.1),
        ("b", (-0.1, 0, 1.2), (-0.1, -0.2, 1.2), 0.0),
        ("jaw", (0, 0, 1.1), (0.0, -0.3, 1.0), -0.7),
        ("gaze", (0.1, -0.5, 1.2), (0.1, -0.6, 1.2), 0.3),
    ):
        bone = data.edit_bones.new(name)
        bone.head, bone.tail, bone.roll = head, tail, roll
    bpy.ops.object.mode_set(mode="OBJECT")
    puppet.pose.bones["jaw"].rotation_mode = "XYZ"
    return puppet


def bones(track: str, offset: int, folder: str) -> dict[str, Any]:
    """Bake to an armature by a mapping that was saved and loaded."""
    bpy.ops.mien.import_track(filepath=track)
    scene = bpy.context.scene
    settings = scene.mien_retarget
    settings.target = puppet = _armature()
    mapping = {
        "format": "mien-bone-mapping", "version": 1, "name": "Puppet", "unit": ["a", "b"],
        "joints": [{"joint": "head", "bone": "head", "gain": 1.0},
                   {"joint": "eye.L", "bone": "gaze", "pivot": "a"}],
        "bones": [{"channel": "jawOpen", "bone": "jaw", "turn": [0.5, 0, 0]},
                  {"channel": "jawLeft", "bone": "jaw", "move": [1, 0, 0]},
                  {"channel": "jawForward", "bone": "jaw", "move": [0, -2, 0.5]},
                  {"channel": "mouthLeft", "bone": "missing", "move": [1, 0, 0]}],
    }  # fmt: skip
    path, copy = Path(folder) / "puppet.json", Path(folder) / "copy.json"
    path.write_text(json.dumps(mapping), "utf-8")
    bpy.ops.mien.load_mapping(filepath=str(path))
    bpy.ops.mien.save_mapping(filepath=str(copy))
    wrong = dict(mapping, bones=[{"channel": "jawopen", "bone": "jaw"}])
    path.write_text(json.dumps(wrong), "utf-8")
    try:
        bpy.ops.mien.load_mapping(filepath=str(path))
        refused = ""
    except RuntimeError as error:
        refused = str(error)
    bpy.ops.mien.bake_to_character()
    performance = _mien("retarget.performance").read_performance(scene.mien.collection)
    result: dict[str, Any] = {"refused": refused, "copy": json.loads(copy.read_text("utf-8"))}
    rows = []
    for frame in performance.frames.tolist():
        scene.frame_set(frame)
        graph = bpy.context.evaluated_depsgraph_get()
        pose = puppet.evaluated_get(graph).pose.bones
        source = _find("rig").evaluated_get(graph).pose.bones["head"]
        deform = lambda bone: np.array(bone.matrix @ bone.bone.matrix_local.inverted())  # noqa: E731
        blocks = _find("head").data.shape_keys.key_blocks
        rows.append(
            {
                "jaw": deform(pose["jaw"])[:3, :3].tolist(),
                "jaw_head": list(pose["jaw"].head),
                "head": deform(pose["head"])[:3, :3].tolist(),
                "source_head": deform(source)[:3, :3].tolist(),
                "gaze": list(pose["gaze"].head),
                "weights": [blocks[n].value for n in ("jawOpen", "jawLeft", "jawForward")],
                "eye": performance.eyes[len(rows), 0].tolist(),
            }
        )
    return result | {"rows": rows, "copied": mapping == result["copy"]}


def rigify(track: str, offset: int) -> None:
    """Generate Rigify's own face rig, and bake to it with the shipped preset; answers by itself.

    Rigify leaves things behind that hang the interpreter at its end.
    """
    bpy.ops.mien.import_track(filepath=track)
    try:
        if bpy.ops.preferences.addon_enable(module="rigify") == {"FINISHED"}:
            __main__.answer(_rigify(bpy.context.scene))
        else:
            __main__.answer({"skipped": "this Blender has no Rigify"})
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _rigify(scene: Any) -> dict[str, Any]:
    bpy.ops.object.armature_human_metarig_add()
    meta = bpy.context.object
    # Spine and head alone: a whole body takes long to generate.
    bpy.ops.object.mode_set(mode="EDIT")
    bones = meta.data.edit_bones
    for bone in list(bones):
        chain = {bone.name, *(b.name for b in bone.parent_recursive)}
        if not bone.name.startswith("spine") and "face" not in chain:
            bones.remove(bone)
    bpy.ops.object.mode_set(mode="OBJECT")
    bpy.ops.pose.rigify_generate()
    rig = next(o for o in bpy.data.objects if o.type == "ARMATURE" and o.name.startswith("rig"))
    settings = scene.mien_retarget
    settings.target = rig
    bpy.ops.mien.preset_mapping(preset="Rigify Face")
    mapping = _mien("retarget.mapping").parse_mapping(settings.mapping.as_string(), "preset")
    missing = [name for name in mapping.bone_names() if name not in rig.data.bones]
    assert bpy.ops.mien.bake_to_character() == {"FINISHED"}
    unit = _mien("retarget.bake").bone_unit(rig, mapping)
    # A closed eye, an open jaw and a smile, by hand on the source, move what they should.
    performance = _mien("retarget.performance").read_performance(scene.mien.collection)
    deltas = {}
    for channel, bone in (("eyeBlinkLeft", "DEF-lid.T.L.002"), ("jawOpen", "DEF-chin"),
                          ("mouthSmileLeft", "DEF-lip.T.L.001")):  # fmt: skip
        places = []
        for weight in (0.0, 1.0):
            still = _only(performance, channel, weight)
            drives = [_mien("retarget.bake").Drive(channel, "")]
            _mien("retarget.bake").bake_bones(rig, still, mapping, drives, "Probe")
            scene.frame_set(int(still.frames[0]))
            pose = rig.evaluated_get(bpy.context.evaluated_depsgraph_get()).pose.bones[bone]
            places.append(np.array(pose.tail))
        deltas[channel] = ((places[1] - places[0]) / unit).tolist()
    return {"missing": missing, "deltas": deltas}


def _only(performance: Any, channel: str, weight: float) -> Any:
    """Return a performance of one frame and one expression, the head still."""
    names = _mien("shared.arkit").EXPRESSION_NAMES
    weights = np.zeros((1, 52))
    weights[0, names.index(channel)] = weight
    still = np.array([[1.0, 0, 0, 0]])
    return type(performance)(performance.frames[:1], weights, still, np.stack([still, still], 1))


def csv(track: str, clip: str, folder: str) -> dict[str, Any]:
    """Write the table from Blender's curves: as tracked, by the camera's motion, and edited."""
    bpy.ops.mien.import_track(filepath=track, clip_path=clip)
    texts = {}
    for name, motion in (("head", "HEAD"), ("object", "OBJECT"), ("camera", "CAMERA")):
        bpy.ops.mien.motion(to=motion)
        path = Path(folder) / f"{name}.csv"
        assert bpy.ops.mien.export_csv(filepath=str(path)) == {"FINISHED"}
        texts[name] = path.read_text("utf-8")
    curve = _mien("scene.animation").find_curve(
        _find("head").data.shape_keys, 'key_blocks["jawOpen"].value'
    )
    curve.keyframe_points[2].co[1] = 0.875
    curve.update()
    bpy.ops.mien.export_csv(filepath=str(Path(folder) / "edited.csv"))
    return texts | {"edited": (Path(folder) / "edited.csv").read_text("utf-8")}


def exchange(track: str, offset: int, folder: str, kind: str) -> None:
    """Write a file, read it back, and compare; answers by itself.

    Blender 4.2 crashes at its end after a glTF import of its own.
    """
    try:
        __main__.answer(_exchange(track, offset, folder, kind))
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _exchange(track: str, offset: int, folder: str, kind: str) -> dict[str, Any]:
    """Write a file, read it into an empty scene, and compare the head in the world."""
    bpy.ops.mien.import_track(filepath=track)
    scene = bpy.context.scene
    _find("rig").hide_set(True)
    frames = (offset, offset + 4)
    expected = []
    for frame in frames:
        scene.frame_set(frame)
        expected.append(_posed())
    suffix = _mien("retarget.exchange").FORMATS[kind].suffix
    path = str(Path(folder) / f"shot{suffix}")
    assert bpy.ops.mien.export_file(filepath=path, file_format=kind) == {"FINISHED"}
    hidden = _find("rig").hide_get()
    start, end = scene.frame_start, scene.frame_end
    rate = scene.render.fps, scene.render.fps_base
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    scene = bpy.context.scene
    scene.render.fps, scene.render.fps_base = rate
    scene.frame_start, scene.frame_end = start, end
    readers = {
        "FBX": lambda: bpy.ops.import_scene.fbx(filepath=path, anim_offset=0.0),
        "GLTF": lambda: bpy.ops.import_scene.gltf(filepath=path),
        "ALEMBIC": lambda: bpy.ops.wm.alembic_import(filepath=path, as_background_job=False),
        "USD": lambda: bpy.ops.wm.usd_import(filepath=path),
    }
    readers[kind]()
    meshes = [o for o in scene.objects if o.type == "MESH" and len(o.data.vertices) > 5000]
    head = meshes[0]
    from mathutils.kdtree import KDTree

    worst = []
    for frame, points in zip(frames, expected, strict=True):
        # Blender's FBX importer takes whole frames a second where the file has true ones.
        time = frame * (rate[1] if kind == "FBX" else 1.0)
        scene.frame_set(int(time), subframe=time - int(time))
        shown = head.evaluated_get(bpy.context.evaluated_depsgraph_get())
        tree = KDTree(len(shown.data.vertices))
        for number, vertex in enumerate(shown.data.vertices):
            tree.insert(shown.matrix_world @ vertex.co, number)
        tree.balance()
        worst.append(max(tree.find(point)[2] for point in points.tolist()))
    keys = head.data.shape_keys
    return {
        "worst_mm": [1e3 * value for value in worst],
        "moved_mm": 1e3 * float(np.abs(expected[0] - expected[1]).max()),
        "keys": [] if keys is None else [block.name for block in keys.key_blocks],
        "cameras": sum(o.type == "CAMERA" for o in scene.objects),
        "hidden": hidden,
        "heads": len(meshes),
    }


def missing_exporter(track: str, folder: str) -> str:
    """Ask for a format whose exporter is switched off."""
    bpy.ops.mien.import_track(filepath=track)
    bpy.ops.preferences.addon_disable(module="io_scene_fbx")
    try:
        bpy.ops.mien.export_file(filepath=str(Path(folder) / "x.fbx"), file_format="FBX")
    except RuntimeError as error:
        return str(error)
    return ""
