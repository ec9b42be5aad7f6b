"""What is done in the window, step by step, and which pictures are taken."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from pictures import (
    SETTLE_S,
    area_of,
    box_of,
    in_area,
    key,
    main_window,
    mouse,
    only,
    open_tab,
    panel_picture,
    region_of,
    screenshot,
)

MODULE = "bl_ext.user_default.mien"
NOSE_TIP = 30
"""Index of the landmark in the 68 points of iBUG."""
OVERLAYS = (
    "show_bones", "show_extras", "show_floor", "show_axis_x", "show_axis_y",
    "show_outline_selected", "show_relationship_lines", "show_text", "show_cursor",
    "show_object_origins",
)  # fmt: skip
"""What a picture of the result alone does not show; the clip is an overlay, too."""
Step = Iterator[Any]
Tell = Callable[[str], None]


def mien(name: str) -> Any:
    """Import a module of the installed add-on."""
    return importlib.import_module(f"{MODULE}.{name}")


def preferences() -> Any:
    """Return Mien's preferences."""
    return bpy.context.preferences.addons[MODULE].preferences


def all_steps(settings: dict[str, Any], tell: Tell) -> Iterator[tuple[str, Step]]:
    """Yield the name of every step and the step."""
    yield "install", install(settings, tell)
    yield "first", first(settings, tell)
    if "wheels" in settings:
        yield "backend", backend(settings, tell)
    else:
        yield "connect", connect(settings, tell)
    yield "preview", track(tell, "preview")
    yield "final", track(tell, "final")
    yield "panels", panels(tell)
    yield "clip", clip_editor(tell)
    yield "pin", pin(tell)
    yield "character", character(tell)
    yield "live", live(settings, tell)
    yield "failure", failure(settings, tell)
    yield "save", save(settings, tell)


def install(settings: dict[str, Any], tell: Tell) -> Step:
    """Install the zip."""
    yield 1.0
    window = main_window()
    with bpy.context.temp_override(window=window):
        bpy.ops.extensions.package_install_files(
            filepath=f"{settings['folder']}/mien.zip", repo="user_default",
            enable_on_install=True, overwrite=True,
        )  # fmt: skip
    assert MODULE in bpy.context.preferences.addons, "the extension is not enabled"
    tell(f"installed in Blender {bpy.app.version_string}")
    yield 0.5


def first(settings: dict[str, Any], tell: Tell) -> Step:
    """What somebody sees first: the panel, the preferences, what an installation asks."""
    area = area_of("VIEW_3D")
    open_tab(area)
    yield SETTLE_S
    open_tab(area)
    yield SETTLE_S
    screenshot("first_window", None)
    screenshot("first_panel", box_of(region_of(area, "UI"), main_window()))
    yield from preferences_picture("first_preferences")
    with in_area(area):
        bpy.ops.mien.install_backend("INVOKE_DEFAULT")
    yield SETTLE_S
    yield SETTLE_S
    screenshot("first_dialog", None)
    key("Escape")
    yield SETTLE_S


def preferences_picture(name: str) -> Step:
    """Take a picture of Mien's preferences."""
    with bpy.context.temp_override(window=main_window()):
        bpy.ops.screen.userpref_show()
    yield SETTLE_S
    window = bpy.context.window_manager.windows[-1]
    with bpy.context.temp_override(window=window, area=window.screen.areas[0]):
        bpy.ops.preferences.addon_show(module=MODULE)
    yield SETTLE_S
    window.screen.areas[0].tag_redraw()
    yield SETTLE_S
    screenshot(name, None)
    with bpy.context.temp_override(window=window):
        bpy.ops.wm.window_close()
    yield 0.5


def backend(settings: dict[str, Any], tell: Tell) -> Step:
    """Install the backend by its button, from a folder of wheels, and wait for its check."""
    addon, runtime = preferences(), mien("runtime").runtime
    addon.mode, addon.wheel_folder = "LOCAL", settings["wheels"]
    addon.python = settings["python"]
    if mien("backend_process").is_installed():
        tell("kept from an earlier run")
        yield from check(tell)
        return
    area = area_of("VIEW_3D")
    began = time.monotonic()
    with in_area(area):
        assert bpy.ops.mien.install_backend(compute="cpu") == {"FINISHED"}
    is_half = lambda: runtime.installation.fraction > 0.4 or runtime.installation.is_finished  # noqa: E731
    yield is_half
    screenshot("install_panel", box_of(region_of(area, "UI"), main_window()))
    yield from preferences_picture("install_preferences")
    yield lambda: runtime.installation.is_finished
    assert runtime.installation.error is None, runtime.installation.error
    tell(f"the backend was installed in {time.monotonic() - began:.0f} s")
    yield from checked(tell)


