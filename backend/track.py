"""The result of tracking: one frozen dataclass, one file, documented in docs/track-format.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.atomic import atomic_path
from backend.errors import BadInputError
from backend.npz_file import read_arrays

FORMAT_VERSION = 1
"""Raised when a reader of an older version would misread a file."""

# dtype and shape of every array; equal letters are equal sizes.
_ARRAYS: dict[str, tuple[str, tuple[str | int, ...]]] = {
    "vertices": ("f4", ("F", "N", 3)),
    "faces": ("i4", ("T", 3)),
    "uv": ("f4", ("T", 3, 2)),
    "focal_px": ("f8", ("F",)),
    "K": ("f8", ("F", 3, 3)),
    "head_pose": ("f4", ("F", 4, 4)),
    "identity": ("f4", ("I",)),
    "expression": ("f4", ("F", "E")),
    "eye_rotation": ("f4", ("F", 2, 3)),
    "landmarks_2d": ("f4", ("F", "L", 2)),
    "landmark_sigma": ("f4", ("F", "L")),
    "visibility": ("u1", ("F", "N")),
    "texture": ("u1", ("H", "W", 4)),
    "found": ("?", ("F",)),
    "frame_index": ("i8", ("F",)),
    "timestamps": ("f8", ("F",)),
    "image_size": ("i8", (2,)),
    "frame_rate": ("i8", (2,)),
    "rest_vertices": ("f4", ("N", 3)),
    "shape_keys": ("f2", ("E", "N", 3)),
    "joints": ("f4", ("J", 3)),
    "skin_weights": ("f4", ("N", "J")),
    "joint_rotations": ("f4", ("F", "J", 3)),
    "translation": ("f4", ("F", 3)),
}

# Added later: files without them are read, and they are empty then.
_OPTIONAL: dict[str, tuple[str, tuple[str | int, ...]]] = {
    "soft_visibility": ("u1", ("F2", "N2")),
    "albedo": ("u1", ("H2", "W2", 3)),
    "lighting": ("f4", ("C", 3)),
    "focal_sd_percent": ("f8", ("S",)),
    "distortion": ("f8", ("D",)),
    "rig_rotation": ("f8", ("V", 3, 3)),
    "rig_translation": ("f8", ("V", 3)),
    "rig_K": ("f8", ("V", 3, 3)),
    "rig_image_size": ("i8", ("V", 2)),
    "rig_offset": ("f8", ("V",)),
    "rig_given": ("u1", ("V",)),
    "rig_landmarks_2d": ("f4", ("V", "F3", "L3", 2)),
    "rig_landmark_sigma": ("f4", ("V", "F3", "L3")),
}

# Text, empty in files without them: one string, or one for each camera.
_TEXTS = ("constraints", "person")


def _empty(name: str) -> Callable[[], NDArray[Any]]:
    dtype, shape = _OPTIONAL[name]
    sizes = [0 if isinstance(size, str) else size for size in shape]
    return lambda: np.zeros(sizes, dtype)


@dataclass(frozen=True, eq=False)
class Track:
    """A face tracked through a shot.

    Camera frame: OpenCV's (x right, y down, z forward), metres; pixel centres at integers.
    Head frame: the same axes, origin midway between the mean head's eyes.
    F frames, N vertices, T triangles, L landmarks, E = 52 expressions, I identity coefficients,
    J = 4 joints (neck, head, left eye, right eye).
    """

    vertices: NDArray[np.float32]
    """(F, N, 3) posed vertices in the camera frame, metres."""
    faces: NDArray[np.int32]
    """(T, 3) vertex indices, counter-clockwise seen from outside."""
    uv: NDArray[np.float32]
    """(T, 3, 2) texture coordinate of each corner of each triangle, 0 to 1, v up."""
    focal_px: NDArray[np.float64]
    """(F,) focal length in pixels."""
    K: NDArray[np.float64]
    """(F, 3, 3) camera intrinsics in pixels."""
    head_pose: NDArray[np.float32]
    """(F, 4, 4) T_camera_head: bind frame of the head joint to the camera frame."""
    identity: NDArray[np.float32]
    """(I,) identity coefficients, in standard deviations."""
    expression: NDArray[np.float32]
    """(F, E) weight of each expression."""
    expression_names: tuple[str, ...]
    """E ARKit names, lowerCamel."""
    eye_rotation: NDArray[np.float32]
    """(F, 2, 3) rotation vectors of the left and the right eye relative to the head."""
    landmarks_2d: NDArray[np.float32]
    """(F, L, 2) detected landmarks in pixels; NaN where no face was found."""
    landmark_sigma: NDArray[np.float32]
    """(F, L) standard deviation of each landmark in pixels; NaN where no face was found."""
    visibility: NDArray[np.uint8]
    """(F, N) 1 where the camera sees the vertex."""
    texture: NDArray[np.uint8]
    """(H, W, 4) sRGB and alpha, first row at the top (v = 1); alpha 255 where measured."""
    found: NDArray[np.bool_]
    """(F,) whether the face was seen; elsewhere the pose is carried over from other frames."""
    frame_index: NDArray[np.int64]
    """(F,) frame number in the clip, from 0."""
    timestamps: NDArray[np.float64]
    """(F,) seconds after the clip's first frame."""
    image_size: NDArray[np.int64]
    """(2,) width and height of the footage in pixels, upright."""
    frame_rate: NDArray[np.int64]
    """(2,) numerator and denominator of the frames per second."""
    rest_vertices: NDArray[np.float32]
    """(N, 3) neutral face of this identity in the bind pose, head frame, metres."""
    shape_keys: NDArray[np.float16]
    """(E, N, 3) offset of each expression from the neutral face, metres."""
    joints: NDArray[np.float32]
    """(J, 3) joint centres in the bind pose, head frame, metres."""
    skin_weights: NDArray[np.float32]
    """(N, J) share of each joint in each vertex."""
    joint_rotations: NDArray[np.float32]
    """(F, J, 3) rotation vectors; the first joint's is the root rotation in the camera frame."""
    translation: NDArray[np.float32]
    """(F, 3) translation of the head in the camera frame, metres."""
    soft_visibility: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 0), np.uint8))
    """(F, N) how far the camera sees the vertex, 0 to 255; `visibility` is 1 from 128 on. (0, 0) in
    files of older versions."""
    albedo: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 0, 3), np.uint8))
    """(H, W, 3) sRGB, the texture without the shot's low-frequency shading; (0, 0, 3) for none."""
    lighting: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 3), np.float32))
    """(9, 3) spherical harmonics of the shot's shading, camera frame; (0, 3) for none."""
    focal_sd_percent: NDArray[np.float64] = field(default_factory=_empty("focal_sd_percent"))
    """(1,) standard deviation of the solved focal length, per cent; (0,) where it was given, or is
    not known."""
    distortion: NDArray[np.float64] = field(default_factory=_empty("distortion"))
    """(3,) K1, K2, K3 of the lens, Blender's polynomial; (0,) for none."""
    rig_rotation: NDArray[np.float64] = field(default_factory=_empty("rig_rotation"))
    """(V, 3, 3) R of X_camera = R X_first + T for the V cameras of a rig, the first one too; (0, 3,
    3) for a single camera."""
    rig_translation: NDArray[np.float64] = field(default_factory=_empty("rig_translation"))
    """(V, 3) T of the same, metres."""
    rig_K: NDArray[np.float64] = field(default_factory=_empty("rig_K"))
    """(V, 3, 3) intrinsics in pixels of each camera's own pictures."""
    rig_image_size: NDArray[np.int64] = field(default_factory=_empty("rig_image_size"))
    """(V, 2) width and height of each camera's pictures."""
    rig_offset: NDArray[np.float64] = field(default_factory=_empty("rig_offset"))
    """(V,) frame t of the first clip shows the moment of frame t + offset of the camera's."""
    rig_given: NDArray[np.uint8] = field(default_factory=_empty("rig_given"))
    """(V,) 1 where rotation and translation were given, not solved."""
    rig_landmarks_2d: NDArray[np.float32] = field(default_factory=_empty("rig_landmarks_2d"))
    """(V, F, L, 2) landmarks in each camera's pictures at the first clip's frames; NaN for none."""
    rig_landmark_sigma: NDArray[np.float32] = field(default_factory=_empty("rig_landmark_sigma"))
    """(V, F, L) their standard deviations in pixels."""
    rig_clips: tuple[str, ...] = ()
    """V paths of the cameras' clips."""
    constraints: str = ""
    """What the fit was told to keep to, as JSON; empty for nothing."""
    person: str = ""
    """Name of the person whose face was kept; empty where it was solved."""
    format_version: int = FORMAT_VERSION
    """Version of this format."""

    def __post_init__(self) -> None:
        sizes = {"E": len(self.expression_names)}
        for name, (dtype, shape) in (_ARRAYS | _OPTIONAL).items():
            array = getattr(self, name)
            if array.dtype != np.dtype(dtype):
                raise ValueError(f"{name} is {array.dtype}, not {np.dtype(dtype)}")
            if array.ndim != len(shape):
                raise ValueError(f"{name} has shape {array.shape}, not {shape}")
            for size, wanted in zip(array.shape, shape, strict=True):
                expected = sizes.setdefault(wanted, size) if isinstance(wanted, str) else wanted
                if size != expected:
                    raise ValueError(f"{name} has shape {array.shape}; {wanted} is {expected}")

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self.frame_index)

    def save(self, path: Path | str) -> None:
        """Write the .npz file: whole, or not at all. The same track gives the same bytes."""
        arrays: dict[str, Any] = {name: getattr(self, name) for name in (*_ARRAYS, *_OPTIONAL)}
        arrays["expression_names"] = np.array(self.expression_names)
        arrays["rig_clips"] = np.array(self.rig_clips, np.str_)
        arrays |= {name: np.array(getattr(self, name)) for name in _TEXTS}
        arrays["format_version"] = np.int64(self.format_version)
        with atomic_path(Path(path)) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **arrays)

    @classmethod
    def load(cls, path: Path | str) -> Track:
        """Read a .npz file; raises `BadInputError` that names the file and what is wrong."""
        path = Path(path)
        arrays = read_arrays(path, "is damaged or not a track of Mien.")
        version = arrays.pop("format_version", None)
        missing = [f.name for f in fields(cls) if f.name not in arrays and f.name in _ARRAYS]
        if version is None or missing or "expression_names" not in arrays:
            raise BadInputError(
                f"{path}: is not a track of Mien; it lacks "
                f"{', '.join(missing[:4]) or 'format_version or expression_names'}."
            )
        if int(version) > FORMAT_VERSION:
            raise BadInputError(
                f"{path}: has format {int(version)}, newer than this version of Mien can read "
                f"({FORMAT_VERSION}). Update Mien."
            )
        names = tuple(str(name) for name in arrays["expression_names"])
        known = {name: arrays[name] for name in (*_ARRAYS, *_OPTIONAL) if name in arrays}
        known |= {name: str(arrays[name]) for name in _TEXTS if name in arrays}
        clips = tuple(str(clip) for clip in arrays.get("rig_clips", ()))
        try:
            return cls(
                **known, expression_names=names, rig_clips=clips, format_version=int(version)
            )
        except ValueError as error:
            raise BadInputError(f"{path}: is not a valid track: {error}.") from error
