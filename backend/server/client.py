"""A client of the service for the command line: submit a job, follow it, return how it ended."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zmq

from backend import errors
from backend.server.security import KeyPair, load_key_pair
from shared.codec import LIMITS
from shared.connection import default_connection_file, read_connection_file
from shared.messages import Error, Job, JobCancelled, JobDone, JobFailed, Welcome
from shared.session import ClientSession, Connection, Delivered, Timing

TOKEN_VARIABLE = "MIEN_TOKEN"
"""Environment variable with the token of a server given by its address."""

KEY_FILE_VARIABLE = "MIEN_KEY_FILE"
"""Environment variable with the path of this client's CURVE key file."""

SERVER_KEY_VARIABLE = "MIEN_SERVER_KEY"
"""Environment variable with the public CURVE key of a server given by its address."""


def error_for(code: str, message: str) -> errors.MienError:
    """Return the project's own error for a code that came over the wire."""
    for kind in (
        errors.BadInputError,
        errors.NoFaceError,
        errors.CancelledError,
        errors.OutOfMemoryError,
        errors.MissingWeightsError,
    ):
        if kind.code == code:
            return kind(message)
    error = errors.BadInputError(message) if code == "path_forbidden" else errors.MienError(message)
    error.code = code
    return error


class ServerSocket:
    """Opens sockets to a server; reads its connection file anew each time.

    server: path of a connection file, a tcp:// address, or None for this user's own server.
    keys, server_key: this client's CURVE keys and the server's public one (Z85), where the
    server asks for them; by default those that the environment names (MIEN_KEY_FILE,
    MIEN_SERVER_KEY). A connection file states the server's key itself.
    """

    def __init__(
        self,
        server: str | Path | None = None,
        keys: KeyPair | None = None,
        server_key: str | None = None,
    ) -> None:
        self.server = default_connection_file() if server is None else server
        key_file = os.environ.get(KEY_FILE_VARIABLE)
        self._keys = load_key_pair(Path(key_file)) if keys is None and key_file else keys
        self._server_key = server_key or os.environ.get(SERVER_KEY_VARIABLE) or None
        self._context = zmq.Context()

    def __call__(self) -> tuple[Any, str]:
        """Return a fresh DEALER socket and the token. Raises OSError or ValueError."""
        address, token, server_key = self._find()
        socket = self._context.socket(zmq.DEALER)
        socket.linger = 0
        socket.maxmsgsize = LIMITS.total_bytes
        socket.ipv6 = "[" in address
        if server_key is not None:
            if self._keys is None:
                socket.close()
                raise ValueError(f"{self.server} asks for a key: give --key-file")
            socket.curve_serverkey = server_key.encode()
            socket.curve_publickey = self._keys.public
            socket.curve_secretkey = self._keys.secret
        try:
            socket.connect(address)
        except zmq.ZMQError as error:
            socket.close()
            raise ValueError(f"{address} is not an address: {error}") from error
        return socket, token

    def _find(self) -> tuple[str, str, str | None]:
        if not str(self.server).startswith("tcp://"):
            info = read_connection_file(Path(self.server))
            return info.address, info.token, info.server_key
        address = str(self.server)
        token = os.environ.get(TOKEN_VARIABLE, "")
        if not token and self._server_key is None:
            with contextlib.suppress(OSError, ValueError):
                info = read_connection_file(default_connection_file())
                token = info.token if info.address == address else ""
        return address, token, self._server_key

    def close(self) -> None:
        """Let ZeroMQ go."""
        self._context.destroy(linger=200)


def track_remote(
    server: str | Path | None,
    job: Job,
    on_event: Callable[[Delivered], None],
    cancelled: Callable[[], bool] | None = None,
    *,
    job_id: str | None = None,
    keys: KeyPair | None = None,
    server_key: str | None = None,
    connect_timeout_s: float = 10.0,
    reconnect_timeout_s: float = 60.0,
    timing: Timing | None = None,
) -> JobDone:
    """Run a job on a server and return its last result.

    on_event sees everything that the session delivers, each result once and in order, the last
    one too. cancelled is asked about ten times a second. With the job_id of an earlier job its
    results come again, or it goes on where it was. Raises the MienError that ended the job
    (CancelledError too), or MienError where there is no server.
    """
    opener = ServerSocket(server, keys, server_key)
    session = ClientSession(timing=timing)
    connection = Connection(session, opener)
    job_id = session.submit(job, job_id)
    welcomed = cancelling = False
    heard_at = time.monotonic()
    try:
        while True:
            for event in connection.poll(timeout_s=0.1):
                welcomed = welcomed or isinstance(event, Welcome)
                if isinstance(event, Error) and not welcomed:
                    raise error_for(event.code, event.message)
                on_event(event)
                if isinstance(event, JobDone):
                    return event
                if isinstance(event, JobFailed):
                    raise error_for(event.code, event.message)
                if isinstance(event, JobCancelled):
                    raise errors.CancelledError("the job was cancelled")
            if cancelled is not None and not cancelling and cancelled():
                cancelling = True
                session.cancel(job_id)
            if session.state == "ready":
                heard_at = time.monotonic()
            patience_s = reconnect_timeout_s if welcomed else connect_timeout_s
            if time.monotonic() - heard_at > patience_s:
                reason = f": {connection.problem}" if connection.problem else ""
                raise errors.MienError(
                    f"no server answers at {opener.server}{reason}. Start one with `mien serve`, "
                    "or check the address."
                )
            if cancelling and not welcomed:
                raise errors.CancelledError("cancelled before the server answered")
    finally:
        connection.close()
        opener.close()
