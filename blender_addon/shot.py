# SPDX-License-Identifier: GPL-3.0-or-later
"""A tracked shot as the scene needs it, from a track file or from messages; knows no bpy."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .cameras import RIG_FIELDS, CameraView, camera_of, cameras_of
from .confidence import frame_confidence
from .frame_table import FrameTable
from .frame_table import Motion as Motion
from .shared.conventions import intrinsics
from .shared.messages import (
    CameraResult,
    FrameResult,
    JobDone,
    JobResult,
    ModelResult,
    Progress,
    TextureResult,
)
from .translations import rpt

F4 = NDArray[np.float32]

TRACK_FORMAT_VERSION = 1
"""Newest format of track files that this version reads."""


class TrackFileError(ValueError):
    """A file that is not a track; the text names the file and what to do."""


@dataclass(frozen=True, eq=False)
class HeadModel:
    """The head that the frames animate. N vertices, T triangles, E expressions, 4 joints."""

    expression_names: tuple[str, ...]
    """E ARKit names."""
    neutral: F4
    """(N, 3) neutral face in the bind pose, head frame, metres."""
    shape_keys: F4
    """(E, N, 3) offset of each expression from the neutral face, metres."""
    faces: NDArray[np.int32]
    """(T, 3) vertex indices, counter-clockwise seen from outside."""
    uv: F4
    """(T, 3, 2) texture coordinate of each corner, v up."""
    joints: F4
    """(4, 3) neck, head, left and right eye; bind pose, head frame, metres."""
    skin_weights: F4
    """(N, 4) share of each joint in each vertex."""


@dataclass(frozen=True, eq=False)
class Shot:
    """Everything that the scene is built from."""

    model: HeadModel
    """The head."""
    motion: Motion
    """Its motion."""
    K: NDArray[np.float64]
    """(3, 3) intrinsics in pixels; motion.focal_px replaces the focal length."""
    image_size: tuple[int, int]
    """Width and height of the footage in pixels, upright."""
    frame_rate: Fraction | None = None
    """Frames per second, if known."""
    distortion: tuple[float, ...] = ()
    """K1, K2, K3 of the lens, as the Movie Clip's polynomial model has them; empty where nothing
    is said of it."""
    texture: NDArray[np.uint8] | None = None
    """(H, W, 4) sRGB and alpha, first row at the top; None for none."""
    albedo: NDArray[np.uint8] | None = None
    """(H, W, 3) sRGB, the texture without the shot's shading; None for none."""
    lighting: F4 | None = None
    """(9, 3) the shot's shading as spherical harmonics of the normal, camera frame; None for
    none."""
    cameras: tuple[CameraView, ...] = ()
    """Those of a rig besides the first."""


def read_track(path: Path | str) -> Shot:
    """Read a track file (docs/track-format.md). Raises `TrackFileError`."""
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            if int(file["format_version"]) > TRACK_FORMAT_VERSION:
                raise TrackFileError(
                    rpt(
                        "{path}: was written by a newer version of Mien. Update the add-on.",
                        path=path,
                    )
                )
            arrays = {name: file[name] for name in _TRACK_FIELDS}
            # Older files lack these.
            arrays |= {name: file[name] for name in _LATER_FIELDS if name in file.files}
            return _shot_of(arrays)
    except FileNotFoundError:
        raise TrackFileError(rpt("{path}: there is no such file.", path=path)) from None
    except TrackFileError:
        raise
    except (OSError, ValueError, KeyError, EOFError, IndexError, zipfile.BadZipFile) as error:
        raise TrackFileError(
            rpt("{path}: is damaged, or not a track that Mien has written.", path=path)
        ) from error


_TRACK_FIELDS = (
    "expression_names", "rest_vertices", "shape_keys", "faces", "uv", "joints", "skin_weights",
    "frame_index", "expression", "joint_rotations", "translation", "focal_px", "found",
    "visibility", "K", "image_size", "frame_rate", "texture",
)  # fmt: skip

_LATER_FIELDS = (
    "soft_visibility", "albedo", "lighting", "landmarks_2d", "landmark_sigma", "distortion",
    *RIG_FIELDS,
)  # fmt: skip


