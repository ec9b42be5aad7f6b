"""What the command line says of a rig: its file, and time offsets of clips."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from backend.errors import BadInputError
from shared import rig
from shared.rig import KnownCamera


def read_rig(path: Path, clips: Sequence[Path]) -> list[KnownCamera]:
    """What a rig file says of the cameras of clips; raises `BadInputError` that names the file."""
    try:
        return rig.read_rig(path, [str(clip.absolute()) for clip in clips])
    except rig.RigFileError as error:
        raise BadInputError(str(error)) from error


def read_offsets(texts: Sequence[str], clips: Sequence[Path]) -> dict[int, float]:
    """Offsets by camera number, from texts such as "B.mp4=+3.5", "B=3.5" (the name's stem) or
    "2=3.5" (the second clip). Raises `BadInputError`."""
    offsets: dict[int, float] = {}
    for text in texts:
        name, _, value = text.rpartition("=")
        numbers = [i for i, clip in enumerate(clips) if name in (clip.name, clip.stem, str(clip))]
        if not numbers and name.isdigit() and 1 <= int(name) <= len(clips):
            numbers = [int(name) - 1]
        try:
            frames = float(value)
        except ValueError:
            frames = float("nan")
        if len(numbers) != 1 or not math.isfinite(frames):
            raise BadInputError(
                f"--offset {text}: write CLIP=FRAMES, where CLIP is the name of one of the clips."
            )
        if numbers[0] == 0 and frames:
            raise BadInputError(f"--offset {text}: offsets are against the first clip.")
        offsets[numbers[0]] = frames
    return offsets
