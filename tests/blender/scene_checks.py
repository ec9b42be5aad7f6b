"""Checks of the scene, run inside Blender: figures go back to the tests, which judge them."""

from __future__ import annotations

import importlib
import threading
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from bpy_extras.object_utils import world_to_camera_view
from mathutils import Vector

EXPECTED_OBJECTS = {"Mien", "Mien Rig", "Mien Head", "Mien Camera"}


def _find(role: str) -> Any:
    return next(o for o in bpy.context.scene.mien.collection.all_objects if o["mien_role"] == role)


def _truth(track: str) -> Any:
    return np.load(Path(track).with_name("truth.npz"))


def _posed() -> np.ndarray:
    """Vertices (N, 3) of the head in the current frame, in the world."""
    graph = bpy.context.evaluated_depsgraph_get()
    head = _find("head").evaluated_get(graph)
    points = np.empty((len(head.data.vertices), 3), np.float32)
    head.data.vertices.foreach_get("co", points.ravel())
    world = np.array(head.matrix_world)
    return points @ world[:3, :3].T + world[:3, 3]


def _attribute(name: str) -> np.ndarray:
    graph = bpy.context.evaluated_depsgraph_get()
    attribute = _find("head").evaluated_get(graph).data.attributes[name]
    values = np.empty(len(attribute.data), np.float32)
    attribute.data.foreach_get("value", values)
    return values


def _in_pixels(point: np.ndarray) -> np.ndarray:
    """Where Blender's own projection puts a point of the world; pixel centres at integers."""
    scene = bpy.context.scene
    x, y, _ = world_to_camera_view(scene, scene.camera, Vector(point.tolist()))
    width, height = scene.render.resolution_x, scene.render.resolution_y
    return np.array([x * width - 0.5, (1.0 - y) * height - 0.5])


def _scene_facts() -> dict[str, Any]:
    scene = bpy.context.scene
    head, rig, camera = _find("head"), _find("rig"), _find("camera")
    keys = head.data.shape_keys
    backgrounds = camera.data.background_images
    return {
        "objects": sorted(o.name for o in bpy.data.objects),
        "data_blocks": {
            kind: len(getattr(bpy.data, kind))
            for kind in (
                "meshes", "armatures", "cameras", "materials", "images", "actions",
                "node_groups", "collections", "movieclips", "shape_keys",
            )
        },
        "modifiers": [m.type for m in head.modifiers],
        "keys": [block.name for block in keys.key_blocks],
        "frames": [scene.frame_start, scene.frame_end],
        "rate": scene.render.fps / scene.render.fps_base,
        "resolution": [scene.render.resolution_x, scene.render.resolution_y],
        "view_transform": scene.view_settings.view_transform,
        "is_scene_camera": scene.camera == camera,
        "lens_px": camera.data.lens / camera.data.sensor_width * max(
            scene.render.resolution_x, scene.render.resolution_y
        ),
        "backgrounds": [b.clip.name if b.clip else None for b in backgrounds],
        "shows_background": camera.data.show_background_images,
        "clip_lens_px": [
            c.tracking.camera.focal_length / c.tracking.camera.sensor_width * c.size[0]
            for c in bpy.data.movieclips
        ],
        "rig_bones": [bone.name for bone in rig.data.bones],
    }  # fmt: skip


def _alignment(track: str, offset: int) -> dict[str, float]:
    """Largest differences between the scene and the truth over all frames."""
    truth = _truth(track)
    # The axes that shared/conventions.py describes, written down a second time.
    expected = np.stack(
        [truth["vertices"][..., 0], truth["vertices"][..., 2], -truth["vertices"][..., 1]], -1
    )
    worst_m = worst_px = worst_weight = worst_visible = 0.0
    blocks = _find("head").data.shape_keys.key_blocks
    for number in range(len(expected)):
        bpy.context.scene.frame_set(number + offset)
        posed = _posed()
        worst_m = max(worst_m, float(np.abs(posed - expected[number]).max()))
        points = (posed[truth["corners"]] * truth["barycentric"][..., None]).sum(1)
        pixels = np.array([_in_pixels(point) for point in points])
        worst_px = max(worst_px, float(np.abs(pixels - truth["points_2d"][number]).max()))
        weights = np.array([block.value for block in blocks[1:]])
        difference = np.abs(weights - truth["expression"][number]).max()
        worst_weight = max(worst_weight, float(difference))
        visible = np.abs(_attribute("mien_visible") - truth["visibility"][number]).max()
        worst_visible = max(worst_visible, float(visible))
    seen = np.abs(_attribute("mien_seen") - truth["visibility"].mean(0)).max()
    return {
        "vertices_mm": 1e3 * worst_m,
        "landmarks_px": worst_px,
        "weights": worst_weight,
        "visible": worst_visible,
        "seen": float(seen),
    }


def import_track(track: str, clip: str, offset: int) -> dict[str, Any]:
    """Import a track with its clip."""
    assert bpy.ops.mien.import_track(filepath=track, clip_path=clip) == {"FINISHED"}
    return _scene_facts() | _alignment(track, offset)


