"""`mien bench service`: how fast the service answers, and what it survives, with real processes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from backend.errors import MienError
from backend.evaluate.settings import BenchSettings
from backend.server.client import ServerSocket, track_remote
from shared.codec import decode_from_server, encode
from shared.connection import read_connection_file
from shared.messages import (
    CancelJob,
    DiagnosticJob,
    DiagnosticResult,
    Hello,
    JobCancelled,
    JobResult,
    JobStatus,
    Message,
    Ping,
    Pong,
    SubmitJob,
    Welcome,
    new_job_id,
)

START_TIMEOUT_S = 30.0


class _Client:
    """One plain connection that waits for what it expects."""

    def __init__(self, connection_file: Path) -> None:
        self._opener = ServerSocket(connection_file)
        self.socket, token = self._opener()
        self.send(Hello(token=token, client="mien bench"))
        self.wait_for(lambda message: isinstance(message, Welcome))

    def send(self, message: Message) -> None:
        self.socket.send_multipart(encode(message))

    def wait_for(self, wanted: Callable[[Any], bool]) -> None:
        while self.socket.poll(30_000):
            if wanted(decode_from_server(self.socket.recv_multipart())):
                return
        raise MienError("the service did not answer within 30 s")

    def close(self) -> None:
        self.socket.close(0)
        self._opener.close()


@contextmanager
def _service() -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """Run `mien serve` in a folder of its own; gives its connection file and its process."""
    with tempfile.TemporaryDirectory() as folder:
        connection_file = Path(folder) / "connection.json"
        arguments = [
            *("--connection-file", str(connection_file)),
            *("--jobs-directory", str(Path(folder) / "jobs")),
            *("--roots", folder, "--devices", "cpu", "--exit-with-stdin"),
        ]
        process = subprocess.Popen(
            [sys.executable, "-m", "backend", "serve", *arguments],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            deadline = time.monotonic() + START_TIMEOUT_S
            while not connection_file.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise MienError("the service did not start")
                time.sleep(0.02)
            yield connection_file, process
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(30)


def _percentiles(name: str, values: list[float], scale: float) -> dict[str, float]:
    return {
        f"{name}_{label}": float(np.percentile(values, q)) * scale
        for label, q in (("p50", 50), ("p95", 95), ("p99", 99))
    }


def _ping(connection_file: Path, count: int) -> dict[str, float]:
    client, times = _Client(connection_file), []
    for nonce in range(count):
        began = time.perf_counter()
        client.send(Ping(nonce=nonce))
        client.wait_for(lambda message: isinstance(message, Pong))
        times.append(time.perf_counter() - began)
    client.close()
    return _percentiles("ping_us", times, 1e6)


def _throughput(connection_file: Path, steps: int) -> dict[str, float]:
    job = DiagnosticJob(steps=steps, size=512)
    began = time.perf_counter()
    track_remote(connection_file, job, lambda event: None)
    megabytes = steps * 512 * 512 * 8 / 1e6
    return {"results_mb_per_s": megabytes / (time.perf_counter() - began)}


def _cancel(connection_file: Path, count: int) -> dict[str, float]:
    client = _Client(connection_file)
    acknowledged, stopped = [], []
    for _ in range(count):
        job_id = new_job_id()
        client.send(SubmitJob(job_id=job_id, job=DiagnosticJob(steps=10_000, pause_s=0.02)))
        client.wait_for(lambda message: isinstance(message, DiagnosticResult))
        began = time.perf_counter()
        client.send(CancelJob(job_id=job_id))
        client.wait_for(lambda m: isinstance(m, JobStatus) and m.state == "cancelling")
        acknowledged.append(time.perf_counter() - began)
        client.wait_for(lambda message: isinstance(message, JobCancelled))
        stopped.append(time.perf_counter() - began)
    client.close()
    return _percentiles("cancel_acknowledged_ms", acknowledged, 1e3) | _percentiles(
        "cancel_stopped_ms", stopped, 1e3
    )


def _kills(
    connection_file: Path, supervisor_pid: int, count: int, rng: random.Random
) -> dict[str, float]:
    """Kill the worker at a random result of each job; the results must be those of an
    undisturbed run, each once and in order."""
    job = DiagnosticJob(steps=60, size=16, pause_s=0.005)
    children = Path(f"/proc/{supervisor_pid}/task/{supervisor_pid}/children")

    def results(kill_at: int) -> tuple[list[bytes], float]:
        contents: list[bytes] = []
        times: list[float] = []

        def on_event(event: object) -> None:
            if isinstance(event, JobResult):
                times.append(time.monotonic())
                header = f"{event.attempt} {event.sequence} {type(event).__name__} ".encode()
                values = event.values.tobytes() if isinstance(event, DiagnosticResult) else b""
                contents.append(header + values)
                if event.sequence == kill_at:
                    for pid in children.read_text().split():
                        os.kill(int(pid), signal.SIGKILL)

        track_remote(connection_file, job, on_event)
        return contents, float(np.max(np.diff(times)))

    undisturbed, _ = results(kill_at=0)
    different, recovery = 0, []
    for _ in range(count):
        contents, gap = results(rng.randrange(1, 50))
        different += contents != undisturbed
        recovery.append(gap)
    return {
        "worker_kills": count,
        "jobs_lost_doubled_or_different": different,
        **_percentiles("kill_recovery_s", recovery, 1.0),
    }


def _malformed(connection_file: Path, count: int, rng: random.Random) -> dict[str, float]:
    client = _Client(connection_file)
    seeds = [
        [bytes(frame) for frame in encode(message)]
        for message in (
            Hello(token=read_connection_file(connection_file).token),
            SubmitJob(job_id=new_job_id(), job=DiagnosticJob()),
            CancelJob(job_id=new_job_id()),
            Ping(),
        )
    ]
    for number in range(count):
        frames = list(rng.choice(seeds))
        victim = rng.randrange(len(frames))
        at = rng.randrange(len(frames[victim]))
        damage = rng.choice([b"", rng.randbytes(2), b"[" * 500, b"\xff"])
        tail = frames[victim][at + 1 :] if rng.random() < 0.7 else b""
        frames[victim] = frames[victim][:at] + damage + tail
        client.socket.send_multipart(frames)
        while number % 50 == 0 and client.socket.poll(0):
            client.socket.recv_multipart()
    client.close()
    done = track_remote(connection_file, DiagnosticJob(steps=5), lambda event: None)
    return {"malformed_messages": count, "jobs_done_after_malformed": float(done.n_frames == 5)}


def run(settings: BenchSettings) -> dict[str, float]:
    """Start a service and measure it. Kills need Linux, where the workers can be found."""
    rng = random.Random(settings.seed)
    scale = 1 if settings.quick else 20
    with _service() as (connection_file, process):
        figures = _ping(connection_file, 50 * scale)
        figures |= _throughput(connection_file, 20 * scale)
        figures |= _cancel(connection_file, 5 * scale)
        if sys.platform == "linux":
            figures |= _kills(connection_file, process.pid, 2 * scale, rng)
        figures |= _malformed(connection_file, 1000 * scale, rng)
    return figures