def connect(settings: dict[str, Any], tell: Tell) -> Step:
    """Connect to the backend that runs outside, and check it."""
    addon = preferences()
    addon.mode, addon.address = "CONNECT", f"{settings['folder']}/connection.json"
    yield from check(tell)


def check(tell: Tell) -> Step:
    """Press Check."""
    assert bpy.ops.mien.check_backend() == {"FINISHED"}
    yield from checked(tell)


def checked(tell: Tell) -> Step:
    """Wait for what the check says, and show it in the preferences."""
    runtime, addon = mien("runtime").runtime, preferences()
    yield lambda: runtime.check is not None and runtime.check.is_finished
    assert runtime.check.problem is None, runtime.check.problem
    yield 1.0
    tell(f"it computes on {mien('first.facts').known_device(bpy.context)}")
    # For the picture, as most people see it.
    addon.python = addon.wheel_folder = ""
    yield from preferences_picture("checked_preferences")


def track(tell: Tell, quality: str) -> Step:
    """Press Try It, and look while it goes and when it is done."""
    runtime, area = mien("runtime").runtime, area_of("VIEW_3D")
    before = runtime.run
    began = time.monotonic()
    with in_area(area):
        bpy.ops.mien.try_it("INVOKE_DEFAULT", quality=quality)
    yield lambda: runtime.run is not None and runtime.run is not before
    run = runtime.run
    stage = "Fitting" if quality == "final" else "Finding"
    yield lambda: run.is_finished or run.status.startswith(stage)
    yield 1.0
    screenshot(f"{quality}_running", None)
    yield lambda: run.is_finished
    assert run.problem is None, run.problem
    tell(f"{run.summary} {time.monotonic() - began:.0f} s")
    with in_area(area):
        assert area.spaces.active.region_3d.view_perspective == "CAMERA"
        area.spaces.active.shading.type = "MATERIAL" if quality == "final" else "SOLID"
    bpy.context.scene.frame_set(20)
    yield 4.0 if quality == "final" else SETTLE_S
    open_tab(area)
    yield SETTLE_S
    screenshot(f"{quality}_done", None)
    screenshot(f"{quality}_panel", box_of(region_of(area, "UI"), main_window()))
    space = area.spaces.active
    space.show_region_ui = space.show_region_toolbar = space.show_gizmo = False
    kept = {name: getattr(space.overlay, name) for name in OVERLAYS}
    for name in OVERLAYS:
        setattr(space.overlay, name, False)
    yield SETTLE_S
    with in_area(area):
        bpy.ops.view3d.view_center_camera()
    yield 4.0 if quality == "final" else SETTLE_S
    screenshot(f"{quality}_view", box_of(region_of(area, "WINDOW"), main_window()))
    space.show_region_ui = space.show_region_toolbar = space.show_gizmo = True
    for name, value in kept.items():
        setattr(space.overlay, name, value)
    yield 0.2


def panels(tell: Tell) -> Step:
    """Every panel of the 3D view's sidebar by itself, in a higher editor."""
    area = area_of("VIEW_3D")
    area.spaces.active.shading.type = "SOLID"
    with in_area(area):
        bpy.ops.screen.screen_full_area(use_hide_panels=False)
    yield SETTLE_S
    import pictures

    labels = [p.bl_label for p in pictures.mien_panels("VIEW_3D") if not _parent(p)]
    tell(f"panels of the 3D view: {', '.join(labels)}")
    for label in labels:
        yield from panel_picture(f"panel_{_file_name(label)}", "VIEW_3D", label)
    open_tab(area_of("VIEW_3D"))
    yield SETTLE_S
    screenshot("all_panels", box_of(region_of(area_of("VIEW_3D"), "UI"), main_window()))
    with in_area(area_of("VIEW_3D")):
        bpy.ops.screen.back_to_previous()
    yield SETTLE_S


