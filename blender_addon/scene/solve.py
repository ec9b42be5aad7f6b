# SPDX-License-Identifier: GPL-3.0-or-later
"""The raw solve, kept with its collection: what curves are made of again and again.

A few numbers a frame (0.25 kB, compressed), so that smoothing, the kind of motion and the exact
shape can be chosen after the track, in a file that has been sent to somebody else.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass, fields
from typing import Any

import bpy
import numpy as np
from numpy.typing import NDArray

from ..shot import Shot
from ..smoothing import NO_SMOOTHING, Smoothing

SOLVE = "mien_solve"
APPLIED = "mien_applied"

MOTIONS = ("HEAD", "OBJECT", "CAMERA")
"""What carries the motion of the head: bones, the rig as an object, or the camera."""


@dataclass(frozen=True, eq=False)
class Solve:
    """The motion as it was solved, in the track's axes. F frames, E expressions."""

    frames: NDArray[np.int64]
    """(F,) frames of the scene, ascending."""
    expression: NDArray[np.float32]
    """(F, E) weights."""
    expression_names: NDArray[np.str_]
    """(E,) names of the shape keys."""
    joint_rotations: NDArray[np.float32]
    """(F, 4, 3) rotation vectors of neck, head and eyes; the first in the camera frame."""
    translation: NDArray[np.float32]
    """(F, 3) metres, camera frame."""
    focal_px: NDArray[np.float64]
    """(F,) pixels."""
    found: NDArray[np.bool_]
    """(F,) whether the face was seen."""
    confidence: NDArray[np.float32]
    """(F,) 0 to 1."""
    joints: NDArray[np.float32]
    """(4, 3) joints of the bind pose, head frame, metres."""
    image_size: NDArray[np.int64]
    """(2,) width and height of the footage in pixels."""
    K: NDArray[np.float64]
    """(3, 3) intrinsics of the shot."""


@dataclass(frozen=True)
class Applied:
    """What the curves were made with."""

    motion: str = "HEAD"
    """One of MOTIONS."""
    smoothing: Smoothing = NO_SMOOTHING
    """How much each channel was smoothed."""


def solve_of(shot: Shot, frames: NDArray[np.int64]) -> Solve:
    """Return what is kept of a shot; frames (F,) are the scene's."""
    motion = shot.motion
    sure = motion.confidence
    return Solve(
        frames=np.asarray(frames, np.int64),
        expression=motion.expression,
        expression_names=np.array(shot.model.expression_names),
        joint_rotations=motion.joint_rotations,
        translation=motion.translation,
        focal_px=motion.focal_px,
        found=motion.found,
        confidence=motion.found.astype(np.float32) if sure is None else sure,
        joints=shot.model.joints,
        image_size=np.array(shot.image_size, np.int64),
        K=np.asarray(shot.K, np.float64),
    )


def store_solve(collection: bpy.types.Collection, solve: Solve) -> None:
    """Keep a solve in a collection."""
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {f.name: getattr(solve, f.name) for f in fields(Solve)}
    np.savez(buffer, **arrays)
    # Blender cuts bytes that replace others at their first zero.
    if SOLVE in collection:
        del collection[SOLVE]
    collection[SOLVE] = buffer.getvalue()


def load_solve(collection: bpy.types.Collection | None) -> Solve | None:
    """Return the solve that a collection keeps; None where it is older, or no result of Mien."""
    data = None if collection is None else collection.get(SOLVE)
    if not isinstance(data, bytes):
        return None
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            return Solve(**{f.name: file[f.name] for f in fields(Solve)})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def load_applied(collection: bpy.types.Collection) -> Applied:
    """Return what the collection's curves were made with."""
    try:
        told = json.loads(collection.get(APPLIED, "{}"))
        smoothing = Smoothing(**told.get("smoothing", {}))
        motion = told.get("motion", "HEAD")
    except (TypeError, ValueError):
        return Applied()
    return Applied(motion if motion in MOTIONS else "HEAD", smoothing)


def store_applied(collection: bpy.types.Collection, applied: Applied) -> None:
    """Note what the collection's curves were made with."""
    told = {"motion": applied.motion, "smoothing": vars(applied.smoothing)}
    collection[APPLIED] = json.dumps(told)
