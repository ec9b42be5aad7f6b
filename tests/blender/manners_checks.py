"""What the add-on tells Blender of itself; runs inside Blender."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import bpy
from tracking_checks import MODULE, _mien


def _strings(script: str) -> ModuleType:
    """Load scripts/addon_strings.py."""
    specification = importlib.util.spec_from_file_location("addon_strings", script)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["addon_strings"] = module
    specification.loader.exec_module(module)
    return module


def texts(script: str) -> dict[str, Any]:
    """All texts of the installed add-on, and what its catalogues have."""
    collect = _strings(script).collect
    folder = Path(str(_mien("translations").__file__)).parents[1]
    found, wrong = collect(MODULE, folder)
    catalogue = _mien("translations.catalogue")
    return {
        "texts": sorted(found),
        "wrong": wrong,
        "catalogues": {
            path.stem: catalogue.read_catalogue(path)
            for path in (folder / "translations").glob("*.po")
        },
        "bytes": sum(p.stat().st_size for p in (folder / "translations").iterdir() if p.is_file()),
    }


def manners(script: str) -> dict[str, Any]:
    """Descriptions, undo and labels of all that is registered."""
    strings = _strings(script)
    bare: list[str] = []
    operators: dict[str, list[str]] = {}
    for kind in strings.registered(bpy.types.Operator, MODULE):
        operators[kind.bl_idname] = sorted(getattr(kind, "bl_options", ()))
        rna = strings.rna_of(kind)
        if not rna.description.strip() or rna.description == rna.name:
            bare.append(kind.bl_idname)
    properties = 0
    groups = (bpy.types.Operator, bpy.types.PropertyGroup, bpy.types.AddonPreferences)
    for base in groups:
        for kind in strings.registered(base, MODULE):
            for prop in strings.own_properties(kind):
                properties += 1
                if not prop.description or not prop.name:
                    bare.append(f"{kind.__name__}.{prop.identifier}")
    for kind in (bpy.types.Scene, bpy.types.Collection):
        for prop in kind.bl_rna.properties:
            if prop.identifier.startswith("mien_") and prop.type != "POINTER":
                properties += 1
                if not prop.description or not prop.name:
                    bare.append(f"{kind.__name__}.{prop.identifier}")
    panels = [
        [kind.bl_space_type, kind.bl_category, kind.bl_label]
        for kind in strings.registered(bpy.types.Panel, MODULE)
    ]
    return {"bare": bare, "operators": operators, "properties": properties, "panels": panels}


def units(script: str) -> dict[str, str]:
    """Unit or subtype of each number of ours that stands for a place or a length or an angle."""
    strings = _strings(script)
    found = {}
    for base in (bpy.types.Operator, bpy.types.PropertyGroup):
        for kind in strings.registered(base, MODULE):
            for prop in strings.own_properties(kind):
                if prop.type in {"INT", "FLOAT"}:
                    name = f"{kind.__name__}.{prop.identifier}"
                    found[name] = prop.unit if prop.unit != "NONE" else prop.subtype
    return found


def beyond_the_clip(clip: str) -> list[str]:
    """What a range past the clip's end is refused with, for two first frames of the clip."""
    settings, told = bpy.context.scene.mien, []
    settings.clip = bpy.data.movieclips.load(clip)
    settings.use_range = True
    for start in (1, 101):
        settings.clip.frame_start = start
        last = start + settings.clip.frame_duration - 1
        settings.frame_start, settings.frame_end = last, last + 5
        _mien("operators.track").track_job(settings)  # The last frame is in it.
        settings.frame_start, settings.frame_end = last + 1, last + 5
        try:
            bpy.ops.mien.track()
        except RuntimeError as error:
            told.append(str(error))
    return told
