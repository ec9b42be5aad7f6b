# SPDX-License-Identifier: GPL-3.0-or-later
"""Install the backend into an environment of its own; knows no bpy."""

from __future__ import annotations

import platform
import shutil
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from ..backend_process import (
    INSTALLED_MARK,
    BackendError,
    environment_python,
    remove_environment,
)
from ..child_process import LineReader
from ..translations import iface, rpt
from .progress import InstallProgress
from .sizes import Compute, install_size

TORCH_INDEX: dict[tuple[str, Compute], str] = {
    ("linux", "cpu"): "https://download.pytorch.org/whl/cpu",
    ("win32", "cuda"): "https://download.pytorch.org/whl/cu130",
}
"""PyTorch's own package lists, where the build that is wanted is not the one on PyPI: there,
Linux has the one with CUDA, Windows the one without, and macOS only one."""

FAST_PACKAGE = "openvino"
"""Runs the networks several times faster on a processor: the wheel's extra "cpu" asks for it."""


def why_not(platform_name: str = sys.platform, machine: str = "") -> str:
    """Say why the backend cannot be installed on this kind of computer; empty where it can."""
    if platform_name == "darwin" and (machine or platform.machine()) == "x86_64":
        return (
            "PyTorch, which the backend needs, is not made for Macs with an Intel processor any "
            "more. Run the backend on another computer and choose Connect."
        )
    return ""


def wheels_in(folder: Path) -> int:
    """Return how many wheels a folder of offline packages holds. Raises `BackendError`."""
    if not folder.is_dir():
        raise BackendError(
            rpt("There is no folder {folder}: choose the one with the wheels.", folder=folder)
        )
    count = sum(1 for _ in folder.glob("*.whl"))
    if not count:
        raise BackendError(
            rpt(
                "The folder {folder} holds no wheels (.whl files). Fill it with pip "
                "download on another computer of the same kind, as the manual says.",
                folder=folder,
            )
        )
    return count


MAKING = "Making an environment"
DOWNLOADING = "Downloading and installing"
"""Title of the step that takes almost all of the time."""
CHECKING = "Checking it"
SPAN = {1: (0.0, 0.03), 2: (0.03, 0.96), 3: (0.96, 1.0)}
"""Share of the bar at the start and the end of each step."""


