"""A .blend from a track file, made by the add-on inside Blender's Python module.

Arguments: RESULT.npz CLIP OUT.blend
"""

from __future__ import annotations

import atexit
import importlib
import sys
import tempfile
from pathlib import Path

import bpy

REPOSITORY = Path(__file__).resolve().parents[1]


def main(result: str, clip: str, output: str) -> None:
    """Import the track with the add-on's own operator and save the file."""
    sys.path.insert(0, str(REPOSITORY))
    build_addon = importlib.import_module("build_addon")
    with tempfile.TemporaryDirectory() as folder:
        build_addon.assemble(Path(folder) / "mien_addon")
        sys.path.insert(0, folder)
        addon = importlib.import_module("mien_addon")
        addon.register()
        # Classes left registered hang or crash Blender's module when Python ends.
        atexit.register(addon.unregister)
        bpy.ops.wm.read_homefile(use_empty=True)
        bpy.ops.mien.import_track(
            filepath=str(Path(result).resolve()), clip_path=str(Path(clip).resolve())
        )
        bpy.ops.wm.save_as_mainfile(filepath=str(Path(output).resolve()), compress=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
