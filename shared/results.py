"""What a job reports: its progress, and the numbered results that are stored and sent again."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .jobs import UsedSource
from .message_base import ArraySpec, Count, ErrorCode, Float32s, Message, Pixels, Text


class Progress(Message, frozen=True, kw_only=True, tag="progress"):
    """Server to client: how far the job is. Not numbered; only the latest one matters."""

    stage: Text
    """Name of the stage, such as "detect", "fit" or "bake"."""

    fraction: float
    """Share of this stage that is done, 0 to 1."""

    frame_index: Count | None = None
    """Frame that is being worked on, where the stage goes frame by frame."""

    job_id: str = ""
    """The job; filled in by the worker."""


class JobResult(Message, frozen=True, kw_only=True):
    """Base of the numbered results of a job, which are stored and can be sent again."""

    job_id: str = ""
    """The job; filled in by the worker."""

    attempt: Count = 0
    """Raised when a rerun gave different results, which then replace those sent before."""

    sequence: Count = 0
    """1 for the first result of the job, then one more each; filled in by the worker."""


class ModelResult(JobResult, frozen=True, kw_only=True, eq=False, tag="model_result"):
    """The head that the frames animate: first with the mean face, again when it is solved."""

    stage: Literal["preview", "final"]
    """"preview" for a first head, "final" for the solved identity."""

    expression_names: list[str]
    """Name of each shape key, ARKit's."""

    identity: Annotated[Float32s, ArraySpec("f4", ("I",))]
    """Identity coefficients in standard deviations."""

    neutral: Annotated[Float32s, ArraySpec("f4", ("N", 3))]
    """Vertices of the neutral face with its identity, bind pose, head frame, metres."""

    shape_keys: Annotated[Float32s, ArraySpec("f4", ("E", "N", 3))]
    """Offsets of each expression from the neutral face, metres."""

    faces: Annotated[NDArray[np.int32], ArraySpec("i4", ("T", 3))]
    """Vertex indices of the triangles, counter-clockwise from outside."""

    uv: Annotated[Float32s, ArraySpec("f4", ("T", 3, 2))]
    """Texture coordinates of each corner of each triangle, v up."""

    joints: Annotated[Float32s, ArraySpec("f4", ("J", 3))]
    """Joint centres in the bind pose: neck, head, left eye, right eye; head frame, metres."""

    skin_weights: Annotated[Float32s, ArraySpec("f4", ("N", "J"))]
    """Share of each joint in each vertex."""


class FrameResult(JobResult, frozen=True, kw_only=True, eq=False, tag="frame_result"):
    """The face in one frame; a final result replaces the preview of the same frame."""

    stage: Literal["preview", "final"]
    """"preview" from the per-frame pass, "final" from the fit of the whole shot."""

    frame_index: Count
    """Index of the frame in the clip, counted from 0."""

    timestamp: float
    """Presentation time of the frame in seconds."""

    found: bool
    """Whether the face was seen; if not, the pose is carried over from other frames."""

    focal_px: float
    """Focal length in pixels."""

    expression: Annotated[Float32s, ArraySpec("f4", ("E",))]
    """Weight of each expression."""

    joint_rotations: Annotated[Float32s, ArraySpec("f4", ("J", 3))]
    """Rotation vectors of the joints; the first is the root's, in the camera frame."""

    translation: Annotated[Float32s, ArraySpec("f4", (3,))]
    """Translation of the head in the camera frame, metres."""

    head_pose: Annotated[Float32s, ArraySpec("f4", (4, 4))]
    """T_camera_head: maps the head joint's bind frame to the camera frame."""

    eye_rotation: Annotated[Float32s, ArraySpec("f4", (2, 3))]
    """Rotation vectors of the left and the right eye relative to the head."""

    landmarks_2d: Annotated[Float32s, ArraySpec("f4", ("L", 2))] | None = None
    """Detected landmarks in pixels; absent where no face was found."""

    landmark_sigma: Annotated[Float32s, ArraySpec("f4", ("L",))] | None = None
    """Standard deviation of each landmark in pixels; infinite under a mask; absent where no face
    was found."""

    vertices: Annotated[Float32s, ArraySpec("f4", ("N", 3))] | None = None
    """Posed vertices in the camera frame, metres; final results only."""

    visibility: Annotated[NDArray[np.uint8], ArraySpec("u1", ("N",))] | None = None
    """1 where the camera sees the vertex; final results only."""

    soft_visibility: Annotated[NDArray[np.uint8], ArraySpec("u1", ("N",))] | None = None
    """The same as a soft value, 0 to 255; 128 and more is 1 in `visibility`."""


class TextureResult(JobResult, frozen=True, kw_only=True, eq=False, tag="texture_result"):
    """The texture merged over all frames."""

    texture: Annotated[NDArray[np.uint8], ArraySpec("u1", ("H", "W", 4))]
    """sRGB and alpha, first row at the top; alpha 255 where measured, less where completed."""

    albedo: Annotated[NDArray[np.uint8], ArraySpec("u1", ("A", "B", 3))] | None = None
    """sRGB, without the shot's low-frequency shading; absent where that could not be told."""

    lighting: Annotated[Float32s, ArraySpec("f4", ("C", 3))] | None = None
    """The shot's light: nine spherical harmonics of the normal in the camera frame, irradiance over
    pi in linear light; absent with the albedo."""


