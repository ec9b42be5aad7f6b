"""One struct per message of the protocol, with a sentence under each field.

Arrays travel as raw buffers after the header (see codec.py); their annotation states dtype and
shape, where a letter stands for one size that is the same everywhere in the message. The frames
and units are those of the OpenCV camera convention: metres, radians, pixels (conventions.py).
PROTOCOL.md explains who sends what and when. This module has those of connections and requests, and
offers the jobs (jobs.py), the results (results.py) and the base (message_base.py) too.
"""

from __future__ import annotations

from .jobs import PARTS as PARTS
from .jobs import DiagnosticJob as DiagnosticJob
from .jobs import ExpressionLimit as ExpressionLimit
from .jobs import IdentityJob as IdentityJob
from .jobs import Job as Job
from .jobs import Lens as Lens
from .jobs import PeopleJob as PeopleJob
from .jobs import PersonSource as PersonSource
from .jobs import PinnedPoint as PinnedPoint
from .jobs import RefineJob as RefineJob
from .jobs import RigCamera as RigCamera
from .jobs import ShotConstraints as ShotConstraints
from .jobs import TrackJob as TrackJob
from .jobs import UsedSource as UsedSource
from .message_base import ERROR_CODES as ERROR_CODES
from .message_base import FINAL_STATES as FINAL_STATES
from .message_base import ArraySpec as ArraySpec
from .message_base import Count, JobId, Text
from .message_base import ErrorCode as ErrorCode
from .message_base import JobState as JobState
from .message_base import Message as Message
from .message_base import new_job_id as new_job_id
from .message_base import tag_of as tag_of
from .results import CameraResult as CameraResult
from .results import DiagnosticResult as DiagnosticResult
from .results import Event as Event
from .results import FrameResult as FrameResult
from .results import IdentityResult as IdentityResult
from .results import JobCancelled as JobCancelled
from .results import JobDone as JobDone
from .results import JobFailed as JobFailed
from .results import JobResult as JobResult
from .results import ModelResult as ModelResult
from .results import PersonResult as PersonResult
from .results import Progress as Progress
from .results import TextureResult as TextureResult

# ---- Connection ---------------------------------------------------------------------------


class Hello(Message, frozen=True, kw_only=True, tag="hello"):
    """Client to server, first message on every connection."""

    token: Text = ""
    """Secret from the connection file; not needed where CURVE has authenticated the client."""

    client: Text = ""
    """Name and version of the client, for the server's log."""

    protocol_minor: Count = 0
    """Minor version of the protocol that the client speaks."""


class Welcome(Message, frozen=True, kw_only=True, tag="welcome"):
    """Server to client, answer to Hello."""

    boot_id: str
    """Changes whenever the server starts; a client that sees another one submits again."""

    version: str = ""
    """Version of the server's software."""

    protocol_minor: Count = 0
    """Minor version of the protocol that the server speaks."""

    devices: list[str] = []
    """Names of the devices that jobs run on."""

    job_kinds: list[str] = []
    """Kinds of job that this server runs."""


class Ping(Message, frozen=True, kw_only=True, tag="ping"):
    """Either way: asks for a Pong when nothing was heard for a while."""

    nonce: Count = 0
    """Returned unchanged in the Pong."""


class Pong(Message, frozen=True, kw_only=True, tag="pong"):
    """Either way: answer to Ping."""

    nonce: Count = 0
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


class SubmitJob(Message, frozen=True, kw_only=True, tag="submit_job"):
    """Client to server: run this job, or go on sending its results if it is already known."""

    job_id: JobId
    """Chosen by the client, so that submitting twice runs once."""

    job: Job
    """What to do."""

    attempt: Count = 0
    """Attempt of the last result received; 0 where none was."""

    after: Count = 0
    """Sequence of the last result received; results after it are sent."""


class CancelJob(Message, frozen=True, kw_only=True, tag="cancel_job"):
    """Client to server: stop this job. Answered at once by a JobStatus."""

    job_id: JobId
    """The job to stop."""


class Acknowledge(Message, frozen=True, kw_only=True, tag="acknowledge"):
    """Client to server: results up to here have arrived, so that more may be sent."""

    job_id: JobId
    """The job whose results arrived."""

    attempt: Count
    """Attempt of the last result received."""

    sequence: Count
    """Sequence of the last result received."""


# ---- Events of a job ----------------------------------------------------------------------


class JobStatus(Message, frozen=True, kw_only=True, tag="job_status"):
    """Server to client: where a job is; sent after a submission and whenever it changes."""

    job_id: str
    """The job."""

    state: JobState
    """Where it is."""

    queue_position: Count = 0
    """How many jobs wait before it, while it is queued."""

    attempt: Count = 1
    """Current attempt of the job."""

    n_results: Count = 0
    """How many results are stored so far."""


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
    CameraResult,
    PersonResult,
    IdentityResult,
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
