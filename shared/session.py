"""The client's side of the protocol without sockets, and a thin loop around one.

`ClientSession` takes the frames that arrived and the time, and says what to send, which messages
the application should see, and when to throw the socket away. It delivers every result of a job
once and in order, whatever happens to the server in between: after silence it asks for a fresh
socket (the Lazy Pirate pattern), greets again, and submits its unfinished jobs again with the
last result it has, which the server takes as a request to go on from there.

`Connection` drives a session over a ZeroMQ DEALER socket that the application opens; it imports
no ZeroMQ itself, so that the add-on may bring its own.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from .codec import Buffer, DecodeError, decode_from_server, encode
from .messages import (
    FINAL_RESULTS,
    Acknowledge,
    CancelJob,
    Error,
    Hello,
    Job,
    JobCancelled,
    JobDone,
    JobFailed,
    JobResult,
    JobStatus,
    Message,
    Ping,
    Pong,
    Progress,
    SubmitJob,
    Welcome,
    new_job_id,
)
from .version import PROTOCOL_MINOR, __version__

Delivered: TypeAlias = Welcome | Error | JobStatus | Progress | JobResult
"""What the application sees. A job that the server refuses is delivered as JobFailed."""

POLLIN, POLLOUT, NOBLOCK = 1, 2, 1
"""ZeroMQ's own constants, which every binding shares."""


@dataclass(frozen=True)
class Timing:
    """How patient a session is, in seconds."""

    ping_s: float = 0.5
    """Silence after which the server is asked whether it lives."""

    silence_s: float = 2.5
    """Time after an unanswered ping, or greeting, until the socket is thrown away."""

    backoff_s: float = 0.25
    """Pause before the first reconnection; doubles with each failure."""

    longest_backoff_s: float = 2.0
    """Longest pause between reconnections."""


@dataclass
class _ClientJob:
    job: Job
    attempt: int = 0
    sequence: int = 0
    cancel: bool = False
    acknowledge: bool = False
    resubmitted: bool = False


