"""The supervisor's hold on one worker process."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path

import backend
from backend.server.worker import (
    ADDRESS_VARIABLE,
    DEVICE_VARIABLE,
    ROOTS_VARIABLE,
    TOKEN_VARIABLE,
)

FIRST_BACKOFF_S = 0.1
LONGEST_BACKOFF_S = 5.0


class WorkerProcess:
    """Starts a worker, and starts it again when it dies."""

    def __init__(self, device: str, address: str, roots: tuple[Path, ...]) -> None:
        self.device = device
        self.token = ""
        self.identity: bytes | None = None
        """Where to send to; None until the process has said hello."""
        self.job_id: str | None = None
        """The job that it runs."""
        self.heard_at = 0.0
        """When it last gave a sign of life."""
        self.asked_at = 0.0
        """When it was last asked for one."""
        self._address = address
        self._roots = roots
        self._process: subprocess.Popen[bytes] | None = None
        self._start_at = 0.0
        self._backoff_s = FIRST_BACKOFF_S

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process else None

    def greeted(self, identity: bytes, now: float) -> None:
        """Note that the process has connected and is ready for jobs."""
        self.identity = identity
        self.heard_at = now
        self._backoff_s = FIRST_BACKOFF_S

    def start_if_due(self, now: float) -> None:
        """Start the process unless it runs or has just died during its start."""
        if self._process is not None or now < self._start_at:
            return
        self._start_at = now + LONGEST_BACKOFF_S  # Where starting it raises.
        self.token = secrets.token_urlsafe(32)
        package_root = str(Path(backend.__file__).resolve().parents[1])
        search = [package_root, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {
            **os.environ,
            ADDRESS_VARIABLE: self._address,
            TOKEN_VARIABLE: self.token,
            DEVICE_VARIABLE: self.device,
            ROOTS_VARIABLE: os.pathsep.join(map(str, self._roots)),
            "PYTHONPATH": os.pathsep.join(search),
        }
        # Its standard input tells the worker that the supervisor lives. Ctrl-C in a terminal is
        # for the supervisor alone: the worker ignores it.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "backend.server.worker"],
            stdin=subprocess.PIPE,
            env=environment,
        )
        self.heard_at = now

    def death(self, now: float) -> str | None:
        """Return how the process died if it has since the last call, and forget it."""
        if self._process is None or self._process.poll() is None:
            return None
        code = self._process.returncode
        self._start_at = now
        if self.identity is None:  # It did not even start: do not try in a tight loop.
            self._start_at = now + self._backoff_s
            self._backoff_s = min(self._backoff_s * 2, LONGEST_BACKOFF_S)
        self._forget()
        if code < 0:
            try:
                return f"was killed by {signal.Signals(-code).name}"
            except ValueError:
                return f"was killed by signal {-code}"
        return f"ended with exit code {code}"

    def kill(self) -> None:
        """End the process now; `death` reports it."""
        if self._process is not None:
            self._process.kill()

    def close(self, timeout_s: float = 5.0) -> None:
        """End the process and wait for it."""
        if self._process is None:
            return
        process = self._process
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._forget()

    def silent_for(self, now: float) -> float:
        """Seconds since the last sign of life."""
        return now - self.heard_at if self._process is not None else 0.0

    def _forget(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None
        self.identity = None
