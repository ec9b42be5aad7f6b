"""One struct per message of the protocol, with a sentence under each field.

Arrays travel as raw buffers after the header (see codec.py); their annotation states dtype and
shape, where a letter stands for one size that is the same everywhere in the message. The frames
and units are those of the OpenCV camera convention: metres, radians, pixels (conventions.py).
PROTOCOL.md explains who sends what and when.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

ErrorCode: TypeAlias = Literal[
    "bad_input",
    "no_face",
    "cancelled",
    "out_of_memory",
    "missing_weights",
    "protocol",
    "unauthorised",
    "path_forbidden",
    "internal",
]
"""Why something was refused or failed."""

ERROR_CODES: tuple[str, ...] = get_args(ErrorCode)

JobState: TypeAlias = Literal["queued", "running", "cancelling", "done", "failed", "cancelled"]
"""Where a job is; the last three are final."""

FINAL_STATES: frozenset[str] = frozenset({"done", "failed", "cancelled"})


@dataclass(frozen=True)
class ArraySpec:
    """What an array field must look like on the wire."""

    dtype: str
    """Little-endian dtype without its byte order: u1, i4, i8, f2, f4 or f8."""

    shape: tuple[str | int, ...]
    """Sizes; a string is a size that must agree between the arrays of one message."""


_F4: TypeAlias = NDArray[np.float32]
_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
_JobId: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
_Text: TypeAlias = Annotated[str, msgspec.Meta(max_length=4096)]
_Pixels: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=65536)]


def new_job_id() -> str:
    """Return a fresh job identifier: 32 lower-case hexadecimal digits."""
    return uuid.uuid4().hex


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Base of every message; the header's `type` says which one it is."""


# ---- Connection ---------------------------------------------------------------------------


class Hello(Message, frozen=True, kw_only=True, tag="hello"):
    """Client to server, first message on every connection."""

    token: _Text = ""
    """Secret from the connection file; not needed where CURVE has authenticated the client."""

    client: _Text = ""
    """Name and version of the client, for the server's log."""

    protocol_minor: _Count = 0
    """Minor version of the protocol that the client speaks."""


class Welcome(Message, frozen=True, kw_only=True, tag="welcome"):
    """Server to client, answer to Hello."""

    boot_id: str
    """Changes whenever the server starts; a client that sees another one submits again."""

    version: str = ""
    """Version of the server's software."""

    protocol_minor: _Count = 0
    """Minor version of the protocol that the server speaks."""

    devices: list[str] = []
    """Names of the devices that jobs run on."""

    job_kinds: list[str] = []
    """Kinds of job that this server runs."""


class Ping(Message, frozen=True, kw_only=True, tag="ping"):
    """Either way: asks for a Pong when nothing was heard for a while."""

    nonce: _Count = 0
    """Returned unchanged in the Pong."""


class Pong(Message, frozen=True, kw_only=True, tag="pong"):
    """Either way: answer to Ping."""

    nonce: _Count = 0
    """The nonce of the Ping."""

    boot_id: str = ""
    """The server's boot id; empty when a client answers."""


class Error(Message, frozen=True, kw_only=True, tag="error"):
    """Server to client: a request was refused. The connection stays usable."""

    code: ErrorCode
    """Kind of error."""

    message: str
    """What went wrong and what to do about it, for a person."""

    job_id: str | None = None
    """The job that the request was about, if any."""


# ---- Requests about jobs ------------------------------------------------------------------


class TrackJob(Message, frozen=True, kw_only=True, tag="track"):
    """Settings of a job that tracks one face through a clip."""

    clip: _Text
    """Absolute path of a clip, image, folder or image sequence, as the server sees it."""

    start: _Count | None = None
    """First frame index, counted from 0; None for the beginning of the clip."""

    end: _Count | None = None
    """Last frame index, included; None for the end of the clip."""

    quality: Literal["preview", "final"] = "final"
    """"preview" stops after the per-frame pass; "final" fits the whole shot and the texture."""

    focal_mode: Literal["solve", "fixed"] = "solve"
    """Whether the focal length is solved for or given by focal_px."""

    focal_px: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """Focal length in pixels of the clip's full-size image; required where fixed."""

    subject: tuple[float, float] | None = None
    """Pixel (x, y) on the wanted person in the first frame; None for the largest face."""

    texture_size: Annotated[int, msgspec.Meta(ge=0, le=8192)] = 2048
    """Side of the square texture in pixels; 0 for no texture."""