class ClientSession:
    """State of one client: its connection, its unfinished jobs and what they have received."""

    def __init__(self, client: str = f"mien {__version__}", timing: Timing | None = None) -> None:
        self.client = client
        self.timing = timing or Timing()
        self.state: Literal["disconnected", "greeting", "ready"] = "disconnected"
        self.boot_id: str | None = None
        self._jobs: dict[str, _ClientJob] = {}
        self._outbox: deque[list[Buffer]] = deque()
        self._asked_at: float | None = None
        self._heard_at = 0.0
        self._nonce = 0
        self._failures = 0
        self._reconnect_at = 0.0

    # ---- what the application asks for ----------------------------------------------------

    @property
    def unfinished(self) -> tuple[str, ...]:
        """Identifiers of the jobs whose last result has not arrived."""
        return tuple(self._jobs)

    def submit(self, job: Job, job_id: str | None = None) -> str:
        """Submit a job, now or as soon as there is a connection; returns its identifier.

        With the identifier of an earlier job its results are sent again from the beginning.
        """
        job_id = job_id or new_job_id()
        self._jobs[job_id] = _ClientJob(job)
        if self.state == "ready":
            self._send_submission(job_id)
        return job_id

    def cancel(self, job_id: str) -> None:
        """Ask for a job to stop; its last result will be JobCancelled unless it was faster."""
        if job_id in self._jobs:
            self._jobs[job_id].cancel = True
            if self.state == "ready":
                self._send(CancelJob(job_id=job_id))

    def forget(self, job_id: str) -> None:
        """Ignore a job from now on; it goes on at the server."""
        self._jobs.pop(job_id, None)

    # ---- what the socket's owner calls ----------------------------------------------------

    def connected(self, token: str, now: float) -> None:
        """Start on a fresh socket: greet first, submit when the server has answered."""
        self._outbox.clear()
        self.state = "greeting"
        self._asked_at = self._heard_at = now
        self._send(Hello(token=token, client=self.client, protocol_minor=PROTOCOL_MINOR))

    def wants_socket(self, now: float) -> bool:
        """Whether it is time to close the old socket, open a fresh one and call `connected`."""
        return self.state == "disconnected" and now >= self._reconnect_at

    def disconnected(self, now: float) -> None:
        """Note that the socket is of no use any more; `wants_socket` says when to try again."""
        self.state = "disconnected"
        self._outbox.clear()
        pause = min(self.timing.backoff_s * 2**self._failures, self.timing.longest_backoff_s)
        self._failures = min(self._failures + 1, 16)
        self._reconnect_at = now + pause

    def tick(self, now: float) -> None:
        """Let time pass. Call it after `receive` has had all that waits in the socket."""
        if self.state == "disconnected":
            return
        if self._asked_at is not None:
            if now - self._asked_at > self.timing.silence_s:
                self.disconnected(now)
        elif now - self._heard_at > self.timing.ping_s:
            self._nonce += 1
            self._asked_at = now
            self._send(Ping(nonce=self._nonce))

    def outgoing(self) -> list[list[Buffer]]:
        """Return the frames to send, in order, and forget them."""
        for job_id, known in self._jobs.items():
            if known.acknowledge and self.state == "ready":
                known.acknowledge = False
                self._send_acknowledgement(job_id, known)
        frames = list(self._outbox)
        self._outbox.clear()
        return frames

    def receive(self, frames: Sequence[Buffer], now: float) -> list[Delivered]:
        """Take the frames of one message; returns what the application should see, if anything."""
        if self.state == "disconnected":
            return []
        try:
            message = decode_from_server(frames)
        except DecodeError as error:
            self.disconnected(now)
            return [Error(code="protocol", message=str(error))]
        self._heard_at = now
        if self.state == "ready":
            self._asked_at = None
        if isinstance(message, Welcome):
            return self._welcomed(message)
        if isinstance(message, Ping):
            self._send(Pong(nonce=message.nonce))
            return []
        if isinstance(message, Pong):
            if message.boot_id != self.boot_id:
                self.disconnected(now)
            return []
        if isinstance(message, Error):
            return self._refused(message, now)
        if isinstance(message, JobResult):
            return self._result(message)
        if isinstance(message, JobStatus):
            return self._status(message)
        return [message] if message.job_id in self._jobs else []

    # ---- inside ---------------------------------------------------------------------------

    def _send(self, message: Message) -> None:
        self._outbox.append(encode(message))

    def _send_submission(self, job_id: str) -> None:
        known = self._jobs[job_id]
        self._send(
            SubmitJob(job_id=job_id, job=known.job, attempt=known.attempt, after=known.sequence)
        )
        if known.cancel:
            self._send(CancelJob(job_id=job_id))

    def _send_acknowledgement(self, job_id: str, known: _ClientJob) -> None:
        self._send(Acknowledge(job_id=job_id, attempt=known.attempt, sequence=known.sequence))

    def _welcomed(self, message: Welcome) -> list[Delivered]:
        self.state = "ready"
        self.boot_id = message.boot_id
        self._asked_at = None
        self._failures = 0
        for job_id in self._jobs:
            self._send_submission(job_id)
        return [message]

    def _refused(self, message: Error, now: float) -> list[Delivered]:
        if message.job_id is not None:
            if self._jobs.pop(message.job_id, None) is None:
                return []
            return [JobFailed(job_id=message.job_id, code=message.code, message=message.message)]
        if message.code == "unauthorised":
            # After a welcome this means that the server has started anew behind our back:
            # greeting it again is enough, and nothing that the application need know.
            was_ready = self.state == "ready"
            self.disconnected(now)
            return [] if was_ready else [message]
        return [message]

    def _status(self, message: JobStatus) -> list[Delivered]:
        known = self._jobs.get(message.job_id)
        if known is None:
            return []
        known.resubmitted = False
        if message.attempt < known.attempt:
            # The server has lost what it had stored and starts from the beginning.
            known.attempt, known.sequence = message.attempt, 0
        return [message]

    def _result(self, message: JobResult) -> list[Delivered]:
        known = self._jobs.get(message.job_id)
        if known is None:
            return []
        fresh = message.attempt > known.attempt > 0 and message.sequence <= known.sequence + 1
        following = message.sequence == known.sequence + 1 and (
            message.attempt == known.attempt or known.attempt == 0
        )
        # Duplicates are acknowledged too: the server counts them against what it may send.
        known.acknowledge = True
        if not fresh and not following:
            beyond = (message.attempt, message.sequence) > (known.attempt, known.sequence)
            if beyond and not known.resubmitted:
                known.resubmitted = True
                self._send_submission(message.job_id)
            return []
        known.attempt, known.sequence = message.attempt, message.sequence
        if isinstance(message, FINAL_RESULTS):
            self._send_acknowledgement(message.job_id, known)
            del self._jobs[message.job_id]
        return [message]