def clip_editor(tell: Tell) -> Step:
    """The same in the Movie Clip Editor, and the strip of confidence."""
    area = area_of("VIEW_3D")
    area.type = "CLIP_EDITOR"
    yield SETTLE_S
    space = area.spaces.active
    space.clip, space.mode, space.view = bpy.context.scene.mien.clip, "TRACKING", "CLIP"
    open_tab(area)
    yield SETTLE_S
    with in_area(area):
        bpy.ops.clip.view_all(fit_view=True)
    open_tab(area)
    yield SETTLE_S
    screenshot("clip_editor", None)
    with in_area(area):
        bpy.ops.screen.screen_full_area(use_hide_panels=False)
    yield SETTLE_S
    import pictures

    labels = [p.bl_label for p in pictures.mien_panels("CLIP_EDITOR") if not _parent(p)]
    tell(f"panels of the Clip Editor: {', '.join(labels)}")
    for label in labels:
        yield from panel_picture(f"clip_{_file_name(label)}", "CLIP_EDITOR", label)
    with in_area(area_of("CLIP_EDITOR")):
        bpy.ops.screen.back_to_previous()
    yield SETTLE_S


def pin(tell: Tell) -> Step:
    """Drag the nose's tip in the Clip Editor, where this Mien has pins, and wait for the solve."""
    yield 0.1
    if not hasattr(bpy.types, "MIEN_OT_pin"):
        tell("skipped: this Mien has no pins")
        return
    scene, area = bpy.context.scene, area_of("CLIP_EDITOR")
    collection = scene.mien.collection
    picture, refine_run = mien("refine.picture"), mien("refine.run")
    scene.mien_show_pins, scene.mien_pin_layout = True, "68"
    with in_area(area):
        bpy.ops.clip.change_frame(frame=30)
    area.tag_redraw()
    yield SETTLE_S
    with in_area(area):
        view = picture.clip_view(bpy.context)
        assert view is not None, "the editor does not show the clip"
        pixels, _ = picture.landmark_pixels(collection, bpy.context.evaluated_depsgraph_get(), 68)
    region, height = region_of(area, "WINDOW"), main_window().height
    place = view.to_region(pixels[NOSE_TIP])
    x, y = int(region.x + place[0]), int(height - region.y - place[1])
    mouse(x, y)
    yield SETTLE_S
    screenshot("pins_shown", None)
    mouse(x, y, "mousedown", "1")
    yield 0.6
    for step in range(1, 7):
        mouse(x + 2 * step, y - step)
        yield 0.3
    screenshot("pin_dragged", None)
    began = time.monotonic()
    mouse(x + 12, y - 6, "mouseup", "1")
    yield lambda: len(collection.mien_refine.pins) == 1
    yield lambda: refine_run.current_run() is not None and refine_run.current_run().is_finished
    run = refine_run.current_run()
    assert run.problem is None, run.problem
    tell(f"{run.outcome} {time.monotonic() - began:.1f} s after the mouse was released")
    yield SETTLE_S
    open_tab(area)
    screenshot("pin_solved", None)
    moved = np.abs(
        picture.landmark_pixels(collection, bpy.context.evaluated_depsgraph_get(), 68)[0] - pixels
    )[NOSE_TIP].max()
    assert moved > 0.3, f"the nose's tip has moved by {moved:.2f} pixels"
    tell(f"the nose's tip has moved by {moved:.1f} pixels")


