"""A track in the files that other programs read, one module for each format."""

from __future__ import annotations

import importlib
from pathlib import Path

from backend.errors import BadInputError
from backend.track import Track

WRITERS: dict[str, str] = {
    ".csv": "backend.export.live_link_csv",
    ".usdc": "backend.export.usd",
    ".usda": "backend.export.usd",
    ".glb": "backend.export.gltf",
}
"""The module that writes each kind of file: its `write(track, path)` does."""


def check_suffix(path: Path) -> str:
    """Return the module for a file's name. Raises `BadInputError` that lists the known ones."""
    try:
        return WRITERS[path.suffix.lower()]
    except KeyError:
        raise BadInputError(
            f"{path}: the output's name must end in {', '.join(WRITERS)}."
        ) from None


def export_track(track: Track, path: Path) -> list[Path]:
    """Write a track in the format that the name of the file asks for; returns what was written.

    Every file is there whole or not at all. Raises `BadInputError` for an unknown suffix, a
    folder that cannot be written, and a library of the `export` extra that is not installed.
    """
    name = check_suffix(path)
    if not track.n_frames:
        raise BadInputError(f"{path}: the track has no frames.")
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        raise BadInputError(
            f"{path.suffix} files need a library that is not installed ({error.name}): "
            'pip install "mien[export]"'
        ) from error
    written: list[Path] = module.write(track, path)
    return written
