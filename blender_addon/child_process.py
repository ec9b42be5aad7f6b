# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a program, read what it prints, and end it with all that it has started; knows no bpy."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

IS_WINDOWS = sys.platform == "win32"
NO_WINDOW = 0x08000000
"""CREATE_NO_WINDOW: no console pops up on Windows."""
NEW_GROUP = 0x00000200
"""CREATE_NEW_PROCESS_GROUP: a Ctrl-C in Blender's console is not for the program."""
POLL_S = 0.02


def clean_environment() -> dict[str, str]:
    """Return this process's environment without what would lead another Python astray."""
    environment = dict(os.environ)
    for name in ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV"):
        environment.pop(name, None)
    environment.update(PYTHONUNBUFFERED="1", PYTHONUTF8="1", PYTHONNOUSERSITE="1")
    return environment


class LineReader:
    """Runs a program and hands out the lines that it prints, without waiting.

    The program leads a process group of its own, so that `stop` reaches what it has started
    too: `python -m venv` runs ensurepip, pip runs builds, a backend runs workers.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        """Start the program, with further variables in its environment. Raises OSError."""
        self.command = list(command)
        self.lines: deque[str] = deque(maxlen=400)
        self._queue: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=clean_environment() | dict(environment or {}),
            # The add-on's folder must not be importable there, whatever it holds.
            cwd=Path.home(),
            text=True,
            encoding="utf-8",
            errors="replace",
            creationflags=NO_WINDOW | NEW_GROUP if IS_WINDOWS else 0,
            start_new_session=not IS_WINDOWS,
        )
        self._thread = threading.Thread(target=self._read, daemon=True, name="mien output")
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.strip():
                self._queue.put(line.rstrip())

    def poll(self) -> int | None:
        """Take the lines that have come; returns the exit status once all has been read."""
        status = self.process.poll()
        ended = status is not None and not self._thread.is_alive()
        while not self._queue.empty():
            self.lines.append(self._queue.get())
        return status if ended else None

    def stop(self, patience_s: float = 3.0, heeds_input: bool = True) -> None:
        """End the program and all that it has started, first kindly, then by force.

        patience_s: how long each kinder way may take. heeds_input: whether the program ends by
        itself when its input closes, as `mien serve --exit-with-stdin` does; pip and venv do
        not, and waiting for it would only hold Blender up.
        """
        # A process that holds the output open lives on, whether or not it is the program.
        lives = self.process.poll() is None or self._thread.is_alive()
        if self.process.stdin is not None and not self.process.stdin.closed:
            try:
                self.process.stdin.close()
            except OSError:
                pass  # It is gone already.
        if heeds_input:
            _until(lambda: self.process.poll() is not None, patience_s)
        if lives:
            end = _end_tree if IS_WINDOWS else _end_group
            end(self.process, patience_s)
        self._thread.join(1.0)
        self.poll()


def _end_group(process: subprocess.Popen[str], patience_s: float) -> None:
    """End a POSIX process group by SIGTERM, then by SIGKILL; returns when none of it is left."""

    def is_gone() -> bool:
        process.poll()  # A leader that has died counts as one of the group until it is reaped.
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # What macOS says of a group of the dead alone.
            return process.returncode is not None
        return False

    for number in (signal.SIGTERM, signal.SIGKILL):
        if is_gone():
            return
        try:
            os.killpg(process.pid, number)
        except (ProcessLookupError, PermissionError):
            continue
        if _until(is_gone, patience_s):
            return


def _end_tree(process: subprocess.Popen[str], patience_s: float) -> None:
    """End a Windows process and its descendants, which only their parents' numbers link."""
    if process.poll() is None:
        # There is no kinder way without a console: CTRL_BREAK_EVENT needs a shared one.
        try:
            subprocess.run(
                ["taskkill", "/T", "/F", "/PID", str(process.pid)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                creationflags=NO_WINDOW,
                timeout=patience_s + 10,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            process.kill()
    _until(lambda: process.poll() is not None, patience_s)


def _until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Wait for a condition; returns whether it came about in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True