class CameraResult(JobResult, frozen=True, kw_only=True, eq=False, tag="camera_result"):
    """One of several cameras of a shot, the first one too; its frames are those of the first clip.
    Since 1.1."""

    number: Count
    """Which camera, counted from 0 in the order of the clips."""

    clip: str
    """Path of its clip, as the server saw it."""

    offset: float
    """Frame t of the first clip shows the same moment as frame t + offset of this one, both counted
    at the first one's rate."""

    image_size: tuple[Pixels, Pixels]
    """Width and height of its pictures in pixels, after rotation."""

    K: Annotated[NDArray[np.float64], ArraySpec("f8", (3, 3))]
    """Intrinsics in pixels of its own pictures."""

    rotation: Annotated[NDArray[np.float64], ArraySpec("f8", (3, 3))]
    """R of X_this = R X_first + T."""

    translation: Annotated[NDArray[np.float64], ArraySpec("f8", (3,))]
    """T of the same, metres."""

    is_given: bool = False
    """Whether rotation and translation were given, not solved."""

    landmarks_2d: Annotated[Float32s, ArraySpec("f4", ("F", "L", 2))]
    """Landmarks in its pictures at the moments of the first clip's frames; NaN where there are
    none."""

    landmark_sigma: Annotated[Float32s, ArraySpec("f4", ("F", "L"))]
    """Standard deviation of each in pixels; NaN where there is none, infinite under a mask."""


class PersonResult(JobResult, frozen=True, kw_only=True, eq=False, tag="person_result"):
    """One of the people of a clip, those seen longest and largest first. Since 1.2."""

    number: Count
    """Which person, counted from 0."""

    frame_index: Count
    """Frame in which they are seen best."""

    place: tuple[float, float]
    """Pixel (x, y) in the middle of their face there: what a TrackJob takes as `subject`."""

    frames: Annotated[NDArray[np.int64], ArraySpec("i8", ("K",))]
    """Frames in which they were found, of those that were looked at, ascending."""

    boxes: Annotated[Float32s, ArraySpec("f4", ("K", 4))]
    """Left, top, right and bottom of the face in each of them, pixels."""

    picture: Annotated[NDArray[np.uint8], ArraySpec("u1", ("A", "A", 3))]
    """sRGB picture of the face where it is seen best, first row at the top."""


class IdentityResult(JobResult, frozen=True, kw_only=True, eq=False, tag="identity_result"):
    """The person that an IdentityJob has built: what a person's file holds. Since 1.2."""

    identity: Annotated[Float32s, ArraySpec("f4", ("I",))]
    """Identity coefficients in standard deviations."""

    correction: Annotated[Float32s, ArraySpec("f4", ("N", 3))]
    """What the coefficients leave undone: added to the vertices of the mean head, metres."""

    joint_correction: Annotated[Float32s, ArraySpec("f4", ("J", 3))]
    """The same for the joints' centres."""

    sources: list[UsedSource]
    """What they were built from."""

    skipped: list[Text] = []
    """Sources that were left out and why, for a person."""


class DiagnosticResult(JobResult, frozen=True, kw_only=True, eq=False, tag="diagnostic_result"):
    """One step of a DiagnosticJob."""

    step: Count
    """Step, counted from 0."""

    values: Annotated[NDArray[np.float64], ArraySpec("f8", ("S", "S"))]
    """State of the walk after this step."""


class JobDone(JobResult, frozen=True, kw_only=True, eq=False, tag="job_done"):
    """Last result of a job that succeeded."""

    image_size: tuple[Pixels, Pixels] | None = None
    """Width and height of the clip in pixels, after rotation."""

    frame_rate: tuple[Count, Count] | None = None
    """Numerator and denominator of the frames per second."""

    n_frames: Count = 0
    """How many frames were tracked."""

    K: Annotated[NDArray[np.float64], ArraySpec("f8", (3, 3))] | None = None
    """Intrinsics of the camera in pixels."""

    focal_sd_percent: float | None = None
    """Standard deviation of the solved focal length in per cent; None where it was given. Since
    1.1."""

    distortion: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """K1, K2, K3 of the lens, as Blender's movie clip has them (polynomial). Since 1.2."""

    near_ms: float | None = None
    """Milliseconds of a refine job's solve about the changed pins. Since 1.1."""

    whole_ms: float | None = None
    """Milliseconds of a refine job's solve of the whole shot. Since 1.1."""

    device: str = ""
    """Name of what computed it, such as "NVIDIA GeForce RTX 4090"; empty where a job needs no
    tensors. Since 1.2."""


class JobFailed(JobResult, frozen=True, kw_only=True, tag="job_failed"):
    """Last result of a job that failed."""

    code: ErrorCode
    """Kind of error."""

    message: str
    """What went wrong, for a person."""


class JobCancelled(JobResult, frozen=True, kw_only=True, tag="job_cancelled"):
    """Last result of a job that was cancelled."""


Event: TypeAlias = (
    Progress
    | ModelResult
    | FrameResult
    | TextureResult
    | CameraResult
    | PersonResult
    | IdentityResult
    | DiagnosticResult
)
"""What a job reports while it runs."""
