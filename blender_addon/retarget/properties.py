# SPDX-License-Identifier: GPL-3.0-or-later
"""What the artist sets for a character."""

from __future__ import annotations

import bpy
from bpy.props import (
    BoolProperty,
    CollectionProperty,
    FloatProperty,
    IntProperty,
    PointerProperty,
    StringProperty,
)

from ..shared.arkit import EXPRESSION_NAMES
from .bake import Drive


def _is_character(self: bpy.types.PropertyGroup, candidate: bpy.types.Object) -> bool:
    if candidate.type == "ARMATURE":
        return True
    return candidate.type == "MESH" and candidate.data.shape_keys is not None


class MienDrive(bpy.types.PropertyGroup):
    """One expression and the shape key that it drives. The name is the ARKit name."""

    use: BoolProperty(name="Use", description="Bake this expression", default=True)
    target: StringProperty(
        name="Shape Key", description="Shape key of the character that this expression drives"
    )
    gain: FloatProperty(
        name="Gain",
        description="Factor: 1 as tracked, more for a broader performance",
        default=1.0,
        soft_min=0.0,
        soft_max=2.0,
        min=-10.0,
        max=10.0,
    )
    neutral: FloatProperty(
        name="Neutral",
        description="Weight of the performer's resting face, which becomes 0 on the character",
        default=0.0,
        soft_min=0.0,
        soft_max=1.0,
        min=-10.0,
        max=10.0,
    )


class MienRetarget(bpy.types.PropertyGroup):
    """Settings of the "To Rigs" panel, saved with the scene."""

    target: PointerProperty(
        name="Character",
        description="The mesh with shape keys, or the armature, that takes the performance over",
        type=bpy.types.Object,
        poll=_is_character,
    )
    drives: CollectionProperty(
        type=MienDrive,
        options={"HIDDEN"},
    )
    active: IntProperty(name="Active", default=0, options={"HIDDEN"})
    mapping: PointerProperty(
        name="Mapping",
        description="Which bones each expression moves, as a JSON text that can be edited in "
        "Blender's Text Editor",
        type=bpy.types.Text,
    )
    as_strip: BoolProperty(
        name="As NLA Strip",
        description="Put the action on an NLA track of its own, above what is there",
        default=False,
    )
    report: StringProperty(
        name="Report",
        description="What the last matching found",
        options={"HIDDEN"},
    )

    def drive_list(self) -> list[Drive]:
        """Return what is used; all expressions as they are where nothing was matched."""
        if not len(self.drives):
            return [Drive(name, name) for name in EXPRESSION_NAMES]
        return [Drive(d.name, d.target, d.gain, d.neutral) for d in self.drives if d.use]


CLASSES = (MienDrive, MienRetarget)


def register() -> None:
    """Add the settings to every scene."""
    for kind in CLASSES:
        bpy.utils.register_class(kind)
    bpy.types.Scene.mien_retarget = PointerProperty(type=MienRetarget)


def unregister() -> None:
    """Take them away."""
    del bpy.types.Scene.mien_retarget
    for kind in reversed(CLASSES):
        bpy.utils.unregister_class(kind)
