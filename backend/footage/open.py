"""One door for everything that can be tracked."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from backend.footage.container import DEFAULT_MAX_PIXELS
from backend.footage.errors import FootageError
from backend.footage.frame import Footage
from backend.footage.sequence import (
    DEFAULT_RATE,
    ImageSequence,
    is_pattern,
    list_folder,
    list_pattern,
)
from backend.footage.video import VideoClip, is_still


def open_footage(
    path: Path | str,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    start: int | None = None,
    end: int | None = None,
    frame_rate: Fraction | None = None,
) -> Footage:
    """Open a clip, a GIF, an image sequence (a folder, or a name with ### or %04d) or a picture.

    max_pixels: refuse larger pictures.
    start, end: first and last frame number, both included, counted from 0.
    frame_rate: frames per second of an image sequence; clips know their own.
    Raises `FootageError`, which names the file and what to do.
    """
    path = Path(path)
    if start is not None and end is not None and end < start:
        raise FootageError(f"{path}: the range ends ({end}) before it starts ({start}).")
    if path.is_dir():
        files = list_folder(path)
    elif is_pattern(path):
        files = list_pattern(path)
    elif not path.exists():
        raise FootageError(f"{path}: no such file. Check the path.")
    elif is_still(path, max_pixels):
        files = {0: path}
    else:
        return VideoClip(path, max_pixels, start, end)
    return ImageSequence(path, files, frame_rate or DEFAULT_RATE, max_pixels, start, end)
