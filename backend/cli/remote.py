"""Tracking on a running server: submit, follow, put the results together."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import zmq

from backend.assembly import assemble_track
from backend.errors import (
    BadInputError,
    CancelledError,
    MienError,
    MissingWeightsError,
    NoFaceError,
    OutOfMemoryError,
)
from backend.settings import TrackSettings
from shared.connection import default_connection_file, read_connection_file
from shared.messages import (
    FrameResult,
    JobCancelled,
    JobDone,
    JobFailed,
    ModelResult,
    Progress,
    TextureResult,
    TrackJob,
)
from shared.session import ClientSession, Connection, Socket

if TYPE_CHECKING:
    from backend.cli.progress import ProgressView
    from backend.track import Track

PATIENCE_S = 20.0
"""How long an unreachable server is waited for before the command gives up."""

_ERRORS: dict[str, type[MienError]] = {
    error.code: error
    for error in (
        BadInputError,
        NoFaceError,
        CancelledError,
        OutOfMemoryError,
        MissingWeightsError,
    )
}


class ServerError(MienError):
    """The server cannot be reached, refused the job, or failed at it."""


def track_on_server(
    address: str,
    clip: Path,
    start: int | None,
    end: int | None,
    settings: TrackSettings,
    view: ProgressView,
) -> Track:
    """Run one job on the server at `address` and return its track.

    address: a ZeroMQ endpoint, or the path of a connection file. clip: as this machine sees it;
    the server must see it at the same path. Raises the `MienError` that the job ended in.
    """
    job = TrackJob(
        clip=str(clip.absolute()),
        start=start,
        end=end,
        quality=settings.quality,
        focal_mode="solve" if settings.focal_px is None else "fixed",
        focal_px=settings.focal_px,
        subject=settings.subject,
        texture_size=settings.texture_size,
    )
    session = ClientSession(client="mien track")
    connection = Connection(session, lambda: _open_socket(address))
    job_id = session.submit(job)
    results = _Results()
    try:
        while results.done is None:
            for message in connection.poll(timeout_s=0.2):
                if isinstance(message, Progress):
                    view.update(message.stage, message.fraction)
                else:
                    results.take(message)
            if session.state != "ready":
                results.wait(connection.problem, address)
            else:
                results.waited_s = 0.0
    except KeyboardInterrupt:
        session.cancel(job_id)
        raise
    finally:
        connection.close()
    return results.track()


class _Results:
    """What has arrived of one job."""

    def __init__(self) -> None:
        self.model: ModelResult | None = None
        self.frames: dict[int, FrameResult] = {}
        self.texture: TextureResult | None = None
        self.done: JobDone | None = None
        self.waited_s = 0.0

    def take(self, message: object) -> None:
        if isinstance(message, ModelResult):
            self.model = message
        elif isinstance(message, FrameResult):
            self.frames[message.frame_index] = message
        elif isinstance(message, TextureResult):
            self.texture = message
        elif isinstance(message, JobDone):
            self.done = message
        elif isinstance(message, JobCancelled):
            raise CancelledError("The job was cancelled at the server.")
        elif isinstance(message, JobFailed):
            raise _ERRORS.get(message.code, ServerError)(message.message)

    def wait(self, problem: Exception | None, address: str) -> None:
        self.waited_s += 0.2
        if self.waited_s > PATIENCE_S:
            reason = f" ({problem})" if problem is not None else ""
            raise ServerError(f"{address}: no server answers{reason}. Start one with: mien serve")

    def track(self) -> Track:
        done, model = self.done, self.model
        if done is None or model is None or done.K is None:
            raise ServerError("The server ended the job without a result.")
        assert done.image_size is not None and done.frame_rate is not None
        return assemble_track(
            model,
            list(self.frames.values()),
            None if self.texture is None else self.texture.texture,
            done.K,
            done.image_size,
            Fraction(*done.frame_rate),
        )


def _open_socket(address: str) -> tuple[Socket, str]:
    """Connect a fresh socket; the token and key come from the connection file, read each time.

    An endpoint that the connection file does not speak of is used as it stands, without a token.
    """
    path = default_connection_file() if "://" in address else Path(address)
    token, endpoint, server_key = "", address, None
    try:
        info = read_connection_file(path)
    except OSError:
        if "://" not in address:
            raise
    else:
        if "://" not in address or info.address == address:
            token, endpoint, server_key = info.token, info.address, info.server_key
    socket = zmq.Context.instance().socket(zmq.DEALER)
    socket.linger = 0
    if server_key is not None:
        public, secret = zmq.curve_keypair()
        socket.curve_serverkey = server_key.encode()
        socket.curve_publickey, socket.curve_secretkey = public, secret
    socket.connect(endpoint)
    return socket, token