def import_without_clip(track: str, offset: int, blend: str) -> dict[str, Any]:
    """Import a track alone, save, load, and look again."""
    assert bpy.ops.mien.import_track(filepath=track) == {"FINISHED"}
    bpy.ops.wm.save_as_mainfile(filepath=blend, compress=True)
    bpy.ops.wm.open_mainfile(filepath=blend)
    return _scene_facts() | _alignment(track, offset)


def texture(track: str) -> dict[str, Any]:
    """Return how the texture differs from the track's, and how the material is linked."""
    bpy.ops.mien.import_track(filepath=track)
    expected = np.load(track)["texture"]
    material = _find("head").data.materials[0]
    node = material.node_tree.nodes["Mien Texture"]
    image = node.image
    feeds = set()
    ways = [node]
    while ways:
        for link in (one for out in ways.pop().outputs for one in out.links):
            feeds.add(link.to_node.type)
            if link.to_node.type == "MIX":
                ways.append(link.to_node)
    pixels = np.empty(image.size[0] * image.size[1] * 4, np.float32)
    image.pixels.foreach_get(pixels)
    stored = np.rint(pixels.reshape(image.size[1], image.size[0], 4)[::-1] * 255)
    return {
        "difference": float(np.abs(stored - expected).max()),
        "packed": image.packed_file is not None,
        "feeds": sorted(feeds - {"MIX"}),
        "colour_space": image.colorspace_settings.name,
    }


def rerun(first: str, second: str, clip: str, offset: int) -> dict[str, Any]:
    """Import one track, then another over it, with changes by hand in between."""
    bpy.ops.mien.import_track(filepath=first, clip_path=clip)
    before = _scene_facts()
    head = _find("head")
    head.name = "Renamed By Hand"
    head.modifiers.new("Smooth", "SMOOTH").factor = 0.0
    _find("origin").location = (0.0, 0.0, 0.0)
    bpy.data.materials[0].diffuse_color = (1.0, 0.0, 0.0, 1.0)
    bpy.ops.mien.import_track(filepath=second, clip_path=clip)
    after = _scene_facts()
    return {
        "before": before,
        "after": after,
        "alignment": _alignment(second, offset),
        "colour": list(bpy.data.materials[0].diffuse_color),
        "mode": bpy.context.mode,
    }


def rerun_in_sculpt_mode(first: str, second: str) -> dict[str, Any]:
    """Import over a head that is being edited, with the rig hidden."""
    bpy.ops.mien.import_track(filepath=first)
    head, rig = _find("head"), _find("rig")
    bpy.context.view_layer.objects.active = head
    head.select_set(True)
    rig.hide_set(True)
    bpy.ops.object.mode_set(mode="SCULPT")
    bpy.ops.mien.import_track(filepath=second)
    return {
        "mode": bpy.context.mode,
        "active": bpy.context.view_layer.objects.active.name,
        "selected": [o.name for o in bpy.context.selected_objects],
        "rig_hidden": rig.hide_get(),
        "alignment": _alignment(second, 3),
    }


def rerun_hidden(first: str, second: str) -> dict[str, Any]:
    """Import over a head whose rig was deleted and whose collection is excluded and hidden."""
    bpy.ops.mien.import_track(filepath=first)
    collection = bpy.context.scene.mien.collection
    bpy.data.objects.remove(_find("rig"))
    entry = bpy.context.view_layer.layer_collection.children[collection.name]
    collection.hide_viewport = entry.exclude = True
    bpy.ops.mien.import_track(filepath=second)
    entry = bpy.context.view_layer.layer_collection.children[collection.name]
    left = [collection.hide_viewport, entry.exclude]
    collection.hide_viewport = entry.exclude = False
    return {
        "left": left,
        "modifiers": [m.type for m in _find("head").modifiers],
        "alignment": _alignment(second, 3),
    }


def rerun_in_other_scene(first: str, second: str) -> dict[str, Any]:
    """Results arrive for a scene that is not the one in the window."""
    bpy.ops.mien.import_track(filepath=first)
    scene = bpy.context.scene
    bpy.ops.scene.new(type="EMPTY")
    other = bpy.context.scene
    assert other != scene
    package = "bl_ext.user_default.mien"
    build = importlib.import_module(f"{package}.scene.build")
    read_track = importlib.import_module(f"{package}.shot").read_track
    build.update_scene(scene, read_track(second), None, scene.mien.collection)
    result: dict[str, Any] = {"still": bpy.context.scene == other, "objects": len(other.objects)}
    bpy.context.window.scene = scene
    return result | {"alignment": _alignment(second, 3)}


def undo(first: str, second: str) -> dict[str, Any]:
    """Import, import over it, undo twice, redo."""
    states = []

    def note() -> None:
        collection = bpy.context.scene.mien.collection
        frames = 0
        if collection is not None:
            animation = _find("rig").animation_data.action
            frames = int(animation.frame_range[1] - animation.frame_range[0]) + 1
        states.append([len(bpy.data.objects), frames])

    bpy.ops.ed.undo_push(message="Start")
    note()
    bpy.ops.mien.import_track("EXEC_DEFAULT", True, filepath=first)
    note()
    bpy.ops.mien.import_track("EXEC_DEFAULT", True, filepath=second)
    note()
    bpy.ops.ed.undo()
    note()
    bpy.ops.ed.undo()
    note()
    bpy.ops.ed.redo()
    note()
    return {"states": states}


