"""Pictures of a real window: an area, a sidebar with one panel, another window."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import bpy

FOLDER = Path(__file__).resolve().parent / "pictures"
SETTLE_S = 1.2
"""Time in which Blender draws what was changed; software GL is slow."""

Box = tuple[int, int, int, int]
taken: dict[str, Box] = {}
"""Names of the pictures, each with left, upper, right and lower edge of what matters."""


def screenshot(name: str, box: Box | None) -> None:
    """Write the screen to a file, and note what matters of it."""
    FOLDER.mkdir(exist_ok=True)
    subprocess.run(["scrot", "-o", str(FOLDER / f"{name}.png")], check=True)
    window = main_window()
    taken[name] = box or (0, 0, window.width, window.height)


def box_of(thing: Any, window: Any, lower: int = 0) -> Box:
    """Return the place of an area or a region on the screen; lower cuts that much off below."""
    height = window.height
    left, top = window.x + thing.x, height - thing.y - thing.height
    return (left, top, left + thing.width, top + thing.height - lower)


def main_window() -> Any:
    """Return the first window."""
    return bpy.context.window_manager.windows[0]


def area_of(kind: str) -> Any:
    """Return the largest area of a kind in the first window."""
    areas = [a for a in main_window().screen.areas if a.type == kind]
    return max(areas, key=lambda a: a.width * a.height)


def region_of(area: Any, kind: str) -> Any:
    """Return a region of an area."""
    return next(r for r in area.regions if r.type == kind)


def in_area(area: Any, region: str = "WINDOW") -> Any:
    """Return an override with which operators run in an area."""
    return bpy.context.temp_override(
        window=main_window(), screen=main_window().screen, area=area, region=region_of(area, region)
    )


def open_tab(area: Any, tab: str = "Mien") -> None:
    """Show the sidebar with a tab; a new one has its tabs when it has been drawn."""
    area.spaces.active.show_region_ui = True
    with suppress(AttributeError):  # Read-only so far.
        region_of(area, "UI").active_panel_category = tab
    area.tag_redraw()


def mien_panels(space: str) -> list[Any]:
    """Return Mien's panels in a kind of editor, in their order."""
    found = bpy.types.Panel.__subclasses__()
    names = [n for n in dir(bpy.types) if n.startswith("MIEN_PT")]
    order = {cls: number for number, cls in enumerate(found)}
    panels = [getattr(bpy.types, n) for n in names]
    return sorted(
        (p for p in panels if p.bl_space_type == space), key=lambda p: order.get(p, 10_000)
    )


@contextmanager
def only(space: str, label: str) -> Iterator[None]:
    """Show one of Mien's panels alone and open, with what belongs below it."""
    panels = mien_panels(space)
    wanted = [p for p in panels if p.bl_label == label and not getattr(p, "bl_parent_id", "")]
    if not wanted:
        raise LookupError(f"no panel {label!r} in {space}: {[p.bl_label for p in panels]}")
    names = {p.bl_rna.identifier for p in wanted}
    below = [p for p in panels if getattr(p, "bl_parent_id", "") in names]
    parents = [p for p in panels if not getattr(p, "bl_parent_id", "")]
    children = [p for p in panels if getattr(p, "bl_parent_id", "")]
    for panel in (*children, *parents):
        bpy.utils.unregister_class(panel)
    shown = []
    for panel in (*wanted, *below):
        # Another name: Blender remembers which panels were closed.
        parent = getattr(panel, "bl_parent_id", "")
        content = {"bl_idname": f"{panel.__name__}_open", "bl_options": set()}
        if parent:
            content["bl_parent_id"] = f"{parent}_open"
        copy = type(f"{panel.__name__}_open", (panel,), content)
        bpy.utils.register_class(copy)
        shown.append(copy)
    try:
        yield
    finally:
        for copy in reversed(shown):
            bpy.utils.unregister_class(copy)
        for panel in (*parents, *children):
            bpy.utils.register_class(panel)


def panel_picture(name: str, space: str, label: str) -> Iterator[float]:
    """Take a picture of a panel in the sidebar of the largest editor of a kind."""
    area = area_of(space)
    open_tab(area)
    with only(space, label):
        open_tab(area)
        yield SETTLE_S
        open_tab(area)
        yield SETTLE_S
        screenshot(name, box_of(region_of(area, "UI"), main_window()))
    yield 0.2


def key(*names: str) -> None:
    """Press keys, as a person would."""
    subprocess.run(["xdotool", "key", *names], check=True)


def mouse(x: int, y: int, *then: str) -> None:
    """Move the pointer to a place of the screen, from its upper left, and do more."""
    subprocess.run(["xdotool", "mousemove", str(x), str(y), *then], check=True)
