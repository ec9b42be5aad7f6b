# SPDX-License-Identifier: GPL-3.0-or-later
"""One tracking job at a backend, polled without ever waiting; knows no bpy."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

from .shared.codec import LIMITS
from .shared.connection import default_connection_file, read_connection_file
from .shared.messages import (
    Error,
    Job,
    JobCancelled,
    JobDone,
    JobFailed,
    JobResult,
    JobStatus,
    Progress,
    Welcome,
)
from .shared.session import ClientSession, Connection, Timing
from .translations import rpt

JobPhase: TypeAlias = Literal[
    "connecting", "queued", "running", "cancelling", "done", "failed", "cancelled"
]

FINISHED: frozenset[str] = frozenset({"done", "failed", "cancelled"})

ADVICE: dict[str, str] = {
    "bad_input": "Check the clip and the settings.",
    "no_face": "Choose a frame range in which the face is large and not turned away.",
    "out_of_memory": "Close other programs, or track a shorter range or a smaller clip.",
    "missing_weights": "Install the backend again in Preferences > Add-ons > Mien.",
    "protocol": "Install the same version of the add-on and of the backend.",
    "unauthorised": "Check the token or the connection file in Preferences > Add-ons > Mien.",
    "path_forbidden": "Move the clip into a folder that the backend may read, or start it with "
    "--roots FOLDER.",
    "internal": "Try again; if it happens again, report it with the backend's log.",
    "no_backend": "Start the backend, or see Preferences > Add-ons > Mien.",
    "scene": "Undo, or empty Result in the panel to have a new head; if it happens again, report "
    "it with what the console says.",
}
"""What to do about an error, by its code."""


@dataclass(frozen=True)
class Problem:
    """Why a job ended without a result."""

    code: str
    """The protocol's error code, "no_backend", or "scene" for an error of the add-on itself."""
    message: str
    """What happened."""

    @property
    def advice(self) -> str:
        """What to do about it."""
        return rpt(ADVICE.get(self.code, ADVICE["internal"]))

    @property
    def report(self) -> str:
        """Both, for a report in one line."""
        message = self.message.rstrip()
        return f"{message}{'' if message.endswith(('.', '!', '?')) else '.'} {self.advice}"


def scene_problem(error: Exception) -> Problem:
    """What stands in the way in the scene, whose traceback goes to the console."""
    traceback.print_exception(error)
    return Problem("scene", rpt("The scene could not be changed: {error}", error=error))


@dataclass(frozen=True)
class Endpoint:
    """Where a backend is: a connection file, or an address with what it asks for."""

    connection_file: Path | None = None
    """File that a backend on this computer writes; None for the user's default one."""
    address: str = ""
    """Such as "tcp://render.example:5555"; then the connection file is not read."""
    token: str = ""
    """The secret that goes with an address."""
    server_key: str = ""
    """The server's public CURVE key, where the connection is encrypted."""
    key_file: Path | None = None
    """This user's own CURVE key file, where the connection is encrypted."""

    def __str__(self) -> str:
        return self.address or str(self.connection_file or default_connection_file())


COPIED_BYTES = 64 * 1024
"""Parts of messages up to this length are copied: uncopied ones keep the memory around them."""


