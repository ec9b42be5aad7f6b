"""Messages between the supervisor and its worker processes; no client ever sees them."""

from __future__ import annotations

from shared.codec import Decoder
from shared.messages import JobState, Message, Ping, Pong, Progress


class WorkerHello(Message, frozen=True, kw_only=True, tag="worker_hello"):
    """Worker to supervisor: the process has started."""

    token: str
    """Secret that the supervisor gave this process in its environment."""


class RunJob(Message, frozen=True, kw_only=True, tag="run_job"):
    """Supervisor to worker: run the job in this folder."""

    job_id: str
    """The job."""

    folder: str
    """Its folder in the job store."""


class StopJob(Message, frozen=True, kw_only=True, tag="stop_job"):
    """Supervisor to worker: stop as soon as possible."""

    job_id: str
    """The job."""


class Stored(Message, frozen=True, kw_only=True, tag="stored"):
    """Worker to supervisor: results are on disk up to here."""

    job_id: str
    """The job."""

    attempt: int
    """Current attempt."""

    start: int
    """Number of the first result that this attempt replaced."""

    n_results: int
    """How many results are stored."""

    state: JobState | None = None
    """How the job ended, with its last result."""


decode_from_worker = Decoder((WorkerHello, Stored, Progress, Ping, Pong))
"""Decodes what a worker sends to the supervisor."""

decode_from_supervisor = Decoder((RunJob, StopJob, Ping, Pong))
"""Decodes what the supervisor sends to a worker."""
