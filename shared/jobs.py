"""What a client may ask for: the kinds of job, and the parts that they are made of.

The parts are also what the files of the command line hold (docs/constraints.md), so that a file and
a message are checked by the same types.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from .message_base import Count, JobId, Message, Text

Positive: TypeAlias = Annotated[float, msgspec.Meta(gt=0)]
Row: TypeAlias = tuple[float, float, float]
Whole: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=2**53)]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Base of what jobs are made of."""


class PinnedPoint(Part, frozen=True, kw_only=True):
    """A point of the head that somebody has set in a frame."""

    frame: Count
    """Frame of the first clip, counted from 0."""

    point: Text
    """Name of a landmark, such as "ibug68/30" (the tip of the nose), or "vertex/123"."""

    x: float
    """Pixels from the left of the upright full-size picture, pixel centres at integers."""

    y: float
    """Pixels from the top."""

    camera: Count = 0
    """Which camera's picture, counted from 0 in the order of the clips."""

    sigma_px: Positive = 0.5
    """Standard deviation in pixels: how exactly it was set. Since 1.2."""


class ExpressionLimit(Part, frozen=True, kw_only=True):
    """A range that an expression stays in over the whole shot."""

    name: Text
    """ARKit's name, such as "jawOpen"."""

    low: float
    """Least weight."""

    high: float
    """Largest weight."""


class ShotConstraints(Part, frozen=True, kw_only=True):
    """What somebody knows of a shot, and the fit shall keep to."""

    pins: Annotated[list[PinnedPoint], msgspec.Meta(max_length=512)] = []
    """Points that were set by hand."""

    ignore_frames: Annotated[list[tuple[Count, Count]], msgspec.Meta(max_length=512)] = []
    """Ranges of frames, first and last included, whose landmarks do not count."""

    limits: Annotated[list[ExpressionLimit], msgspec.Meta(max_length=64)] = []
    """Ranges of expressions; the others stay between 0 and 1."""

    mask: Text = ""
    """Absolute path of a picture or sequence: landmarks where it is white do not count. Empty for
    none."""

    neutral: Count | None = None
    """Frame in which the face is at rest: all its expressions are 0."""

    further_neutrals: Annotated[list[Count], msgspec.Meta(max_length=512)] = []
    """Other frames in which it is. Since 1.2."""


class Lens(Part, frozen=True, kw_only=True):
    """What is known of the lens besides its focal length."""

    principal_point: tuple[float, float] | None = None
    """Pixels; the centre of the picture where not given."""

    distortion: Row = (0.0, 0.0, 0.0)
    """K1, K2, K3 of the radial polynomial of Blender's movie clip."""

    zoom: bool = False
    """Whether the focal length may change within the shot."""


class RigCamera(Part, frozen=True, kw_only=True):
    """A further camera that recorded the same performance."""

    clip: Text
    """Absolute path of its clip, as the server sees it."""

    offset: float | None = None
    """Frames of the first clip by which this one's frame is ahead: frame t of the first clip shows
    the same moment as frame t + offset of this one. None to estimate it."""

    rotation: tuple[Row, Row, Row] | None = None
    """R of X_this = R X_first + T, OpenCV camera frames; None to solve it."""

    translation: Row | None = None
    """T of the same, metres; given where the rotation is."""

    focal_px: Positive | None = None
    """Focal length in pixels of its own clip, if known."""


class PersonSource(Part, frozen=True, kw_only=True):
    """Photographs or a clip that show a person. Since 1.2."""

    path: Text
    """Absolute path of a picture, a folder of pictures, a clip or an image sequence, as the server
    sees it."""

    focal_px: Positive | None = None
    """Focal length in pixels of the full-size pictures, if known."""


class UsedSource(Part, frozen=True, kw_only=True):
    """A photograph or clip that a person was built from. Since 1.2."""

    name: Text
    """File name."""

    n_frames: Count
    """Frames of it that went in."""

    focal_px: float
    """Its solved or given focal length, pixels."""

    image_size: tuple[Whole, Whole]
    """Width and height in pixels."""