class DiagnosticJob(Message, frozen=True, kw_only=True, tag="diagnostic"):
    """A job that checks an installation: a seeded random walk, streamed step by step."""

    steps: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 16
    """Number of results to stream."""

    size: Annotated[int, msgspec.Meta(ge=1, le=2048)] = 64
    """Side of the square array in each result."""

    seed: _Count = 0
    """Seed; the same seed gives the same results bit for bit."""

    pause_s: Annotated[float, msgspec.Meta(ge=0, le=60)] = 0.0
    """Seconds that each step lasts at least."""


Job: TypeAlias = TrackJob | DiagnosticJob
"""Every kind of job; the header's `job.type` says which one."""


class SubmitJob(Message, frozen=True, kw_only=True, tag="submit_job"):
    """Client to server: run this job, or go on sending its results if it is already known."""

    job_id: _JobId
    """Chosen by the client, so that submitting twice runs once."""

    job: Job
    """What to do."""

    attempt: _Count = 0
    """Attempt of the last result received; 0 where none was."""

    after: _Count = 0
    """Sequence of the last result received; results after it are sent."""


class CancelJob(Message, frozen=True, kw_only=True, tag="cancel_job"):
    """Client to server: stop this job. Answered at once by a JobStatus."""

    job_id: _JobId
    """The job to stop."""


class Acknowledge(Message, frozen=True, kw_only=True, tag="acknowledge"):
    """Client to server: results up to here have arrived, so that more may be sent."""

    job_id: _JobId
    """The job whose results arrived."""

    attempt: _Count
    """Attempt of the last result received."""

    sequence: _Count
    """Sequence of the last result received."""


# ---- Events of a job ----------------------------------------------------------------------


class JobStatus(Message, frozen=True, kw_only=True, tag="job_status"):
    """Server to client: where a job is; sent after a submission and whenever it changes."""

    job_id: str
    """The job."""

    state: JobState
    """Where it is."""

    queue_position: _Count = 0
    """How many jobs wait before it, while it is queued."""

    attempt: _Count = 1
    """Current attempt of the job."""

    n_results: _Count = 0
    """How many results are stored so far."""


class Progress(Message, frozen=True, kw_only=True, tag="progress"):
    """Server to client: how far the job is. Not numbered; only the latest one matters."""

    stage: _Text
    """Name of the stage, such as "detect", "fit" or "bake"."""

    fraction: float
    """Share of this stage that is done, 0 to 1."""

    frame_index: _Count | None = None
    """Frame that is being worked on, where the stage goes frame by frame."""

    job_id: str = ""
    """The job; filled in by the worker."""


class JobResult(Message, frozen=True, kw_only=True):
    """Base of the numbered results of a job, which are stored and can be sent again."""

    job_id: str = ""
    """The job; filled in by the worker."""

    attempt: _Count = 0
    """Raised when a rerun gave different results, which then replace those sent before."""

    sequence: _Count = 0
    """1 for the first result of the job, then one more each; filled in by the worker."""


class ModelResult(JobResult, frozen=True, kw_only=True, eq=False, tag="model_result"):
    """The head that the frames animate: first with the mean face, again when it is solved."""

    stage: Literal["preview", "final"]
    """"preview" for a first head, "final" for the solved identity."""

    expression_names: list[str]
    """Name of each shape key, ARKit's."""

    identity: Annotated[_F4, ArraySpec("f4", ("I",))]
    """Identity coefficients in standard deviations."""

    neutral: Annotated[_F4, ArraySpec("f4", ("N", 3))]
    """Vertices of the neutral face with its identity, bind pose, head frame, metres."""

    shape_keys: Annotated[_F4, ArraySpec("f4", ("E", "N", 3))]
    """Offsets of each expression from the neutral face, metres."""

    faces: Annotated[NDArray[np.int32], ArraySpec("i4", ("T", 3))]
    """Vertex indices of the triangles, counter-clockwise from outside."""

    uv: Annotated[_F4, ArraySpec("f4", ("T", 3, 2))]
    """Texture coordinates of each corner of each triangle, v up."""

    joints: Annotated[_F4, ArraySpec("f4", ("J", 3))]
    """Joint centres in the bind pose: neck, head, left eye, right eye; head frame, metres."""

    skin_weights: Annotated[_F4, ArraySpec("f4", ("N", "J"))]
    """Share of each joint in each vertex."""


