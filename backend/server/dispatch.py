"""The queue of jobs and the workers that run them."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection
from typing import Any

import zmq

from backend.server.internal import (
    RunJob,
    StopJob,
    Stored,
    WorkerHello,
    decode_from_worker,
)
from backend.server.live_job import LiveJob
from backend.server.security import same_secret
from backend.server.settings import ServeSettings
from backend.server.store import JobStore
from backend.server.worker_process import WorkerProcess
from shared.codec import LIMITS, DecodeError, encode
from shared.messages import Job, JobCancelled, JobFailed, JobStatus, Message, Ping, Progress

log = logging.getLogger("mien.server")

MOST_DEATHS = 3
"""Workers that may die in a job one after the other, without a new result, before it fails."""

WORKER_PING_S = 2.0


class Dispatcher:
    """Gives queued jobs to idle workers, replaces workers that died, and runs their jobs again.

    on_change(job, attempt_changed) is called whenever clients should hear about a job, and
    on_lost(job, reason) where its end cannot even be stored.
    """

    def __init__(
        self,
        context: Any,
        settings: ServeSettings,
        store: JobStore,
        on_change: Callable[[LiveJob, bool], None],
        on_lost: Callable[[LiveJob, str], None],
    ) -> None:
        self._settings = settings
        self._store = store
        self._on_change = on_change
        self._on_lost = on_lost
        self._jobs: dict[str, LiveJob] = {}
        self._queue: deque[str] = deque()
        self.socket = context.socket(zmq.ROUTER)
        self.socket.linger = 0
        self.socket.maxmsgsize = LIMITS.header_bytes
        self.socket.bind("tcp://127.0.0.1:*")
        address = self.socket.last_endpoint.rstrip(b"\0").decode()
        self.workers = [
            WorkerProcess(device, address, settings.roots) for device in settings.devices
        ]

    # ---- jobs -----------------------------------------------------------------------------

    @property
    def live_jobs(self) -> set[str]:
        """Identifiers of the jobs that are in memory."""
        return set(self._jobs)

    def find(self, job_id: str) -> LiveJob | None:
        """Return a job that was submitted before, from memory or from disk."""
        live = self._jobs.get(job_id)
        if live is None:
            folder = self._store.find(job_id)
            if folder is None:
                return None
            live = self._jobs[job_id] = LiveJob(job_id, folder)
        return live

    def add(self, job_id: str, job: Job, client: str) -> LiveJob:
        """Store a new job; `enqueue` gets it going."""
        live = LiveJob(job_id, self._store.create(job_id, job, client))
        self._jobs[job_id] = live
        return live

    def enqueue(self, live: LiveJob) -> None:
        """Queue a job that is new or was interrupted; others stay where they are."""
        if live.state is None:
            if live.folder.cancel_requested:
                self._finish(live, JobCancelled())
                return
            live.state = "queued"
            self._queue.append(live.job_id)

    def cancel(self, live: LiveJob, now: float) -> None:
        """Stop a job: at once where it waits, else as soon as its worker notices."""
        if live.is_final or live.state == "cancelling":
            return
        live.folder.request_cancel()
        if live.state == "running":
            live.state, live.cancelled_at = "cancelling", now
            for worker in self.workers:
                if worker.job_id == live.job_id:
                    self._send(worker, StopJob(job_id=live.job_id))
        else:
            if live.job_id in self._queue:
                self._queue.remove(live.job_id)
            self._finish(live, JobCancelled())
        self._on_change(live, False)

    def status(self, live: LiveJob) -> JobStatus:
        """Return what to tell clients about a job."""
        queued = live.job_id in self._queue
        return live.status(self._queue.index(live.job_id) if queued else 0)

    def forget_finished(self, followed: Collection[str]) -> None:
        """Close the jobs that have ended and that nobody follows; they stay on disk."""
        for job_id, live in list(self._jobs.items()):
            if (live.is_final or live.state is None) and job_id not in followed:
                live.close()
                del self._jobs[job_id]

    def _finish(self, live: LiveJob, result: JobCancelled | JobFailed) -> None:
        """End a job that no worker runs; a full disk must not end the service with it."""
        try:
            live.finish(result)
        except Exception as error:
            log.exception("job %s cannot be ended", live.job_id)
            live.state = None
            self._on_lost(live, f"the job's end cannot be stored: {error}")

    # ---- workers --------------------------------------------------------------------------

    def step(self, now: float) -> None:
        """Do what is due: hear the workers, replace the dead, hand out jobs. Never waits."""
        while self.socket.poll(0):
            identity, *frames = self.socket.recv_multipart()
            try:
                self._hear(identity, decode_from_worker(frames), now)
            except DecodeError as error:
                log.warning("ignored a message at the workers' door: %s", error)
        for worker in self.workers:
            death = worker.death(now)
            if death is not None:
                self._died(worker, death)
            try:
                worker.start_if_due(now)
            except OSError:
                log.exception("cannot start the worker for %s", worker.device)
            self._watch(worker, now)
            if worker.identity is not None and worker.job_id is None and self._queue:
                self._assign(worker, self._jobs[self._queue.popleft()])

    def close(self) -> None:
        """End the workers."""
        for worker in self.workers:
            worker.close()
        for live in self._jobs.values():
            live.close()
        self.socket.close(0)

    def _send(self, worker: WorkerProcess, message: Message) -> None:
        if worker.identity is not None:
            try:
                self.socket.send_multipart([worker.identity, *encode(message)], zmq.NOBLOCK)
            except zmq.ZMQError as error:
                log.warning("cannot reach worker %s: %s", worker.pid, error)

    def _assign(self, worker: WorkerProcess, live: LiveJob) -> None:
        worker.job_id = live.job_id
        live.state = "running"
        self._send(worker, RunJob(job_id=live.job_id, folder=str(live.folder.path)))
        for job_id in (live.job_id, *self._queue):  # those that wait have moved up
            self._on_change(self._jobs[job_id], False)

    def _hear(self, identity: bytes, message: Message, now: float) -> None:
        if isinstance(message, WorkerHello):
            for worker in self.workers:
                if worker.token and same_secret(message.token, worker.token):
                    worker.greeted(identity, now)
            return
        known = [worker for worker in self.workers if worker.identity == identity]
        if not known:
            return
        worker = known[0]
        worker.heard_at = now
        if isinstance(message, Stored):
            live = self._jobs.get(message.job_id)
            if live is None:
                return
            attempt_changed = message.attempt != live.attempt
            live.stored(message)
            if message.state is not None:
                if worker.job_id == message.job_id:
                    worker.job_id = None
                live.progress = None
            if message.state is not None or attempt_changed:
                self._on_change(live, attempt_changed)
        elif isinstance(message, Progress) and worker.job_id == message.job_id:
            self._jobs[message.job_id].progress = message

    def _watch(self, worker: WorkerProcess, now: float) -> None:
        """Ask a busy worker for a sign of life; replace one that gives none or does not stop."""
        live = self._jobs.get(worker.job_id) if worker.job_id else None
        if live is None:
            return
        if now - worker.asked_at > WORKER_PING_S:
            worker.asked_at = now
            self._send(worker, Ping())
        if worker.silent_for(now) > self._settings.worker_silence_s:
            log.warning("worker %s gives no sign of life: replacing it", worker.pid)
            worker.kill()
        elif (
            live.cancelled_at is not None
            and now - live.cancelled_at > self._settings.cancel_grace_s
        ):
            log.warning("worker %s does not stop: replacing it", worker.pid)
            live.cancelled_at = None
            worker.kill()

    def _died(self, worker: WorkerProcess, death: str) -> None:
        job_id, worker.job_id = worker.job_id, None
        log.warning("the worker for %s %s", worker.device, death)
        live = self._jobs.get(job_id) if job_id else None
        if live is None:
            return
        live.progress = None
        live.deaths += 1
        if live.state == "cancelling":
            self._finish(live, JobCancelled())
        elif live.deaths >= MOST_DEATHS:
            message = (
                f"the worker process {death}, {live.deaths} times in a row; if that was SIGKILL,"
                " the computer may have run out of memory"
            )
            self._finish(live, JobFailed(code="internal", message=message))
        else:
            live.state = "queued"
            self._queue.appendleft(live.job_id)
        self._on_change(live, False)