class TrackJob(Message, frozen=True, kw_only=True, tag="track"):
    """Settings of a job that tracks one face through a clip, or those of several cameras."""

    clip: Text
    """Absolute path of a clip, image, folder or image sequence, as the server sees it."""

    start: Count | None = None
    """First frame index, counted from 0; None for the beginning of the clip."""

    end: Count | None = None
    """Last frame index, included; None for the end of the clip."""

    quality: Literal["preview", "final"] = "final"
    """"preview" stops after the per-frame pass; "final" fits the whole shot and the texture."""

    focal_mode: Literal["solve", "fixed"] = "solve"
    """Whether the focal length is solved for or given by focal_px."""

    focal_px: Positive | None = None
    """Focal length in pixels of the clip's full-size image; required where fixed."""

    subject: tuple[float, float] | None = None
    """Pixel (x, y) on the wanted person; None for the largest face."""

    subject_frame: Count | None = None
    """Frame that `subject` is a pixel of, in the range or not; None for the first that shows a
    face. Since 1.2."""

    texture_size: Annotated[int, msgspec.Meta(ge=0, le=8192)] = 2048
    """Side of the square texture in pixels; 0 for no texture."""

    lens: Lens = Lens()
    """What is known of the lens. Since 1.1."""

    constraints: ShotConstraints = ShotConstraints()
    """What the fit shall keep to; final quality only. Since 1.1."""

    cameras: Annotated[list[RigCamera], msgspec.Meta(max_length=32)] = []
    """Further cameras; final quality only. Since 1.1."""

    person: Text = ""
    """Absolute path of a person that `mien identity` has built, whose face is kept. Since 1.1."""

    frame_rate: tuple[Whole, Whole] | None = None
    """Numerator and denominator of the frames per second of image sequences; None for 24. Clips
    know their own. Since 1.2."""


class RefineJob(Message, frozen=True, kw_only=True, tag="refine"):
    """Solve a tracked shot again with constraints, from where its last solve ended: nothing is
    detected. Either `track` or `job` says which. Since 1.1."""

    track: Text = ""
    """Absolute path of a track file, as the server sees it."""

    job: JobId | None = None
    """A finished track or refine job of this server."""

    constraints: ShotConstraints | None = None
    """All that the fit shall keep to; None for what the shot was solved with. What a mask has
    hidden while tracking stays hidden; that of a refine job may be another one each time."""

    focal_px: Positive | None = None
    """Hold this focal length in the whole solve."""

    focal_mode: Literal["as_before", "solve", "zoom"] = "as_before"
    """Without focal_px: "as_before" keeps it given, solved or zooming; "solve" finds one for the
    shot; "zoom" lets it change within the shot. Since 1.2."""

    hold_person: bool = False
    """Keep the person's face in the whole solve. Since 1.2."""

    scope: Literal["near", "whole", "both"] = "both"
    """"near" solves the frames about the pins that have changed, with person and camera held, and
    gives those alone; "whole" solves everything; "both" gives the near ones first."""


class IdentityJob(Message, frozen=True, kw_only=True, tag="identity"):
    """Build a person from any photographs and clips of theirs: the largest face in each. Since
    1.2."""

    sources: Annotated[list[PersonSource], msgspec.Meta(min_length=1, max_length=256)]
    """What shows them; a folder counts as so many photographs."""


class PeopleJob(Message, frozen=True, kw_only=True, tag="people"):
    """Find out who is in a clip, or in one frame of it. Since 1.2."""

    clip: Text
    """Absolute path of a clip, image, folder or image sequence, as the server sees it."""

    start: Count | None = None
    """First frame index, counted from 0; None for the beginning of the clip."""

    end: Count | None = None
    """Last frame index, included; None for the end of the clip."""

    samples: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 24
    """How many frames of the range are looked at, spread over it."""


class DiagnosticJob(Message, frozen=True, kw_only=True, tag="diagnostic"):
    """A job that checks an installation: a seeded random walk, streamed step by step."""

    steps: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 16
    """Number of results to stream."""

    size: Annotated[int, msgspec.Meta(ge=1, le=2048)] = 64
    """Side of the square array in each result."""

    seed: Count = 0
    """Seed; the same seed gives the same results bit for bit."""

    pause_s: Annotated[float, msgspec.Meta(ge=0, le=60)] = 0.0
    """Seconds that each step lasts at least."""

    name_device: bool = False
    """Load the tensor library, try the device, and name it in the result. Since 1.2."""


Job: TypeAlias = TrackJob | RefineJob | IdentityJob | PeopleJob | DiagnosticJob
"""Every kind of job; the header's `job.type` says which one."""

JOBS: tuple[type[Message], ...] = (
    TrackJob,
    RefineJob,
    IdentityJob,
    PeopleJob,
    DiagnosticJob,
)
"""The kinds of job, which travel inside SubmitJob."""

PARTS: tuple[type[Part], ...] = (
    ShotConstraints,
    PinnedPoint,
    ExpressionLimit,
    Lens,
    RigCamera,
    PersonSource,
    UsedSource,
)
"""What jobs and their results are made of."""
