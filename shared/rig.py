"""Files that say where the cameras of a performance stand; the backend and the add-on read them."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from .jobs import RigCamera, Row

ORTHONORMAL = 1e-3
"""A rotation whose rows depart from an orthonormal frame by more is none."""


class RigFileError(ValueError):
    """A file that is not a rig of these clips; the text names the file and what to do."""


class CameraEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One camera of a rig file. X_camera = R X_world + T, OpenCV axes, metres."""

    clip: str
    """Name of its clip: the file's name is what counts, with its folders where names repeat."""

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

    rotmat: NDArray[np.float64] | None = None
    """(3,3) of X_this = R X_first + T."""
    translation: NDArray[np.float64] | None = None
    """(3,) metres."""
    focal_px: float | None = None
    """In pixels of its own clip."""
    offset: float | None = None
    """Frame t of the first clip shows the moment of frame t + offset of this one."""

    def message(self, clip: str) -> RigCamera:
        """The camera as a job names it."""
        rotation = translation = None
        if self.rotmat is not None and self.translation is not None:
            a, b, c = (_row(row) for row in self.rotmat)
            rotation, translation = (a, b, c), _row(self.translation)
        return RigCamera(
            clip=clip,
            offset=self.offset,
            rotation=rotation,
            translation=translation,
            focal_px=self.focal_px,
        )


def read_rig(path: Path, clips: Sequence[str]) -> list[KnownCamera]:
    """What a rig file says of the cameras of clips, by their names or paths, in their order.

    Raises `RigFileError` that names the file and what to do.
    """
    try:
        # Windows' editors begin a file with a byte order mark.
        text = path.read_bytes().removeprefix(codecs.BOM_UTF8)
        rig = msgspec.json.decode(text, type=RigFile)
    except OSError as error:
        raise RigFileError(f"{path}: cannot be read ({error.strerror}).") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RigFileError(
            f'{path}: is not a rig ({error}). It is {{"cameras": [{{"clip": "A.mp4", "R": [[1, 0, '
            '0], [0, 1, 0], [0, 0, 1]], "T": [0, 0, 0], "f": 1500}, ...]}.'
        ) from error
    entries = _entries_of(path, rig, clips)
    first = entries[0].offset or 0.0
    offsets = [None if entry.offset is None else entry.offset - first for entry in entries]
    focal = [_focal(path, entry) for entry in entries]
    placed = [entry.R is not None and entry.T is not None for entry in entries]
    if any(placed) and not all(placed):
        name = entries[placed.index(False)].clip
        raise RigFileError(f"{path}: gives R and T of some cameras, but not of {name}.")
    if not any(placed):
        return [KnownCamera(None, None, f, o) for f, o in zip(focal, offsets, strict=True)]
    rotmat = np.array([entry.R for entry in entries], np.float64)
    for entry, R in zip(entries, rotmat, strict=True):
        if np.abs(R @ R.T - np.eye(3)).max() > ORTHONORMAL or np.linalg.det(R) < 0:
            raise RigFileError(f"{path}: R of {entry.clip} is not a rotation.")
    translation = np.array([entry.T for entry in entries], np.float64)
    relative = rotmat @ rotmat[0].T
    moved = translation - relative @ translation[0]
    return [
        KnownCamera(R, T, f, o) for R, T, f, o in zip(relative, moved, focal, offsets, strict=True)
    ]


def _entries_of(path: Path, rig: RigFile, clips: Sequence[str]) -> list[CameraEntry]:
    """The entry of each clip; one alone, and none twice."""
    entries: list[CameraEntry] = []
    for clip in clips:
        name = Path(clip).name
        found = [entry for entry in rig.cameras if Path(entry.clip).name == name]
        if len(found) > 1:
            found = [entry for entry in found if _is_tail(entry.clip, clip)]
        if len(found) != 1:
            raise RigFileError(
                f'{path}: has {len(found)} cameras with the clip "{name}". Each clip needs one; '
                "where names repeat, write them with their folders."
            )
        if any(found[0] is entry for entry in entries):
            raise RigFileError(
                f'{path}: has one camera for several clips that are called "{name}". Give each its '
                f'own, written with the folder: "{Path(clip).parent.name}/{name}".'
            )
        entries += found
    return entries


def _is_tail(written: str, clip: str) -> bool:
    """Whether a path, as it is written in a file, is the end of a clip's."""
    parts, whole = Path(written).parts, Path(clip).parts
    return whole[-len(parts) :] == parts


def _focal(path: Path, entry: CameraEntry) -> float | None:
    if entry.f is not None and not entry.f > 0:
        raise RigFileError(f"{path}: f of {entry.clip} is {entry.f}; it must be positive.")
    return entry.f


def _row(values: NDArray[np.float64]) -> Row:
    return float(values[0]), float(values[1]), float(values[2])
