"""The process that runs jobs, one at a time, for one device.

Started by the supervisor as `python -m backend.server.worker`, with the address to connect to,
its secret, device and roots in the environment. Results go to the job store first; the
supervisor only hears how far they go. The work loop itself answers the supervisor's pings, so
that a job that hangs is noticed. The process ends at once when its standard input closes, which
it does when the supervisor dies.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec
import zmq

from backend.server.internal import (
    RunJob,
    StopJob,
    Stored,
    WorkerHello,
    decode_from_supervisor,
)
from backend.server.runners import JobContext, load_runner
from backend.server.store import JobFolder, ResultWriter
from shared.codec import encode
from shared.messages import (
    ERROR_CODES,
    ErrorCode,
    Event,
    JobCancelled,
    JobDone,
    JobFailed,
    JobResult,
    Message,
    Ping,
    Pong,
    Progress,
    tag_of,
)

log = logging.getLogger("mien.worker")

ADDRESS_VARIABLE = "MIEN_WORKER_ADDRESS"
TOKEN_VARIABLE = "MIEN_WORKER_TOKEN"
DEVICE_VARIABLE = "MIEN_WORKER_DEVICE"
ROOTS_VARIABLE = "MIEN_WORKER_ROOTS"

PROGRESS_EVERY_S = 0.05
"""Progress that comes faster than this is thinned out."""


def failure_of(error: BaseException) -> JobFailed:
    """Return what to tell the client about an error that ended a job.

    The project's own errors carry a `code`; everything unknown is "internal", with its type.
    """
    code = getattr(error, "code", None)
    if isinstance(code, str) and code in ERROR_CODES:
        return JobFailed(code=cast(ErrorCode, code), message=str(error)[:4000])
    # torch's own class for a full device, recognised without importing torch here.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return JobFailed(code="out_of_memory", message=f"out of memory: {error}"[:4000])
    return JobFailed(code="internal", message=f"{type(error).__name__}: {error}"[:2000])


class Worker:
    """Connection to the supervisor and the job that runs, if any."""

    def __init__(self, socket: Any, device: str, roots: tuple[str, ...]) -> None:
        self._socket = socket
        self._device = device
        self._roots = roots
        self._waiting: list[RunJob] = []
        self._stop: set[str] = set()
        self._progress_at = 0.0

    def serve_forever(self) -> None:
        """Run the jobs that arrive, one after the other."""
        while True:
            self._pump(timeout_ms=1000)
            while self._waiting:
                self._run(self._waiting.pop(0))

    def _send(self, message: Message) -> None:
        self._socket.send_multipart(encode(message))

    def _pump(self, timeout_ms: int = 0) -> None:
        """Handle what the supervisor has sent."""
        while self._socket.poll(timeout_ms):
            timeout_ms = 0
            message = decode_from_supervisor(self._socket.recv_multipart())
            if isinstance(message, Ping):
                self._send(Pong(nonce=message.nonce))
            elif isinstance(message, StopJob):
                self._stop.add(message.job_id)
            elif isinstance(message, RunJob):
                self._waiting.append(message)

    def _run(self, request: RunJob) -> None:
        folder = JobFolder(Path(request.folder))
        job_id = request.job_id
        with ResultWriter(folder, job_id) as writer:

            def put(result: JobResult) -> None:
                if writer.put(result):
                    self._report(writer, folder, job_id)

            # What an earlier worker stored, perhaps without having been able to say so.
            ended = writer.complete()
            self._report(writer, folder, job_id)
            if not ended:
                put(self._result_of(folder, job_id, put))
        self._stop.discard(job_id)

    def _report(self, writer: ResultWriter, folder: JobFolder, job_id: str) -> None:
        extent, final = writer.extent, folder.final_state()
        self._send(
            Stored(
                job_id=job_id,
                attempt=extent.attempt,
                start=extent.start,
                n_results=extent.n_results,
                state=final.state if final else None,
            )
        )

    def _result_of(
        self, folder: JobFolder, job_id: str, put: Callable[[JobResult], None]
    ) -> JobResult:
        """Run the job and return its last result, whatever happens."""

        def cancelled() -> bool:
            self._pump()
            return job_id in self._stop or folder.cancel_requested

        def emit(event: Event) -> None:
            self._pump()
            if isinstance(event, Progress):
                now = time.monotonic()
                if now - self._progress_at > PROGRESS_EVERY_S:
                    self._progress_at = now
                    self._send(msgspec.structs.replace(event, job_id=job_id))
            else:
                put(event)

        try:
            if cancelled():
                return JobCancelled()
            job = folder.describe().job
            context = JobContext(
                emit, cancelled, self._device, self._roots, folder.path.parent, job_id
            )
            result: JobResult = load_runner(tag_of(type(job)))(job, context)
            if isinstance(result, JobDone) and not result.device and "torch" in sys.modules:
                from backend.device import choose_device, device_name

                name = device_name(choose_device(self._device))
                result = msgspec.structs.replace(result, device=name)
        except Exception as error:
            failure = failure_of(error)
            if failure.code == "internal":
                log.exception("job %s failed", job_id)
            result = JobCancelled() if failure.code == "cancelled" else failure
        return JobCancelled() if cancelled() else result


def _end_with_supervisor() -> None:
    """Wait for the end of standard input, which the supervisor holds open, and end the process."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os._exit(0)

    threading.Thread(target=watch, daemon=True, name="supervisor watch").start()


def main() -> None:
    """Connect to the supervisor that started this process and run its jobs."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with_supervisor()
    socket: Any = zmq.Context.instance().socket(zmq.DEALER)
    socket.linger = 0
    socket.connect(os.environ[ADDRESS_VARIABLE])
    socket.send_multipart(encode(WorkerHello(token=os.environ.pop(TOKEN_VARIABLE))))
    roots = tuple(os.environ.get(ROOTS_VARIABLE, "").split(os.pathsep))
    Worker(socket, os.environ.get(DEVICE_VARIABLE, "auto"), roots).serve_forever()


if __name__ == "__main__":
    main()
