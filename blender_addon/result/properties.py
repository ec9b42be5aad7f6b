# SPDX-License-Identifier: GPL-3.0-or-later
"""What the artist chooses for a result, after it was tracked; saved with its collection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, PointerProperty

from ..smoothing import Smoothing

MOTION_ITEMS = (
    ("HEAD", "Bones", "The bones of the rig move, the camera stands"),
    (
        "OBJECT",
        "Object",
        "The rig moves as an object, with eyes and neck still on its bones; the camera stands",
    ),
    ("CAMERA", "Camera", "The head stands still at the origin and the camera moves"),
)

SHAPE_ITEMS = (
    ("KEYS", "52 Keys", "The 52 ARKit shape keys with their curves, to be edited and retargeted"),
    (
        "ABSOLUTE",
        "Frames",
        "The exact shape of every frame as absolute shape keys, in the file; plays fastest",
    ),
    (
        "CACHE",
        "Cache",
        "The exact shape of every frame in a PC2 file beside the .blend, shown by a modifier",
    ),
)


_held: list[bool] = []


@contextmanager
def held() -> Iterator[None]:
    """Set several choices without the curves being made anew at each."""
    _held.append(True)
    try:
        yield
    finally:
        _held.pop()


def _update_curves(self: bpy.types.PropertyGroup, context: bpy.types.Context) -> None:
    from ..scene.motion import LostPart, update_curves
    from ..scene.solve import load_applied

    if _held:
        return
    try:
        update_curves(self.id_data)
    except LostPart as error:
        problem = str(error)
        with held():
            self.motion = load_applied(self.id_data).motion

        def draw(popup: bpy.types.UIPopupMenu, context: bpy.types.Context) -> None:
            popup.layout.label(text=problem)

        if not bpy.app.background:
            context.window_manager.popup_menu(draw, title="Mien", icon="ERROR")


def _width(name: str, description: str) -> FloatProperty:
    return FloatProperty(
        name=name,
        description=f"{description}, in frames to either side; 0 is the solve as it is. Keys that "
        "were edited by hand move along and stay edited",
        default=0.0,
        min=0.0,
        soft_max=10.0,
        max=200.0,
        step=10,
        precision=1,
        update=_update_curves,
    )


class MienResult(bpy.types.PropertyGroup):
    """Choices for one result."""

    motion: EnumProperty(
        name="Motion",
        description="What moves. Edits by hand of what moved before are lost",
        items=MOTION_ITEMS,
        default="HEAD",
        update=_update_curves,
    )
    shape: EnumProperty(
        name="Shape", description="What shapes the head in every frame", items=SHAPE_ITEMS
    )
    keys_mesh: PointerProperty(
        name="Mesh with Keys",
        description="The mesh with the 52 keys while another one is shown",
        type=bpy.types.Mesh,
        options={"HIDDEN"},
    )
    smooth_position: _width("Position", "Smooth where the head is")
    smooth_rotation: _width("Rotation", "Smooth how neck and head turn")
    smooth_expression: _width("Expression", "Smooth the shape keys and the eyes")
    smooth_focal: _width("Focal Length", "Smooth a focal length that changes")

    def smoothing(self) -> Smoothing:
        """Return the four widths."""
        return Smoothing(
            position=round(self.smooth_position, 4),
            rotation=round(self.smooth_rotation, 4),
            expression=round(self.smooth_expression, 4),
            focal=round(self.smooth_focal, 4),
        )


def register() -> None:
    """Add the choices to every collection."""
    bpy.utils.register_class(MienResult)
    bpy.types.Collection.mien_result = PointerProperty(type=MienResult)
    bpy.types.Scene.mien_show_strip = BoolProperty(
        name="Confidence Strip",
        description="Show over the time line how sure the solve is: red where to look, purple "
        "where no face was found",
        default=True,
    )


def unregister() -> None:
    """Take them away."""
    del bpy.types.Scene.mien_show_strip
    del bpy.types.Collection.mien_result
    bpy.utils.unregister_class(MienResult)
