# SPDX-License-Identifier: GPL-3.0-or-later
"""The artist's hand over a result: what is set for its next solve; saved with its collection."""

from __future__ import annotations

from typing import Any

import bpy
from bpy.props import (
    BoolProperty,
    CollectionProperty,
    EnumProperty,
    FloatProperty,
    FloatVectorProperty,
    IntProperty,
    PointerProperty,
    StringProperty,
)

from ..scene.datablocks import find_object
from ..shared.arkit import EXPRESSION_NAMES
from ..translations import CONTEXT
from .layout import label

SIGMA_PX = 0.5


def _sigma() -> Any:
    return FloatProperty(
        name="Deviation",
        description="How exactly the pin was set, as a standard deviation in pixels of the clip: "
        "small for a pin that holds, large for one that only pulls",
        default=SIGMA_PX,
        min=0.05,
        soft_max=20.0,
        max=1000.0,
        precision=2,
        subtype="PIXEL",
    )


class MienPin(bpy.types.PropertyGroup):
    """A landmark that was set by hand in a frame."""

    landmark: StringProperty(
        name="Landmark",
        description='Such as "ibug68/30", the nose\'s tip',
        options={"HIDDEN"},
    )
    frame: IntProperty(
        name="Frame",
        description="Frame of the scene",
        subtype="TIME",
        options={"HIDDEN"},
    )
    x: FloatProperty(
        name="X",
        description="Pixels from the left of the upright picture",
        subtype="PIXEL",
        options={"HIDDEN"},
    )
    y: FloatProperty(
        name="Y",
        description="Pixels from the top of the upright picture",
        subtype="PIXEL",
        options={"HIDDEN"},
    )
    camera: IntProperty(
        name="Camera",
        description="Which camera's picture; 0 is the first clip",
        min=0,
        options={"HIDDEN"},
    )
    sigma: _sigma()

    @property
    def title(self) -> str:
        """Its landmark's name for a person."""
        return label(self.landmark)


class MienFrames(bpy.types.PropertyGroup):
    """Frames from one to another, both included."""

    start: IntProperty(name="Start", description="First frame of the scene", subtype="TIME")
    end: IntProperty(name="End", description="Last frame of the scene, included", subtype="TIME")


def current_value(collection: bpy.types.Collection, name: str) -> float:
    """Return what an expression is at in the current frame; 0 where there is none."""
    head = find_object(collection, "head")
    mesh = collection.mien_result.keys_mesh or (None if head is None else head.data)
    keys = None if mesh is None else mesh.shape_keys
    block = None if keys is None else keys.key_blocks.get(name)
    return 0.0 if block is None else float(block.value)


def _hold_value(self: bpy.types.PropertyGroup, context: bpy.types.Context) -> None:
    if self.lock:
        self.value = current_value(self.id_data, self.name)


class MienLimit(bpy.types.PropertyGroup):
    """The range of an expression, by its ARKit name."""

    use: BoolProperty(
        name="Limit", description="Keep the expression in this range in all frames", default=False
    )
    low: FloatProperty(
        name="Min", description="Least weight", default=0.0, soft_min=0.0, soft_max=1.0, step=5
    )
    high: FloatProperty(
        name="Max", description="Largest weight", default=1.0, soft_min=0.0, soft_max=1.0, step=5
    )
    lock: BoolProperty(
        name="Lock",
        description="Hold the expression at one value in all frames: what it is at now",
        default=False,
        update=_hold_value,
    )
    value: FloatProperty(
        name="Value", description="What it is held at", soft_min=0.0, soft_max=1.0, step=5
    )


