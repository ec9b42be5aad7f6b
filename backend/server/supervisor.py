"""The process that clients talk to: it queues jobs, keeps workers alive and passes results on.

One loop does everything and waits for nobody: sends never block, a client that cannot take what
it asked for is dropped and comes back for the rest, results go from disk to each client at its own
pace, and heavy work happens in the worker processes. It never imports torch.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
import zmq

from backend.errors import BadInputError, MienError
from backend.server.dispatch import Dispatcher
from backend.server.live_job import LiveJob
from backend.server.runners import RUNNERS, paths_of
from backend.server.security import (
    Gatekeeper,
    create_key_files,
    curve_settings,
    resolve_clip,
    same_secret,
)
from backend.server.settings import ServeSettings
from backend.server.store import JobStore
from backend.server.subscribers import Client, Subscription
from shared.codec import LIMITS, Buffer, DecodeError, decode_from_client, encode
from shared.connection import ConnectionInfo, read_connection_file, write_connection_file
from shared.messages import (
    ERROR_CODES,
    Acknowledge,
    CancelJob,
    Error,
    ErrorCode,
    Hello,
    Message,
    Ping,
    Pong,
    SubmitJob,
    Welcome,
)
from shared.version import PROTOCOL_MAJOR, PROTOCOL_MINOR, __version__

log = logging.getLogger("mien.server")

IDLE_MS = 50
MESSAGES_A_TURN = 64
HANDSHAKE_MS = 10_000
MAX_CLIENTS = 256
CLIENT_PING_S = 5.0
CLIENT_SILENCE_S = 30.0
HOUSEKEEPING_S = 2.0
PRUNE_S = 600.0


class Supervisor:
    """All state of the service."""

    def __init__(self, settings: ServeSettings) -> None:
        self.settings = settings
        self.boot_id = secrets.token_hex(16)
        self.token = secrets.token_urlsafe(32)
        curve = curve_settings(settings)
        self.store = JobStore(settings.jobs_directory)
        self.context = zmq.Context()
        try:
            self.gatekeeper = Gatekeeper(self.context, curve) if curve else None
            self.router = self._listen()
        except BaseException:
            self.context.destroy(linger=0)
            self.store.close()
            raise
        self.clients: dict[bytes, Client] = {}
        self.dispatcher = Dispatcher(
            self.context, settings, self.store, self.job_changed, self.job_lost
        )
        self.stopping = threading.Event()
        self._housekeeping_at = self._prune_at = 0.0

    def _listen(self) -> Any:
        # ZeroMQ would take a larger number for what is left of it.
        if not 0 <= self.settings.port <= 65535:
            raise BadInputError(f"There is no port {self.settings.port}: it is 1 to 65535, or 0.")
        router = self.context.socket(zmq.ROUTER)
        router.linger = 0
        router.router_mandatory = 1
        router.handshake_ivl = HANDSHAKE_MS
        router.maxmsgsize = LIMITS.header_bytes + 1024
        host = self.settings.host
        if ":" in host:
            router.ipv6 = True
            host = f"[{host.strip('[]')}]"
        if self.gatekeeper:
            self.gatekeeper.protect(router)
        try:
            router.bind(f"tcp://{host}:{self.settings.port or '*'}")
        except zmq.ZMQError as error:
            raise BadInputError(
                f"cannot listen on {host}, port {self.settings.port}: {error}"
            ) from error
        return router

    @property
    def address(self) -> str:
        """Endpoint for clients on this computer."""
        endpoint = self.router.last_endpoint.rstrip(b"\0").decode()
        return endpoint.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")

    def connection_info(self) -> ConnectionInfo:
        """What the connection file says."""
        curve = self.gatekeeper.curve if self.gatekeeper else None
        return ConnectionInfo(
            address=self.address,
            token=self.token,
            boot_id=self.boot_id,
            pid=os.getpid(),
            version=__version__,
            protocol=f"{PROTOCOL_MAJOR}.{PROTOCOL_MINOR}",
            server_key=curve.server.public.decode() if curve else None,
        )

    # ---- the loop -------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until `stopping` is set."""
        poller = zmq.Poller()
        poller.register(self.router, zmq.POLLIN)
        poller.register(self.dispatcher.socket, zmq.POLLIN)
        if self.gatekeeper:
            poller.register(self.gatekeeper.socket, zmq.POLLIN)
        while not self.stopping.is_set():
            busy = any(s.has_work for c in self.clients.values() for s in c.subscriptions.values())
            poller.poll(0 if busy else IDLE_MS)
            now = time.monotonic()
            if self.gatekeeper:
                self.gatekeeper.answer()
            self.dispatcher.step(now)
            for _ in range(MESSAGES_A_TURN):
                if not self.router.poll(0):
                    break
                identity, *frames = self.router.recv_multipart()
                self._handle_safely(identity, frames, now)
            for client in list(self.clients.values()):
                self._send_results(client, now)
            if now - self._housekeeping_at > HOUSEKEEPING_S:
                self._housekeeping_at = now
                self._keep_house(now)

    def close(self) -> None:
        """Stop the workers and let everything go; unfinished jobs stay on disk."""
        self.dispatcher.close()
        self.router.close(0)
        if self.gatekeeper:
            self.gatekeeper.close()
        self.store.close()
        self.context.term()

    # ---- clients --------------------------------------------------------------------------

    def _send(self, identity: bytes, frames: Sequence[Buffer]) -> bool:
        """Send without waiting; a client that cannot take it is dropped."""
        try:
            self.router.send_multipart([identity, *frames], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            client = self.clients.pop(identity, None)
            if client is not None:
                log.info("dropped client %r: %s", client.name, error)
            return False
        return True

    def _refuse(
        self, identity: bytes, code: ErrorCode, message: str, job_id: str | None = None
    ) -> None:
        self._send(identity, encode(Error(code=code, message=message[:2000], job_id=job_id)))

    def _handle_safely(self, identity: bytes, frames: list[bytes], now: float) -> None:
        """Handle one message; whatever it holds, the service goes on."""
        try:
            message = decode_from_client(frames)
        except DecodeError as error:
            self._refuse(identity, "protocol", str(error))
            return
        job_id = getattr(message, "job_id", None)
        try:
            self._handle(identity, message, now)
        except MienError as error:
            code = error.code if error.code in ERROR_CODES else "internal"
            self._refuse(identity, cast(ErrorCode, code), str(error), job_id)
        except Exception as error:
            log.exception("a %s message failed", type(message).__name__)
            text = f"{type(error).__name__}: {error}"
            self._refuse(identity, "internal", text, job_id)

    def _handle(self, identity: bytes, message: Message, now: float) -> None:
        if isinstance(message, Hello):
            self._greet(identity, message, now)
            return
        client = self.clients.get(identity)
        if client is None:
            self._refuse(identity, "unauthorised", "the first message must be Hello")
            return
        client.heard_at = now
        if isinstance(message, Ping):
            self._send(identity, encode(Pong(nonce=message.nonce, boot_id=self.boot_id)))
        elif isinstance(message, SubmitJob):
            self._submit(client, message)
        elif isinstance(message, CancelJob):
            self._cancel(client, message, now)
        elif isinstance(message, Acknowledge):
            subscription = client.subscriptions.get(message.job_id)
            if subscription is not None:
                subscription.acknowledged(message)

    def _greet(self, identity: bytes, message: Hello, now: float) -> None:
        # With CURVE the allow-list has let this client in; it need not know the token.
        if self.gatekeeper is None and not same_secret(message.token, self.token):
            self.clients.pop(identity, None)
            self._refuse(
                identity, "unauthorised", "wrong token: read it from the server's connection file"
            )
            return
        if len(self.clients) >= MAX_CLIENTS and identity not in self.clients:
            self._refuse(identity, "internal", f"more than {MAX_CLIENTS} clients")
            return
        self.clients[identity] = Client(identity, message.client, now)
        welcome = Welcome(
            boot_id=self.boot_id,
            version=__version__,
            protocol_minor=PROTOCOL_MINOR,
            devices=list(self.settings.devices),
            job_kinds=list(RUNNERS),
        )
        self._send(identity, encode(welcome))

    def _submit(self, client: Client, message: SubmitJob) -> None:
        job = message.job
        live = self.dispatcher.find(message.job_id)
        if live is None:
            for path in paths_of(job):
                resolve_clip(path, self.settings.roots)
            live = self.dispatcher.add(message.job_id, job, client.name)
        elif live.job != job:
            raise BadInputError(f"job {message.job_id} is known and is a different one")
        self.dispatcher.enqueue(live)
        first = live.first_to_send(message.attempt, message.after)
        client.subscriptions[message.job_id] = Subscription(live, first)
        self._send(client.identity, encode(self.dispatcher.status(live)))

    def _cancel(self, client: Client, message: CancelJob, now: float) -> None:
        live = self.dispatcher.find(message.job_id)
        if live is None:
            raise BadInputError(f"there is no job {message.job_id}")
        self.dispatcher.cancel(live, now)
        if message.job_id not in client.subscriptions:
            self._send(client.identity, encode(self.dispatcher.status(live)))

    # ---- results --------------------------------------------------------------------------

    def job_changed(self, live: LiveJob, attempt_changed: bool) -> None:
        """Tell everybody who follows a job where it is."""
        frames = encode(self.dispatcher.status(live))
        for client in list(self.clients.values()):
            subscription = client.subscriptions.get(live.job_id)
            if subscription is not None:
                if attempt_changed:
                    subscription.attempt_changed()
                self._send(client.identity, frames)

    def job_lost(self, live: LiveJob, reason: str) -> None:
        """Tell everybody who follows a job that it ended without a result."""
        for client in list(self.clients.values()):
            if client.subscriptions.pop(live.job_id, None) is not None:
                self._refuse(client.identity, "internal", reason, live.job_id)

    def _send_results(self, client: Client, now: float) -> None:
        def send(frames: Sequence[Buffer]) -> bool:
            return self._send(client.identity, frames)

        for job_id, subscription in list(client.subscriptions.items()):
            try:
                if not subscription.send_some(send):
                    return
            except Exception as error:
                log.exception("the results of job %s cannot be read", job_id)
                del client.subscriptions[job_id]
                text = f"the stored results cannot be read: {error}; submit it as a new job"
                self._refuse(client.identity, "internal", text, job_id)
                continue
            progress = subscription.job.progress
            # Someone who has not been heard for a while would only pile progress up.
            if (
                progress is not None
                and progress is not subscription.told_progress
                and now - client.heard_at < CLIENT_PING_S
            ):
                subscription.told_progress = progress
                if not send(encode(progress)):
                    return
            if subscription.is_over:
                del client.subscriptions[job_id]

    def _keep_house(self, now: float) -> None:
        for client in list(self.clients.values()):
            silence = now - client.heard_at
            if silence > CLIENT_SILENCE_S:
                log.info("dropped client %r: silent for %.0f s", client.name, silence)
                del self.clients[client.identity]
            elif silence > CLIENT_PING_S and now - client.asked_at > CLIENT_PING_S:
                client.asked_at = now
                self._send(client.identity, encode(Ping()))
        followed = {job_id for c in self.clients.values() for job_id in c.subscriptions}
        self.dispatcher.forget_finished(followed)
        if now - self._prune_at > PRUNE_S or not self._prune_at:
            self._prune_at = now
            settings = self.settings
            in_use = followed | self.dispatcher.live_jobs
            try:
                self.store.prune(settings.keep_days, settings.keep_gigabytes, in_use)
            except OSError:
                log.exception("old jobs cannot be removed")
            threading.Thread(target=self.store.empty_trash, daemon=True).start()


def main(settings: ServeSettings) -> int:
    """Serve until Ctrl-C, SIGTERM, or the end of standard input where asked for.

    Returns 0. Raises MienError for settings that cannot be used.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    if settings.make_key is not None:
        try:
            create_key_files(settings.make_key)
        except OSError as error:
            raise _unusable(settings.make_key, error) from error
        log.info("wrote %s (keep it) and %s.key (give it)", settings.make_key, settings.make_key)
        return 0
    try:
        supervisor = Supervisor(settings)
    except BlockingIOError as error:
        raise BadInputError(str(error)) from error
    except OSError as error:
        raise _unusable(settings.jobs_directory, error) from error
    for root in settings.roots:
        if not root.is_dir():
            log.warning("%s: there is no such folder to read clips from", root)
    previous = {
        number: signal.signal(number, lambda *_: supervisor.stopping.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    if settings.exit_with_stdin:
        threading.Thread(target=_stop_with_stdin, args=(supervisor,), daemon=True).start()
    try:
        try:
            write_connection_file(settings.connection_file, supervisor.connection_info())
        except OSError as error:
            raise _unusable(settings.connection_file, error) from error
        log.info("listening on %s", supervisor.address)
        log.info("connection file %s", settings.connection_file)
        supervisor.run()
    finally:
        _remove_connection_file(settings, supervisor.boot_id)
        supervisor.close()
        for number, handler in previous.items():
            signal.signal(number, handler)
    return 0


def _unusable(path: Path, error: OSError) -> BadInputError:
    reason = error.strerror or error
    return BadInputError(f"{path}: cannot be written ({reason}). Name another place.")


def _stop_with_stdin(supervisor: Supervisor) -> None:
    # Not through sys.stdin: a thread that waits there stops the interpreter from ending.
    while os.read(0, 4096):
        pass
    supervisor.stopping.set()


def _remove_connection_file(settings: ServeSettings, boot_id: str) -> None:
    """Remove the connection file unless another server has written its own since."""
    with contextlib.suppress(OSError, ValueError, msgspec.MsgspecError):
        if read_connection_file(settings.connection_file).boot_id == boot_id:
            settings.connection_file.unlink()
