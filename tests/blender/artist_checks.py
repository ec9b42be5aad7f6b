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


def damaged(track: str, clip: str, offset: int) -> dict[str, Any]:
    """What is said when something of a result was deleted or renamed by hand."""
    told: dict[str, Any] = {}
    ops, scene = bpy.ops.mien, bpy.context.scene

    def fresh() -> None:
        bpy.ops.wm.read_homefile(use_empty=True)
        ops.import_track(filepath=track, clip_path=clip)

    fresh()
    bpy.data.objects.remove(_find("camera"))
    told["no camera"] = told_by(ops.motion, to="CAMERA")
    result = bpy.context.scene.mien.collection.mien_result
    # By the panel's field too, which then shows what it is.
    result.motion = "OBJECT"
    told["field"] = result.motion
    told["smooth without a camera"] = told_by(ops.smooth, rotation=2.0)
    fresh()
    _find("head").shape_key_clear()
    told["no keys, exact"] = told_by(ops.shape, to="ABSOLUTE")
    told["no keys, smooth"] = told_by(ops.smooth, expression=2.0)
    fresh()
    _find("rig").data.bones["head"].name = "Kopf"
    told["no bone, smooth"] = told_by(ops.smooth, rotation=2.0)
    told["no bone, motion"] = told_by(ops.motion, to="CAMERA")
    fresh()
    bpy.data.objects.remove(_find("head"))
    told["no head, landmarks"] = told_by(ops.landmarks)
    told["no head, shape"] = told_by(ops.shape, to="ABSOLUTE")
    told["no head, file"] = told_by(ops.export_file, filepath="/nowhere/a.fbx", file_format="FBX")
    fresh()
    scene = bpy.context.scene
    mine = bpy.data.collections.new("Mine")
    scene.collection.children.link(mine)
    scene.mien.collection = mine
    for name in ("smooth", "next_unsure", "shape"):
        told[f"mine, {name}"] = told_by(getattr(ops, name))
    return told


def refined_after_edits(clip: str, connection: str, job_id: str) -> dict[str, Any]:
    """Solve again after a key was renamed, then without any keys: the rest follows."""
    preferences = bpy.context.preferences.addons[MODULE].preferences
    preferences.mode, preferences.address = "CONNECT", connection
    bpy.context.scene.mien.clip = bpy.data.movieclips.load(clip)
    bpy.ops.mien.track(job_id=job_id)
    told = {}
    refined = _mien("scene.refined")
    solve = _mien("scene.solve").load_solve(bpy.context.scene.mien.collection)

    def update() -> str:
        scene = bpy.context.scene
        shot = refined.shot_of(solve, scene.mien.collection.mien_refine.offset)
        shot.motion.translation[:] += 0.01
        update = refined.RefinedUpdate(
            scene, shot, scene.mien.clip, scene.mien.collection, has_model=False
        )
        update.finish()
        curve = _mien("scene.animation").find_curve(_find("rig"), 'pose.bones["neck"].location')
        return "" if curve is not None else "no curve"

    _find("head").data.shape_keys.key_blocks["jawOpen"].name = "Kiefer"
    told["renamed"] = update()
    _find("head").shape_key_clear()
    told["cleared"] = update()
    return told


def characters(track: str, clip: str, folder: str) -> dict[str, Any]:
    """Bake to characters of another file: what would be lost is refused, the rest is there."""
    bpy.ops.wm.read_homefile(use_empty=True)
    mesh = bpy.data.meshes.new("Character")
    mesh.from_pydata([(0, 0, 0), (1, 0, 0), (0, 1, 0)], [], [(0, 1, 2)])
    for name, data in (("Character", mesh), ("Bones", bpy.data.armatures.new("Bones"))):
        bpy.context.scene.collection.objects.link(bpy.data.objects.new(name, data))
    for name in ("Basis", "jawOpen"):
        bpy.data.objects["Character"].shape_key_add(name=name)
    source = str(Path(folder) / "character.blend")
    bpy.ops.wm.save_as_mainfile(filepath=source)
    found: dict[str, Any] = {}
    for kind in ("linked", "object", "mesh"):
        bpy.ops.wm.read_homefile(use_empty=True)
        bpy.ops.mien.import_track(filepath=track, clip_path=clip)
        scene = bpy.context.scene
        with bpy.data.libraries.load(source, link=True) as (_, wanted):
            wanted.objects = ["Character", "Bones"]
        character, bones = wanted.objects
        for item in wanted.objects:
            scene.collection.objects.link(item)
        if kind != "linked":
            character = character.override_create(remap_local_usages=True)
        if kind == "mesh":
            character.data = character.data.override_create(remap_local_usages=True)
        settings = scene.mien_retarget
        settings.target = character
        told = told_by(bpy.ops.mien.bake_to_character)
        path = str(Path(folder) / f"{kind}.blend")
        name = character.name
        settings.target = bones
        found[f"{kind}, bones"] = told_by(bpy.ops.mien.bake_to_character)
        empty = bpy.data.objects.new("Empty", None)
        settings.target = empty
        found["empty"] = told_by(bpy.ops.mien.bake_to_character)
        found["empty, match"] = told_by(bpy.ops.mien.match_keys)
        bpy.ops.wm.save_as_mainfile(filepath=path)
        bpy.ops.wm.open_mainfile(filepath=path)
        back = next(o for o in bpy.data.objects if o.name == name and (
            kind == "linked" or o.library is None))  # fmt: skip
        animation = back.data.shape_keys.animation_data
        kept = animation is not None and animation.action is not None
        found[kind] = {"told": told, "kept": kept}
    return found