def _shot_of(arrays: dict[str, NDArray[Any]]) -> Shot:
    order = np.argsort(arrays["frame_index"], kind="stable")
    if not len(order):
        raise ValueError("no frames")
    numerator, denominator = (int(part) for part in arrays["frame_rate"])
    width, height = (int(part) for part in arrays["image_size"])
    soft = _present(arrays, "soft_visibility")
    return Shot(
        model=HeadModel(
            expression_names=tuple(str(name) for name in arrays["expression_names"]),
            neutral=_f4(arrays["rest_vertices"]),
            shape_keys=_f4(arrays["shape_keys"]),
            faces=arrays["faces"].astype(np.int32),
            uv=_f4(arrays["uv"]),
            joints=_f4(arrays["joints"]),
            skin_weights=_f4(arrays["skin_weights"]),
        ),
        motion=Motion(
            frame_index=arrays["frame_index"][order].astype(np.int64),
            expression=_f4(arrays["expression"][order]),
            joint_rotations=_f4(arrays["joint_rotations"][order]),
            translation=_f4(arrays["translation"][order]),
            focal_px=arrays["focal_px"][order].astype(np.float64),
            found=arrays["found"][order].astype(bool),
            visibility=arrays["visibility"][order] if arrays["visibility"].size else None,
            soft_visibility=None if soft is None else soft[order],
            confidence=_confidence(arrays, order),
        ),
        K=arrays["K"][order[0]].astype(np.float64),
        image_size=(width, height),
        frame_rate=Fraction(numerator, denominator) if numerator and denominator else None,
        texture=arrays["texture"] if arrays["texture"].size else None,
        albedo=_present(arrays, "albedo"),
        lighting=_present(arrays, "lighting"),
        distortion=tuple(float(k) for k in arrays.get("distortion", ())),
        cameras=cameras_of(arrays),
    )


def _present(arrays: dict[str, NDArray[Any]], name: str) -> NDArray[Any] | None:
    array = arrays.get(name)
    return array if array is not None and array.size else None


def _confidence(arrays: dict[str, NDArray[Any]], order: NDArray[np.int64]) -> F4 | None:
    points, sigma = _present(arrays, "landmarks_2d"), _present(arrays, "landmark_sigma")
    if points is None or sigma is None:
        return None
    found = arrays["found"]
    rows = [frame_confidence(points[row], sigma[row], bool(found[row])) for row in order]
    return np.array(rows, np.float32)


class ShotReceiver:
    """Collects the results of one job and hands out the newest state of the shot.

    A final result of a frame replaces its preview; results that the server sends again replace
    what they repeat. `model_count`, `frame_count` and `texture_count` rise with what arrives, so
    that the scene updates only what has changed.
    """

    def __init__(self, image_size: tuple[int, int], frame_rate: Fraction | None = None) -> None:
        """image_size (W, H) and frame_rate are the clip's, until the server states them."""
        self.image_size = image_size
        self.frame_rate = frame_rate
        self.progress: Progress | None = None
        self.newest_frame: int | None = None
        self.model_count = self.frame_count = self.texture_count = 0
        self._model: HeadModel | None = None
        self._texture: NDArray[np.uint8] | None = None
        self._albedo: NDArray[np.uint8] | None = None
        self._lighting: F4 | None = None
        self._frames = FrameTable()
        self._K: NDArray[np.float64] | None = None
        self._distortion: tuple[float, ...] = ()
        self._cameras: dict[int, CameraView] = {}

    def receive(self, message: Progress | JobResult) -> None:
        """Take one message of the job."""
        if isinstance(message, Progress):
            self.progress = message
        elif isinstance(message, ModelResult):
            self._model = model_of(message)
            self.model_count += 1
        elif isinstance(message, FrameResult):
            self._frames.put(message)
            self.newest_frame = message.frame_index
            self.frame_count += 1
        elif isinstance(message, CameraResult):
            # The first one is the shot's own.
            if message.number > 0:
                self._cameras[message.number] = camera_of(message)
            self.frame_count += 1
        elif isinstance(message, TextureResult):
            # As they are in the message, not copied: tens of megabytes would take 0.1 s.
            self._texture, self._albedo = message.texture, message.albedo
            self._lighting = None if message.lighting is None else np.array(message.lighting)
            self.texture_count += 1
        elif isinstance(message, JobDone):
            self.image_size = message.image_size or self.image_size
            if message.frame_rate and all(message.frame_rate):
                self.frame_rate = Fraction(*message.frame_rate)
            self._K = None if message.K is None else np.array(message.K)
            self._distortion = message.distortion

    def shot(self, with_visibility: bool = True) -> Shot | None:
        """Return what has arrived, or None before there are a head and a frame.

        Without the visibility, which is large, it takes little time while frames arrive.
        """
        model = self._model
        if model is None:
            return None
        motion = self._frames.motion(
            len(model.expression_names), len(model.neutral), with_visibility
        )
        if motion is None:
            return None
        focal_px = float(motion.focal_px[0])
        return Shot(
            model=model,
            motion=motion,
            K=intrinsics(focal_px, self.image_size) if self._K is None else self._K,
            image_size=self.image_size,
            frame_rate=self.frame_rate,
            distortion=self._distortion,
            texture=self._texture,
            albedo=self._albedo,
            lighting=self._lighting,
            cameras=tuple(camera for _, camera in sorted(self._cameras.items())),
        )


def model_of(message: ModelResult) -> HeadModel:
    """The head of a message."""
    return HeadModel(
        expression_names=tuple(message.expression_names),
        neutral=message.neutral,
        shape_keys=message.shape_keys,
        faces=message.faces,
        uv=message.uv,
        joints=message.joints,
        skin_weights=message.skin_weights,
    )


def _f4(array: NDArray[Any]) -> F4:
    return np.ascontiguousarray(array, dtype=np.float32)
