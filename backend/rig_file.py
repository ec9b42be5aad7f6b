"""Files that say where cameras stand, as `mien track --rig` reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from backend.errors import BadInputError

Row = tuple[float, float, float]
# A rotation whose rows depart from an orthonormal frame by more is none.
ORTHONORMAL = 1e-3


class CameraEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One camera of a rig file. X_camera = R X_world + T, OpenCV axes, metres."""

    clip: str
    """Name of its clip: the file's name is what counts."""
    R: tuple[Row, Row, Row] | None = None
    """Rows of the rotation from the rig's frame, whichever it is, to the camera's."""
    T: Row | None = None
    """Metres."""
    f: float | None = None
    """Focal length in pixels of the clip."""
    offset: float | None = None
    """Frame t of the first clip shows the moment of frame t + offset of this one."""


class RigFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rig file."""

    cameras: list[CameraEntry]
    """Those of the clips, in any order; others are left aside."""


@dataclass(frozen=True)
class KnownCamera:
    """What is known of a camera, in the first camera's frame."""

    rotmat: NDArray[np.float64] | None
    """(3,3) of X_this = R X_first + T."""
    translation: NDArray[np.float64] | None
    """(3,) metres."""
    focal_px: float | None
    offset: float | None


def read_rig(path: Path, clips: Sequence[Path]) -> list[KnownCamera]:
    """What a rig file says of the cameras of clips, in their order.

    Raises `BadInputError` that names the file and what to do.
    """
    try:
        rig = msgspec.json.decode(path.read_bytes(), type=RigFile)
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read ({error.strerror}).") from error
    except msgspec.MsgspecError as error:
        raise BadInputError(
            f'{path}: is not a rig ({error}). It is {{"cameras": [{{"clip": "A.mp4", "R": [[1, 0, '
            '0], [0, 1, 0], [0, 0, 1]], "T": [0, 0, 0], "f": 1500}, ...]}.'
        ) from error
    entries = []
    for clip in clips:
        found = [entry for entry in rig.cameras if Path(entry.clip).name == clip.name]
        if len(found) != 1:
            raise BadInputError(f'{path}: has {len(found)} cameras with the clip "{clip.name}".')
        entries.append(found[0])
    placed = [entry.R is not None and entry.T is not None for entry in entries]
    if any(placed) and not all(placed):
        name = entries[placed.index(False)].clip
        raise BadInputError(f"{path}: gives R and T of some cameras, but not of {name}.")
    if not any(placed):
        return [KnownCamera(None, None, _focal(path, one), one.offset) for one in entries]
    rotmat = np.array([entry.R for entry in entries], np.float64)
    for entry, R in zip(entries, rotmat, strict=True):
        if np.abs(R @ R.T - np.eye(3)).max() > ORTHONORMAL or np.linalg.det(R) < 0:
            raise BadInputError(f"{path}: R of {entry.clip} is not a rotation.")
    translation = np.array([entry.T for entry in entries], np.float64)
    relative = rotmat @ rotmat[0].T
    moved = translation - relative @ translation[0]
    return [
        KnownCamera(R, T, _focal(path, entry), entry.offset)
        for R, T, entry in zip(relative, moved, entries, strict=True)
    ]


def _focal(path: Path, entry: CameraEntry) -> float | None:
    if entry.f is not None and not entry.f > 0:
        raise BadInputError(f"{path}: f of {entry.clip} is {entry.f}; it must be positive.")
    return entry.f


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
        if len(numbers) != 1 or not np.isfinite(frames):
            raise BadInputError(
                f"--offset {text}: write CLIP=FRAMES, where CLIP is the name of one of the clips."
            )
        if numbers[0] == 0 and frames:
            raise BadInputError(f"--offset {text}: offsets are against the first clip.")
        offsets[numbers[0]] = frames
    return offsets