def exports(track: str, clip: str, folder: str) -> dict[str, Any]:
    """Files into a folder that is not there yet, under a file, and of a result without a scene."""
    bpy.ops.mien.import_track(filepath=track, clip_path=clip)
    place, found = Path(folder), {}
    for kind, suffix in (("FBX", ".fbx"), ("GLTF", ".glb")):
        path = place / f"neuer Ordner é {kind}" / f"take{suffix}"
        told = told_by(bpy.ops.mien.export_file, filepath=str(path), file_format=kind)
        found[kind] = [told, path.is_file()]
    (place / "file").write_text("no folder", "utf-8")
    found["under a file"] = told_by(
        bpy.ops.mien.export_file, filepath=str(place / "file" / "take.fbx"), file_format="FBX"
    )
    (place / "taken.fbx").mkdir()
    found["taken"] = told_by(
        bpy.ops.mien.export_file, filepath=str(place / "taken.fbx"), file_format="FBX"
    )
    scene = bpy.context.scene
    scene.collection.children.unlink(scene.mien.collection)
    found["elsewhere"] = told_by(
        bpy.ops.mien.export_file, filepath=str(place / "take.fbx"), file_format="FBX"
    )
    return found


def kept_paths(track: str, clip: str, folder: str) -> dict[str, str]:
    """What a .blend keeps of files beside it, and of files elsewhere where that is not wanted."""
    bpy.ops.mien.import_track(filepath=track, clip_path=clip)
    beside = Path(folder) / "shot" / "plate.mp4"
    beside.parent.mkdir()
    beside.write_bytes(Path(clip).read_bytes())
    bpy.ops.wm.save_as_mainfile(filepath=str(Path(folder) / "shot.blend"))
    told = {"shape": told_by(bpy.ops.mien.shape, to="CACHE")}
    told["cache"] = _find("head").modifiers[0].filepath
    bpy.ops.mien.open_clip(filepath=str(beside))
    opened = bpy.context.scene.mien.clip
    told["clip"], told["size"] = opened.filepath, str(opened.size[:])
    told["job"] = _mien("operators.track").track_job(bpy.context.scene.mien).clip
    bpy.context.preferences.filepaths.use_relative_paths = False
    bpy.ops.mien.open_clip(filepath=str(beside))
    told["absolute"] = bpy.context.scene.mien.clip.filepath
    return told


def another_clip(track: str, clip: str, folder: str) -> dict[str, Any]:
    """What the panel says before a result of another clip is replaced, and what its button does."""
    from types import SimpleNamespace

    from panel_checks import in_layout, texts_of

    bpy.ops.mien.import_track(filepath=track, clip_path=clip)
    other = Path(folder) / "other.mp4"
    other.write_bytes(Path(clip).read_bytes())
    settings, panels = bpy.context.scene.mien, _mien("panels")

    def drawn(layout: Any) -> str:
        box = layout.box()
        panels._TrackPanel.draw(SimpleNamespace(layout=box), bpy.context)
        return " ".join(texts_of(box.introspect()))

    def states(layout: Any) -> dict[str, Any]:
        found: dict[str, Any] = {"same": drawn(layout)}
        settings.clip = bpy.data.movieclips.load(str(other))
        found["other"] = drawn(layout)
        bpy.ops.mien.new_result()
        found["new"] = drawn(layout)
        found["kept"] = [c.name for c in bpy.data.collections]
        return found

    in_layout(states)
    return {}


def wrong_clips(track: str, folder: str) -> dict[str, str]:
    """A folder, and a file that is not there, in place of a clip."""
    gone = str(Path(folder) / "gone.mp4")
    return {
        "folder": told_by(bpy.ops.mien.open_clip, filepath=folder),
        "gone": told_by(bpy.ops.mien.open_clip, filepath=gone),
        "import": told_by(bpy.ops.mien.import_track, filepath=track, clip_path=gone),
        "clip": str(bpy.context.scene.mien.clip),
        "objects": str(len(bpy.data.objects)),
    }