def beside_threads(track: str) -> dict[str, Any]:
    """Change modes while another thread runs Python, then in a scene that is not the window's."""
    bpy.ops.mien.import_track(filepath=track)
    modes = importlib.import_module("bl_ext.user_default.mien.scene.modes")
    png = importlib.import_module("bl_ext.user_default.mien.png")
    ended = threading.Event()

    def work() -> None:
        while not ended.is_set():
            [str(number) for number in range(200)]

    thread = threading.Thread(target=work)
    thread.start()
    scene, rig, changes = bpy.context.scene, _find("rig"), 0
    try:
        for _ in range(400):
            with modes.object_mode(scene), modes.edit_mode(rig):
                changes += rig.mode == "EDIT"
    finally:
        ended.set()
        thread.join()
    made = png.later(lambda: 3)
    with modes.object_mode(bpy.data.scenes.new("Other")):
        left = [t.name for t in threading.enumerate() if t.name.startswith("mien-png")]
    return {"changes": changes, "left": left, "made": made.result(0.0)}


def damaged(track: str, folder: str) -> list[str]:
    """Import files that are no tracks; returns what the artist is told."""
    data = Path(track).read_bytes()
    cases = {"short.npz": data[: len(data) // 2], "text.npz": b"hello", "empty.npz": b""}
    told = []
    for name, content in cases.items():
        path = Path(folder) / name
        path.write_bytes(content)
        told.append(_refused(str(path)))
    told.append(_refused(str(Path(folder) / "missing.npz")))
    assert not bpy.data.objects and not bpy.data.meshes
    return told


def _refused(path: str) -> str:
    try:
        bpy.ops.mien.import_track(filepath=path)
    except RuntimeError as error:
        return str(error)
    raise AssertionError(f"{path} was imported")


def import_portrait(track: str) -> dict[str, Any]:
    """Import a track of an upright clip, taller than it is wide."""
    bpy.ops.mien.import_track(filepath=track)
    return _scene_facts() | _alignment(track, 3)


def shading(track: str, folder: str) -> dict[str, Any]:
    """Render what the camera sees, then a sequence; fill the group; use the shot's light."""
    scene = bpy.context.scene
    bpy.ops.mien.import_track(filepath=track)
    head = _find("head")
    nodes = head.data.materials[0].node_tree.nodes
    scene.render.engine = "CYCLES"
    scene.cycles.samples, scene.cycles.use_denoising = 1, False
    scene.render.resolution_x, scene.render.resolution_y = 160, 90
    scene.render.film_transparent = True
    scene.render.filter_size = 0.01
    scene.render.image_settings.file_format = "OPEN_EXR"
    scene.render.use_persistent_data = False

    def render(name: str) -> np.ndarray:
        path = str(Path(folder) / f"{name}.exr")
        scene.render.filepath = path
        bpy.ops.render.render(write_still=True)
        image = bpy.data.images.load(path)
        pixels = np.empty(image.size[0] * image.size[1] * 4, np.float32)
        image.pixels.foreach_get(pixels)
        return pixels.reshape(image.size[1], image.size[0], 4)

    # The image of the visibility alone changes from frame to frame: the pose does not.
    for block in (head.data.shape_keys, _find("rig")):
        block.animation_data_clear()
    nodes["Mien Show Visible"].outputs[0].default_value = 1.0
    first = scene.frame_start
    means = []
    for frame in (first, first + 1):
        scene.frame_set(frame)
        means.append(float(render(f"visible{frame}")[..., 0].mean()))
    nodes["Mien Show Visible"].outputs[0].default_value = 0.0
    bpy.ops.mien.load_sequence(filepath=str(Path(folder) / f"texture.{first:04d}.png"))
    shown = []
    for frame in (first, first + 1):
        scene.frame_set(frame)
        pixels = render(f"sequence{frame}")
        shown.append(pixels[pixels[..., 3] > 0.99][:, :3].mean(0).tolist())
    seen = np.load(track)["visibility"].mean(0)
    counts = []
    for percent in (20.0, 100.0):
        bpy.ops.mien.seen_group(percent=percent)
        group = head.vertex_groups["Mien Seen"].index
        held = [any(g.group == group for g in v.groups) for v in head.data.vertices]
        counts.append([int(sum(held)), int((seen >= percent / 100 - 1e-6).sum())])
    bpy.ops.mien.shot_light()
    return {
        "visible": means,
        "sequence": shown,
        "groups": counts,
        "world": scene.world.name,
        "light": scene.world.node_tree.nodes["Mien Light"].image is not None,
        "uses_albedo": nodes["Mien Use Albedo"].outputs[0].default_value,
    }