class Socket(Protocol):
    """What `Connection` needs of a ZeroMQ DEALER socket."""

    def send_multipart(self, msg_parts: Sequence[Any], flags: int = 0) -> Any:
        """Send one message."""

    def recv_multipart(self, flags: int = 0) -> Any:
        """Receive one message."""

    def poll(self, timeout: int | None = None, flags: int = POLLIN) -> int:
        """Wait up to timeout milliseconds until one of flags is possible."""

    def close(self, linger: int | None = None) -> None:
        """Close the socket, dropping what was not sent."""


class Connection:
    """Drives a session over sockets that `open_socket` makes.

    open_socket returns a fresh DEALER socket (linger 0), connected to the server, and the token;
    it is called again for every reconnection, so that it reads the connection file each time. It
    may raise OSError or ValueError where there is no server yet.
    """

    def __init__(
        self, session: ClientSession, open_socket: Callable[[], tuple[Socket, str]]
    ) -> None:
        self.session = session
        self.problem: Exception | None = None
        self._open_socket = open_socket
        self._socket: Socket | None = None
        self._unsent: deque[list[Buffer]] = deque()

    def poll(self, timeout_s: float = 0.0, budget_s: float = 0.05) -> list[Delivered]:
        """Send and receive; returns the messages for the application.

        Waits up to timeout_s for the first message, then takes what is there for up to budget_s,
        so that a user interface stays responsive while results pour in. `problem` holds the
        error of the last failed attempt to open a socket.
        """
        session = self.session
        if session.wants_socket(time.monotonic()):
            self._reopen()
        if self._socket is None:
            if timeout_s > 0:
                time.sleep(min(timeout_s, 0.05))
            return []
        self._flush()
        delivered: list[Delivered] = []
        wait_ms = int(timeout_s * 1000)
        began: float | None = None
        drained = False
        while session.state != "disconnected":
            if not self._socket.poll(wait_ms, POLLIN):
                drained = True
                break
            wait_ms = 0
            began = time.monotonic() if began is None else began
            delivered += session.receive(self._socket.recv_multipart(NOBLOCK), time.monotonic())
            if time.monotonic() - began > budget_s:
                break
        if drained:
            # Silence counts only when nothing waits in the socket: the application may have
            # been busy for a while with the server's answers already there.
            session.tick(time.monotonic())
        if session.state == "disconnected":
            self._drop()
        else:
            self._flush()
        return delivered

    def close(self) -> None:
        """Send what can be sent within a moment, such as a cancellation, and close the socket."""
        if self._socket is not None:
            self._flush()
            self._socket.close(200)
            self._socket = None
        self._unsent.clear()
        self.session.disconnected(time.monotonic())

    def _reopen(self) -> None:
        self._drop()
        try:
            self._socket, token = self._open_socket()
        except (OSError, ValueError) as error:
            self.problem = error
            self.session.disconnected(time.monotonic())
            return
        self.problem = None
        self.session.connected(token, time.monotonic())

    def _flush(self) -> None:
        assert self._socket is not None
        self._unsent.extend(self.session.outgoing())
        while self._unsent and self._socket.poll(0, POLLOUT):
            self._socket.send_multipart(self._unsent.popleft(), NOBLOCK)

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close(0)
            self._socket = None
        self._unsent.clear()


def outcome_of(message: Delivered) -> Literal["done", "failed", "cancelled"] | None:
    """Return how a job ended if this message ends one, else None."""
    if isinstance(message, JobDone):
        return "done"
    if isinstance(message, JobFailed):
        return "failed"
    return "cancelled" if isinstance(message, JobCancelled) else None