class MienRefine(bpy.types.PropertyGroup):
    """What is set by hand for one result."""

    pins: CollectionProperty(
        type=MienPin,
        options={"HIDDEN"},
    )
    active_pin: IntProperty(name="Pin", options={"HIDDEN"})
    pin_sigma: _sigma()
    auto: BoolProperty(
        name="Solve on Release",
        description="Solve the frames about a pin as soon as it is set, moved or deleted",
        default=True,
    )
    ignored: CollectionProperty(
        type=MienFrames,
        options={"HIDDEN"},
    )
    active_ignored: IntProperty(name="Frames", options={"HIDDEN"})
    neutrals: CollectionProperty(
        type=MienFrames,
        options={"HIDDEN"},
    )
    limits: CollectionProperty(
        type=MienLimit,
        options={"HIDDEN"},
    )
    active_limit: IntProperty(name="Expression", options={"HIDDEN"})
    mask: PointerProperty(
        name="Mask",
        description="A mask of the clip: landmarks where it is white do not count",
        type=bpy.types.Mask,
    )
    mask_folder: StringProperty(
        name="Folder",
        description="Where pictures of the mask go, which the backend reads; beside the .blend "
        "file where empty",
        subtype="DIR_PATH",
    )
    mask_path: StringProperty(
        name="Pictures",
        description="The pictures of the mask that the solve uses",
        options={"HIDDEN"},
    )
    hold_person: BoolProperty(
        name="Lock Identity",
        description="Keep the person's face; expressions, motion and lens answer to the pins",
        default=False,
    )
    focal_mode: EnumProperty(
        name="Focal Length",
        description="What becomes of the focal length when the whole shot is solved again",
        translation_context=CONTEXT,
        items=(
            ("KEEP", "As Before", "Solved, fixed or zooming, as it was in the last solve"),
            ("SOLVE", "Solve", "Find one focal length for the shot"),
            ("FIXED", "Fixed", "Use the focal length below"),
            ("CLIP", "From Clip", "Use the focal length of the Movie Clip's camera"),
            ("ZOOM", "Zoom", "Let it change within the shot, smoothly; one camera only"),
        ),
        default="KEEP",
    )
    focal_mm: FloatProperty(
        name="Lens",
        description="Focal length of the lens, for the sensor width below",
        default=35.0,
        min=1.0,
        max=5000.0,
        unit="CAMERA",
    )
    sensor_mm: FloatProperty(
        name="Sensor Width",
        description="Width of the part of the sensor that the clip shows",
        default=36.0,
        min=1.0,
        max=200.0,
        unit="CAMERA",
    )

    # What the result was solved from and with: set by Mien, not by the artist.
    job: StringProperty(options={"HIDDEN"})
    track: StringProperty(options={"HIDDEN"})
    offset: IntProperty(options={"HIDDEN"}, default=1)
    distortion: FloatVectorProperty(options={"HIDDEN"}, size=3)
    solved: StringProperty(options={"HIDDEN"})

    @property
    def has_source(self) -> bool:
        """Whether there is a solve that could be refined."""
        return bool(self.job or self.track)

    def pin_at(self, landmark: str, frame: int, camera: int = 0) -> int | None:
        """Return the number of a landmark's pin in a frame; None where it has none."""
        for number, pin in enumerate(self.pins):
            if (pin.landmark, pin.frame, pin.camera) == (landmark, frame, camera):
                return number
        return None

    def ensure_limits(self) -> None:
        """Have an entry for each expression."""
        for name in EXPRESSION_NAMES:
            if name not in self.limits:
                self.limits.add().name = name


def _show_pins(self: bpy.types.Scene, context: bpy.types.Context) -> None:
    from .warm import warm

    if self.mien_show_pins:
        warm(self)


CLASSES = (MienPin, MienFrames, MienLimit, MienRefine)


def register() -> None:
    """Add the settings to every collection, and what is shown to every scene."""
    for kind in CLASSES:
        bpy.utils.register_class(kind)
    bpy.types.Collection.mien_refine = PointerProperty(type=MienRefine)
    bpy.types.Scene.mien_show_pins = BoolProperty(
        name="Edit Pins",
        description="Show landmarks and pins over the clip, in the Movie Clip Editor and in the 3D "
        "view through Mien's camera. Drag a landmark to pin it; Ctrl-click or X deletes the pin",
        default=False,
        update=_show_pins,
    )
    bpy.types.Scene.mien_pin_layout = EnumProperty(
        name="Landmarks",
        description="Which landmarks are shown, to be pinned",
        items=(
            ("68", "68", "The usual landmarks: brows, eyes, nose, lips and jaw"),
            ("320", "320", "All landmarks that the solve knows: cheeks, forehead and ears too"),
        ),
        default="68",
    )


def unregister() -> None:
    """Take them away."""
    del bpy.types.Scene.mien_pin_layout, bpy.types.Scene.mien_show_pins
    del bpy.types.Collection.mien_refine
    for kind in reversed(CLASSES):
        bpy.utils.unregister_class(kind)