@dataclass(frozen=True)
class InstallPlan:
    """What to install, and where from."""

    wheel: Path
    """The backend's own wheel, which the add-on brings."""
    python: Path
    """The Python that makes the environment: 3.11 or newer."""
    directory: Path
    """The environment's folder; an earlier one there is replaced."""
    compute: Compute = "cpu"
    """Which build of PyTorch to take."""
    wheel_folder: Path | None = None
    """Install from this folder of wheels, without any network."""

    def steps(self) -> list[tuple[str, list[str]]]:
        """Return the commands to run in order, each with a title."""
        python = str(environment_python(self.directory))
        make = [str(self.python), "-m", "venv", "--clear", str(self.directory)]
        install = [python, "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
        # No cache: nothing outside of the environment's folder is written.
        install += ["--progress-bar", "off", "--no-cache-dir"]
        if self.wheel_folder is not None:
            install += ["--no-index", "--find-links", str(self.wheel_folder)]
        elif (sys.platform, self.compute) in TORCH_INDEX:
            install += ["--extra-index-url", TORCH_INDEX[sys.platform, self.compute]]
        check = [python, "-m", "backend", "--help"]
        wheel = f"{self.wheel}[cpu]" if self.is_fast else str(self.wheel)
        return [
            (MAKING, make),
            (DOWNLOADING, [*install, wheel]),
            (CHECKING, check),
        ]

    @property
    def is_fast(self) -> bool:
        """Whether to install what makes the networks fast on a processor."""
        if self.compute != "cpu":
            return False
        if self.wheel_folder is None:
            return True
        return any(self.wheel_folder.glob(f"{FAST_PACKAGE}-*.whl"))

    @property
    def temporary(self) -> Path:
        """Folder for what pip downloads: /tmp may be too small for it."""
        return self.directory / "downloads"


class Installation:
    """Runs an InstallPlan, one step at a time; call `poll` often."""

    def __init__(self, plan: InstallPlan) -> None:
        self.plan = plan
        self.title = ""
        self.error: str | None = None
        self.is_finished = False
        self.lines: deque[str] = deque(maxlen=400)
        self._steps = deque(plan.steps())
        self.n_steps = len(self._steps)
        self._reader: LineReader | None = None
        total = 0.0 if plan.wheel_folder is not None else install_size(plan.compute).download_mb
        self._pip = InstallProgress(total, plan.temporary, plan.directory)
        plan.directory.parent.mkdir(parents=True, exist_ok=True)
        (plan.directory / INSTALLED_MARK).unlink(missing_ok=True)

    @property
    def step(self) -> int:
        """Number of the current step, from 1."""
        return self.n_steps - len(self._steps)

    @property
    def fraction(self) -> float:
        """Share that is done, from 0 to 1."""
        first, last = SPAN.get(self.step, (0.0, 0.0))
        within = self._pip.fraction if self.title == DOWNLOADING else 0.5
        return first + (last - first) * within

    @property
    def status(self) -> str:
        """What it does at the moment, with figures where there are any."""
        return self._pip.status if self.title == DOWNLOADING else iface(self.title)

    def poll(self) -> bool:
        """Go on; returns whether there is something new to show."""
        if self.is_finished:
            return False
        if self._reader is None:
            return self._next()
        status = self._reader.poll()
        has_news = bool(self._reader.lines)
        if self.title == DOWNLOADING:
            for line in self._reader.lines:
                self._pip.take(line)
            has_news = True  # A large file grows without a word.
        self.lines.extend(self._reader.lines)
        self._reader.lines.clear()
        if status is None:
            return has_news
        self._reader = None
        if status != 0:
            self._end(_readable_failure(self.title, status, list(self.lines)))
            return True
        return self._next()

    def cancel(self) -> None:
        """Stop; what was installed so far is no use and is deleted."""
        if self.is_finished:
            return
        if self._reader is not None:
            self._reader.stop(heeds_input=False)
            self._reader = None
        self._end(rpt("Cancelled."))
        try:
            remove_environment(self.plan.directory)
        except BackendError as error:
            self._end(rpt("Cancelled.") + f" {error}")

    def _next(self) -> bool:
        if not self._steps:
            mark = self.plan.directory / INSTALLED_MARK
            mark.write_text(self.plan.wheel.name + "\n", "utf-8")
            self._end(None)
            return True
        self.title, command = self._steps.popleft()
        try:
            environment = {}
            if self.title == DOWNLOADING:
                self.plan.temporary.mkdir(parents=True, exist_ok=True)
                environment = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(self.plan.temporary))
            self._reader = LineReader(command, environment)
        except OSError as error:
            started = rpt("{program} cannot be started: {error}.", program=command[0], error=error)
            self._end(started + " " + rpt("Choose another Python, from 3.11 to 3.13."))
        return True

    def _end(self, error: str | None) -> None:
        shutil.rmtree(self.plan.temporary, ignore_errors=True)
        self.error = error
        self.is_finished = True


_FAILURES = (
    ("No space left", "The disk is full: make room, then try again."),
    ("not enough space", "The disk is full: make room, then try again."),
    ("Temporary failure in name resolution", "There is no network: check the connection."),
    ("getaddrinfo failed", "There is no network: check the connection."),
    ("Connection", "The download failed: check the connection, a proxy or a firewall."),
    ("timed out", "The download came to a halt: check the connection, then try again."),
    ("CERTIFICATE_VERIFY_FAILED", "A proxy or virus scanner breaks secure connections to PyPI."),
    ("No module named venv", "This Python has no venv; on Debian: apt install python3-venv."),
    ("ensurepip is not", "This Python has no ensurepip; on Debian: apt install python3-venv."),
    ("requires a different Python", "Choose a Python from 3.11 to 3.13."),
    ("No matching distribution", "A package is missing for this Python: choose 3.11 to 3.13."),
    ("Permission", "A file may not be written: close programs that use it, check the rights."),
)
"""What pip and venv say, and what to do about it; the first that is found counts."""


def _readable_failure(title: str, status: int, lines: list[str]) -> str:
    text = "\n".join(lines[-60:])
    for sign, advice in _FAILURES:
        if sign in text:
            return rpt("{title} failed.", title=rpt(title)) + f" {rpt(advice)}"
    last = next((x for x in reversed(lines) if x.startswith(("ERROR", "Error"))), "")
    last = last or (lines[-1] if lines else rpt("it printed nothing"))
    return rpt(
        "{title} failed ({status}): {last}. Try again; if it fails again, Copy Report has all that "
        "was printed.",
        title=rpt(title),
        status=status,
        last=last.rstrip("."),
    )
