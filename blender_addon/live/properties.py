# SPDX-License-Identifier: GPL-3.0-or-later
"""What the artist chooses for live tracking; saved with the scene."""

from __future__ import annotations

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, PointerProperty, StringProperty

from ..translations import CONTEXT


class MienLiveSettings(bpy.types.PropertyGroup):
    """Where live frames come from, and where they go."""

    source: StringProperty(
        name="Source",
        description="A camera by its number (0 is the first), path, name or address, or a clip, "
        "which is played at its own pace",
        default="0",
        subtype="FILE_PATH",
    )
    detector: EnumProperty(
        name="Detector",
        description="What looks for landmarks in each frame",
        translation_context=CONTEXT,
        items=(
            ("infinite3d", "Exact", "Follows blinks and lips closely"),
            ("dense", "Quick", "Takes somewhat less time and is less exact"),
        ),
        default="infinite3d",
    )
    use_focal: BoolProperty(
        name="Known Lens", description="The camera's field of view is known", default=False
    )
    field_of_view: FloatProperty(
        name="Field of View",
        description="The camera's horizontal field of view",
        translation_context=CONTEXT,
        subtype="ANGLE",
        default=1.05,
        min=0.1,
        max=2.8,
    )
    collection: PointerProperty(
        name="Head",
        type=bpy.types.Collection,
        description="The live head, or that of a track; empty to get a new one",
    )


def register() -> None:
    """Add the settings to every scene."""
    bpy.utils.register_class(MienLiveSettings)
    bpy.types.Scene.mien_live = PointerProperty(type=MienLiveSettings)


def unregister() -> None:
    """Take the settings away."""
    del bpy.types.Scene.mien_live
    bpy.utils.unregister_class(MienLiveSettings)