def character(tell: Tell) -> Step:
    """Give the performance to a character with keys named as ARKit's."""
    area = area_of("CLIP_EDITOR")
    area.type = "VIEW_3D"
    yield SETTLE_S
    names = mien("shared.arkit").EXPRESSION_NAMES
    with in_area(area):
        bpy.ops.mesh.primitive_uv_sphere_add(radius=0.1, location=(0.3, 0.4, 0.0))
    target = bpy.context.object
    target.name = "Character"
    target.shape_key_add(name="Basis")
    for number, name in enumerate(names):
        block = target.shape_key_add(name=name[0].upper() + name[1:])
        for vertex in block.data:
            if number % 2 == (vertex.co.z > 0):
                vertex.co.z *= 1.0 + 0.3 * (number + 1) / len(names)
    settings = bpy.context.scene.mien_retarget
    settings.target = target
    with in_area(area):
        assert bpy.ops.mien.match_keys() == {"FINISHED"}
        assert bpy.ops.mien.bake_to_character() == {"FINISHED"}
    keys = target.data.shape_keys
    values = []
    for frame in (5, 20, 40, 55):
        bpy.context.scene.frame_set(frame)
        values.append([round(block.value, 4) for block in keys.key_blocks[1:]])
    moved = sum(len({v[k] for v in values}) > 1 for k in range(len(names)))
    assert moved > 10, f"only {moved} keys of the character move"
    tell(f"{len(settings.drives)} expressions matched, {moved} of the character's keys move")
    open_tab(area)
    with in_area(area):
        bpy.ops.screen.screen_full_area(use_hide_panels=False)
    yield SETTLE_S
    yield from panel_picture("character", "VIEW_3D", "To Rigs")
    with in_area(area_of("VIEW_3D")):
        bpy.ops.screen.back_to_previous()
    yield SETTLE_S


def live(settings: dict[str, Any], tell: Tell) -> Step:
    """Follow the sample live where the backend is on this computer."""
    yield 0.1
    if "wheels" not in settings:
        tell("skipped: live tracking asks for a backend that is installed where Blender is")
        return
    scene, area = bpy.context.scene, area_of("VIEW_3D")
    scene.mien_live.source = scene.mien.clip.filepath
    operators = mien("live.operators")
    open_tab(area)
    with only("VIEW_3D", "Live"):
        yield SETTLE_S
        assert bpy.ops.mien.live() == {"FINISHED"}
        assert bpy.ops.mien.live_record() == {"FINISHED"}
        run = operators.live_run()
        yield lambda: run.is_finished or run.stream.frames > 2
        open_tab(area)
        yield 0.4
        screenshot("live", box_of(region_of(area, "UI"), main_window()))
        tell(run.status)
        yield lambda: run.is_finished
    assert not run.error, run.error
    rig = next(o for o in scene.mien_live.collection.objects if o.type == "ARMATURE")
    first, last = rig.animation_data.action.frame_range
    assert last - first > 10, "nothing was recorded"
    tell(f"frames {first:.0f} to {last:.0f} were recorded")
    area.tag_redraw()
    yield SETTLE_S


def failure(settings: dict[str, Any], tell: Tell) -> Step:
    """What is said when it does not work, and the report that can be copied."""
    runtime, addon, area = mien("runtime").runtime, preferences(), area_of("VIEW_3D")
    kept = addon.mode, addon.backend_path
    if addon.mode == "LOCAL":
        bpy.ops.mien.stop_backend()
    scene = bpy.context.scene
    scene.mien.person = f"{settings['folder']}/nobody.npz"
    before = runtime.run
    with in_area(area):
        bpy.ops.mien.track("INVOKE_DEFAULT")
    yield lambda: runtime.run is not before and runtime.run.is_finished
    assert runtime.run.problem is not None, "a person whose file is missing was tracked"
    yield from panel_picture("failure_panel", "VIEW_3D", "Track")
    window = bpy.context.window_manager
    with in_area(area):
        assert bpy.ops.mien.copy_report() == {"FINISHED"}
    text = window.clipboard
    assert text.startswith("# Mien report") and "problem:" in text, text[:200]
    (Path(settings["folder"]) / "report.md").write_text(text, "utf-8")
    tell(f"the report on the clipboard has {len(text.splitlines())} lines")
    scene.mien.person = ""
    addon.mode, addon.backend_path = kept


def save(settings: dict[str, Any], tell: Tell) -> Step:
    """Save, and open what was saved."""
    path = f"{settings['folder']}/shot.blend"
    bpy.ops.wm.save_as_mainfile(filepath=path, compress=True)
    tell(f"saved {Path(path).stat().st_size / 1e6:.1f} MB")
    yield 1.0


def _parent(panel: Any) -> str:
    return str(getattr(panel, "bl_parent_id", ""))


def _file_name(label: str) -> str:
    return label.lower().replace(" ", "_")
