# SPDX-License-Identifier: GPL-3.0-or-later
"""FBX, Alembic, USD and glTF through Blender's own exporters, with the settings that work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import bpy

from ..scene.datablocks import layer_collections
from ..scene.modes import object_mode
from ..translations import rpt


@dataclass(frozen=True)
class Format:
    """One kind of file."""

    label: str
    """Name for people."""
    suffix: str
    """Ending of the file's name."""
    operator: str
    """Blender's exporter."""
    option: str
    """Build option that it needs; "" for none."""
    about: str
    """What is in the file."""
    settings: dict[str, Any]
    """What the exporter is told; what a version does not know is left out."""


FORMATS = {
    "FBX": Format(
        "FBX", ".fbx", "export_scene.fbx", "",
        "Head with named shape keys on its skeleton, keyed in every frame, and the camera",
        {
            "use_selection": True,
            "object_types": {"ARMATURE", "MESH", "CAMERA", "EMPTY"},
            # Applied modifiers would bake the shape keys away.
            "use_mesh_modifiers": False,
            "add_leaf_bones": False,
            "bake_anim": True,
            "bake_anim_use_all_bones": True,
            # The scene as it plays, not every action of the file by itself.
            "bake_anim_use_nla_strips": False,
            "bake_anim_use_all_actions": False,
            "bake_anim_force_startend_keying": True,
            "bake_anim_simplify_factor": 0.0,
            "path_mode": "COPY",
            "embed_textures": True,
        },
    ),
    "ALEMBIC": Format(
        "Alembic", ".abc", "wm.alembic_export", "alembic",
        "The exact mesh of every frame, and the camera",
        {
            "selected": True,
            "visible_objects_only": False,
            "uvs": True,
            "normals": True,
            "flatten": False,
            "as_background_job": False,
            "evaluation_mode": "VIEWPORT",
        },
    ),
    "USD": Format(
        "USD", ".usdc", "wm.usd_export", "usd",
        "The exact mesh of every frame with its material, and the camera",
        {
            "selected_objects_only": True,
            "visible_objects_only": False,
            "export_animation": True,
            # As points of every frame: blend shapes and skeletons are read by few.
            "export_armatures": False,
            "export_shapekeys": False,
            "export_materials": True,
            "export_textures": True,
            "export_textures_mode": "NEW",
            "overwrite_textures": True,
            "relative_paths": True,
            "evaluation_mode": "VIEWPORT",
        },
    ),
    "GLTF": Format(
        "glTF", ".glb", "export_scene.gltf", "",
        "Head with named morph targets on its skeleton, keyed in every frame, and the camera",
        {
            "export_format": "GLB",
            "use_selection": True,
            "export_animations": True,
            "export_animation_mode": "ACTIVE_ACTIONS",
            "export_force_sampling": True,
            "export_frame_range": True,
            "export_frame_step": 1,
            "export_optimize_animation_size": False,
            "export_morph": True,
            "export_morph_animation": True,
            "export_skins": True,
            "export_cameras": True,
            # Applied modifiers would bake the morph targets away.
            "export_apply": False,
        },
    ),
}  # fmt: skip


class MissingExporter(RuntimeError):
    """This Blender cannot write such files; the text says why and what to do."""


def readable(error: Exception) -> str:
    """Return what an exporter says; of one that failed in Python, the error alone."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    if not any("Traceback" in line for line in lines):
        return str(error)
    said = [line for line in lines if not line.startswith((" ", "Location:"))]
    return said[-1]


def export_objects(
    scene: bpy.types.Scene, objects: Sequence[bpy.types.Object], format_name: str, path: str
) -> None:
    """Write objects to a file.

    Raises `MissingExporter`, ValueError where they are not in the scene, and RuntimeError of the
    exporter.
    """
    chosen = FORMATS[format_name]
    options = bpy.app.build_options
    if chosen.option and not getattr(options, chosen.option, False):
        raise MissingExporter(
            rpt(
                "This Blender was built without {label}. Blender from blender.org has "
                "it; or choose another format.",
                label=chosen.label,
            )
        )
    module, name = chosen.operator.split(".")
    operator = getattr(getattr(bpy.ops, module), name)
    try:
        known = operator.get_rna_type().properties.keys()
    except KeyError:
        raise MissingExporter(
            rpt(
                "{label} is switched off: enable it in Preferences > Add-ons "
                '("{label}" under Import-Export).',
                label=chosen.label,
            )
        ) from None
    settings = {key: value for key, value in chosen.settings.items() if key in known}
    for key, value in (("start", scene.frame_start), ("end", scene.frame_end)):
        if chosen.option == "alembic" and key in known:
            settings[key] = value
    with _only_selected(scene, objects):
        operator(filepath=path, **settings)


@contextmanager
def _only_selected(scene: bpy.types.Scene, objects: Sequence[bpy.types.Object]) -> Iterator[None]:
    """Have these objects selected and shown, and nothing else selected, for a moment."""
    frame = scene.frame_current
    with object_mode(scene):
        layer = bpy.context.view_layer
        wanted = {c for o in objects for c in o.users_collection}
        entries = [
            (e, e.exclude, e.hide_viewport, e.collection.hide_viewport)
            for e in layer_collections(layer, wanted)
        ]
        for entry, *_ in entries:
            entry.exclude = entry.hide_viewport = entry.collection.hide_viewport = False
        layer.update()
        if not all(o.name in layer.objects for o in objects):
            raise ValueError(
                "The result is not in this scene: link its collection to the scene, then export"
            )
        hidden = [(o, o.hide_get(view_layer=layer), o.hide_viewport) for o in objects]
        for subject in objects:
            subject.hide_viewport = False
            subject.hide_set(False, view_layer=layer)
        for subject in layer.objects:
            subject.select_set(subject in objects, view_layer=layer)
        layer.objects.active = objects[0] if objects else None
        try:
            yield
        finally:
            for subject, was_hidden, was_off in hidden:
                subject.hide_set(was_hidden, view_layer=layer)
                subject.hide_viewport = was_off
            for entry, *state in entries:
                entry.exclude, entry.hide_viewport, entry.collection.hide_viewport = state
            scene.frame_set(frame)