class DealerSocket:
    """A ZeroMQ socket whose long parts are not copied: a texture's 30 MB would be felt."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self.poll: Callable[..., int] = socket.poll
        self.send_multipart: Callable[..., Any] = socket.send_multipart
        self.close: Callable[..., None] = socket.close

    def recv_multipart(self, flags: int = 0) -> list[bytes | memoryview]:
        """Receive one message."""
        parts = self._socket.recv_multipart(flags, copy=False)
        return [p.bytes if len(p) <= COPIED_BYTES else memoryview(p.buffer) for p in parts]


class SocketOpener:
    """Opens DEALER sockets to an endpoint; reads a connection file anew each time."""

    def __init__(self, endpoint: Endpoint) -> None:
        import zmq

        self.endpoint = endpoint
        self._zmq: Any = zmq
        self._context = zmq.Context()

    def __call__(self) -> tuple[DealerSocket, str]:
        """Return a fresh socket and the token. Raises OSError or ValueError."""
        endpoint = self.endpoint
        address, token = endpoint.address, endpoint.token
        server_key: str | None = endpoint.server_key
        if not address:
            info = read_connection_file(endpoint.connection_file or default_connection_file())
            address, token, server_key = info.address, info.token, info.server_key
        socket = self._context.socket(self._zmq.DEALER)
        try:
            socket.linger = 0
            socket.maxmsgsize = LIMITS.total_bytes
            socket.ipv6 = "[" in address
            if server_key:
                self._encrypt(socket, server_key)
            socket.connect(address)
        except self._zmq.ZMQError as error:
            socket.close()
            raise ValueError(
                rpt("{address} is not an address: {error}", address=address, error=error)
            ) from error
        except (OSError, ValueError):
            socket.close()
            raise
        return DealerSocket(socket), token

    def _encrypt(self, socket: Any, server_key: str) -> None:
        import zmq.auth

        if self.endpoint.key_file is None:
            raise ValueError("the backend asks for encryption: choose your key file")
        public, secret = zmq.auth.load_certificate(self.endpoint.key_file)
        if secret is None:
            raise ValueError(rpt("{key_file} has no secret key", key_file=self.endpoint.key_file))
        socket.curve_serverkey = server_key.encode()
        socket.curve_publickey, socket.curve_secretkey = public, secret

    def close(self) -> None:
        """Let ZeroMQ go."""
        self._context.destroy(linger=200)


class JobClient:
    """Submits one job and follows it. Call `poll` often; it never waits."""

    last_device: ClassVar[str] = ""
    """Name of what computed the last job that said so."""

    def __init__(
        self,
        endpoint: Endpoint,
        job: Job,
        receiver: Any,
        *,
        job_id: str | None = None,
        timing: Timing | None = None,
        connect_timeout_s: float = 30.0,
        reconnect_timeout_s: float = 60.0,
    ) -> None:
        """receiver takes the results: like a ShotReceiver it has `receive` and `progress`.

        With the job_id of an earlier job its results come again, or it goes on.

        connect_timeout_s covers a backend that is only just starting.
        """
        self.receiver = receiver
        self.phase: JobPhase = "connecting"
        self.queue_position = 0
        self.problem: Problem | None = None
        self.device = ""
        self._session = ClientSession(client="mien add-on", timing=timing)
        self._opener = SocketOpener(endpoint)
        self._connection = Connection(self._session, self._opener)
        self._patience_s = (connect_timeout_s, reconnect_timeout_s)
        self._welcomed = self._closed = False
        self._heard_at = time.monotonic()
        self.job_id = self._session.submit(job, job_id)

    @property
    def is_finished(self) -> bool:
        """Whether the job has ended, one way or another."""
        return self.phase in FINISHED

    def poll(self, budget_s: float = 0.02) -> bool:
        """Take what has arrived, for up to budget_s; returns whether there was anything."""
        if self._closed:
            return False
        delivered = self._connection.poll(budget_s=budget_s)
        for message in delivered:
            self._take(message)
            if self.is_finished:
                break
        now = time.monotonic()
        if delivered or self._session.state == "ready":
            self._heard_at = now
        elif now - self._heard_at > self._patience_s[self._welcomed] and not self.is_finished:
            reason = f" ({self._connection.problem})" if self._connection.problem else ""
            where = self._opener.endpoint
            told = rpt("No backend answers at {where}{reason}.", where=where, reason=reason)
            self._fail("no_backend", told)
        if self.is_finished:
            self.close()
        return bool(delivered)

    def cancel(self) -> None:
        """Ask for the job to stop; before the backend has answered, stop at once."""
        if self.is_finished:
            return
        if not self._welcomed:
            self.phase = "cancelled"
            self.close()
            return
        self._session.cancel(self.job_id)
        self.phase = "cancelling"

    def close(self) -> None:
        """Let the connection go; a job that still runs goes on at the backend."""
        if not self._closed:
            self._closed = True
            self._connection.close()
            self._opener.close()

    def _take(self, message: Welcome | Error | JobStatus | Progress | JobResult) -> None:
        if isinstance(message, Welcome):
            self._welcomed = True
        elif isinstance(message, Error):
            self._fail(message.code, message.message)
        elif isinstance(message, JobStatus):
            self.queue_position = message.queue_position
            if message.state in ("queued", "running") and self.phase != "cancelling":
                self.phase = message.state
        elif isinstance(message, JobFailed):
            self._fail(message.code, message.message)
        elif isinstance(message, JobCancelled):
            self.phase = "cancelled"
        else:
            if self.phase in ("connecting", "queued"):
                self.phase = "running"
            self.receiver.receive(message)
            if isinstance(message, JobDone):
                self.phase = "done"
                self.device = message.device or self.device
                JobClient.last_device = self.device or JobClient.last_device

    def _fail(self, code: str, message: str) -> None:
        self.phase = "failed"
        self.problem = Problem(code, message)