class FrameResult(JobResult, frozen=True, kw_only=True, eq=False, tag="frame_result"):
    """The face in one frame; a final result replaces the preview of the same frame."""

    stage: Literal["preview", "final"]
    """"preview" from the per-frame pass, "final" from the fit of the whole shot."""

    frame_index: _Count
    """Index of the frame in the clip, counted from 0."""

    timestamp: float
    """Presentation time of the frame in seconds."""

    found: bool
    """Whether the face was seen; if not, the pose is carried over from other frames."""

    focal_px: float
    """Focal length in pixels."""

    expression: Annotated[_F4, ArraySpec("f4", ("E",))]
    """Weight of each expression."""

    joint_rotations: Annotated[_F4, ArraySpec("f4", ("J", 3))]
    """Rotation vectors of the joints; the first is the root's, in the camera frame."""

    translation: Annotated[_F4, ArraySpec("f4", (3,))]
    """Translation of the head in the camera frame, metres."""

    head_pose: Annotated[_F4, ArraySpec("f4", (4, 4))]
    """T_camera_head: maps the head joint's bind frame to the camera frame."""

    eye_rotation: Annotated[_F4, ArraySpec("f4", (2, 3))]
    """Rotation vectors of the left and the right eye relative to the head."""

    landmarks_2d: Annotated[_F4, ArraySpec("f4", ("L", 2))] | None = None
    """Detected landmarks in pixels; absent where no face was found."""

    landmark_sigma: Annotated[_F4, ArraySpec("f4", ("L",))] | None = None
    """Standard deviation of each landmark in pixels; absent where no face was found."""

    vertices: Annotated[_F4, ArraySpec("f4", ("N", 3))] | None = None
    """Posed vertices in the camera frame, metres; final results only."""

    visibility: Annotated[NDArray[np.uint8], ArraySpec("u1", ("N",))] | None = None
    """1 where the camera sees the vertex; final results only."""


class TextureResult(JobResult, frozen=True, kw_only=True, eq=False, tag="texture_result"):
    """The texture merged over all frames."""

    texture: Annotated[NDArray[np.uint8], ArraySpec("u1", ("H", "W", 4))]
    """sRGB and alpha, first row at the top; alpha 255 where measured, less where completed."""


class DiagnosticResult(JobResult, frozen=True, kw_only=True, eq=False, tag="diagnostic_result"):
    """One step of a DiagnosticJob."""

    step: _Count
    """Step, counted from 0."""

    values: Annotated[NDArray[np.float64], ArraySpec("f8", ("S", "S"))]
    """State of the walk after this step."""


class JobDone(JobResult, frozen=True, kw_only=True, eq=False, tag="job_done"):
    """Last result of a job that succeeded."""

    image_size: tuple[_Pixels, _Pixels] | None = None
    """Width and height of the clip in pixels, after rotation."""

    frame_rate: tuple[_Count, _Count] | None = None
    """Numerator and denominator of the frames per second."""

    n_frames: _Count = 0
    """How many frames were tracked."""

    K: Annotated[NDArray[np.float64], ArraySpec("f8", (3, 3))] | None = None
    """Intrinsics of the camera in pixels."""


class JobFailed(JobResult, frozen=True, kw_only=True, tag="job_failed"):
    """Last result of a job that failed."""

    code: ErrorCode
    """Kind of error."""

    message: str
    """What went wrong, for a person."""


class JobCancelled(JobResult, frozen=True, kw_only=True, tag="job_cancelled"):
    """Last result of a job that was cancelled."""


Event: TypeAlias = Progress | ModelResult | FrameResult | TextureResult | DiagnosticResult
"""What a job reports while it runs."""

CLIENT_MESSAGES: tuple[type[Message], ...] = (
    Hello,
    SubmitJob,
    CancelJob,
    Acknowledge,
    Ping,
    Pong,
)
"""What a client may send."""

SERVER_MESSAGES: tuple[type[Message], ...] = (
    Welcome,
    Error,
    JobStatus,
    Progress,
    ModelResult,
    FrameResult,
    TextureResult,
    DiagnosticResult,
    JobDone,
    JobFailed,
    JobCancelled,
    Ping,
    Pong,
)
"""What the server may send."""

FINAL_RESULTS: tuple[type[JobResult], ...] = (JobDone, JobFailed, JobCancelled)
"""One of these is the last result of every job."""


def tag_of(message_type: type[Any]) -> str:
    """Return the name of a message type on the wire, such as "frame_result"."""
    tag = message_type.__struct_config__.tag
    assert isinstance(tag, str)
    return tag
