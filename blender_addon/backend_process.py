# SPDX-License-Identifier: GPL-3.0-or-later
"""Find, install, start and stop the tracking backend; knows no bpy."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from .child_process import IS_WINDOWS, LineReader
from .shared.connection import default_state_directory

Compute: TypeAlias = Literal["cpu", "cuda"]

TORCH_INDEX: dict[tuple[str, Compute], str] = {
    ("linux", "cpu"): "https://download.pytorch.org/whl/cpu",
    ("win32", "cuda"): "https://download.pytorch.org/whl/cu130",
}
"""PyTorch's own package lists, where the build that is wanted is not the one on PyPI: there,
Linux has the one with CUDA, Windows the one without, and macOS only one."""

DOWNLOAD_SIZES: dict[tuple[str, Compute], str] = {
    ("linux", "cpu"): "about 0.4 GB to download, 1.5 GB on disk",
    ("linux", "cuda"): "about 3 GB to download, 7 GB on disk",
    ("win32", "cpu"): "about 0.4 GB to download, 1.5 GB on disk",
    ("win32", "cuda"): "about 3 GB to download, 6 GB on disk",
    ("darwin", "cpu"): "about 0.3 GB to download, 1.2 GB on disk",
}


def download_size(compute: Compute) -> str:
    """Return what an installation costs on this computer, in words."""
    return DOWNLOAD_SIZES.get((sys.platform, compute), DOWNLOAD_SIZES["linux", compute])


def environment_directory() -> Path:
    """Return the folder of the private environment."""
    return default_state_directory() / "backend"


def environment_python(directory: Path) -> Path:
    """Return the interpreter of a virtual environment."""
    return directory / ("Scripts/python.exe" if IS_WINDOWS else "bin/python")


def connection_file(directory: Path | None = None) -> Path:
    """Return where a backend that this add-on starts writes its address."""
    return (directory or default_state_directory()) / f"blender-{os.getpid()}.json"


class BackendError(Exception):
    """The backend cannot be found, installed or started; the text says what to do."""


# ---- finding ------------------------------------------------------------------------------


def find_backend(chosen: str = "") -> list[str]:
    """Return the command that runs the backend, without its arguments.

    chosen: path of a `mien` program, of a Python that has the backend, or of the folder of a
    virtual environment; empty to look in the private environment and on the PATH. Raises
    `BackendError`.
    """
    if chosen:
        return _command_of(Path(chosen).expanduser())
    private = environment_python(environment_directory())
    if private.is_file() and is_installed():
        return [str(private), "-m", "backend"]
    program = shutil.which("mien")
    if program:
        return [program]
    raise BackendError(
        "No backend was found on this computer. Install it in Preferences > Add-ons > Mien, or "
        "choose there where it is."
    )


def _command_of(path: Path) -> list[str]:
    if path.is_dir():
        python = environment_python(path)
        if not python.is_file():
            raise BackendError(f"{path} is no environment of Python: it has no {python.name}.")
        return [str(python), "-m", "backend"]
    if not path.is_file():
        raise BackendError(f"{path}: there is no such file.")
    if path.stem.lower().startswith("python"):
        return [str(path), "-m", "backend"]
    return [str(path)]


# ---- running ------------------------------------------------------------------------------


class BackendProcess:
    """A backend that this Blender has started and ends with it."""

    def __init__(self, command: Sequence[str], connection: Path, roots: Iterable[Path]) -> None:
        """Start `command serve`. Raises `BackendError`."""
        connection.unlink(missing_ok=True)
        self.connection_file = connection
        arguments = ["serve", "--connection-file", str(connection), "--exit-with-stdin"]
        arguments += ["--roots", *map(str, roots)]
        try:
            self._reader = LineReader([*command, *arguments])
        except OSError as error:
            raise BackendError(f"{command[0]} cannot be started: {error}.") from error

    @property
    def is_running(self) -> bool:
        """Whether it still runs."""
        return self._reader.poll() is None

    @property
    def is_ready(self) -> bool:
        """Whether it has written where it listens."""
        return self.connection_file.is_file()

    @property
    def log(self) -> list[str]:
        """The last lines that it has printed."""
        self._reader.poll()
        return list(self._reader.lines)

    def failure(self) -> str:
        """Say why it is not running, from the last lines that it has printed."""
        last = " ".join(self.log[-3:]) or "it printed nothing"
        return f"The backend ended ({self._reader.process.poll()}): {last}"

    def stop(self) -> None:
        """End it, and remove its connection file."""
        self._reader.stop()
        self.connection_file.unlink(missing_ok=True)


def readable_roots() -> list[Path]:
    """Return the folders that a backend on the user's own computer may read: what he may.

    It runs as the same user, answers only whoever can read its connection file, and is asked
    for nothing but the clip that was chosen.
    """
    if not IS_WINDOWS:
        return [Path("/")]
    drives = (Path(f"{letter}:\\") for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    return [drive for drive in drives if drive.exists()]


# ---- installing ---------------------------------------------------------------------------


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
        install += ["--progress-bar", "off"]
        if self.wheel_folder is not None:
            install += ["--no-index", "--find-links", str(self.wheel_folder)]
        elif (sys.platform, self.compute) in TORCH_INDEX:
            install += ["--extra-index-url", TORCH_INDEX[sys.platform, self.compute]]
        check = [python, "-m", "backend", "--help"]
        return [
            ("Making an environment", make),
            ("Downloading and installing", [*install, str(self.wheel)]),
            ("Checking it", check),
        ]


INSTALLED_MARK = "mien-installed.txt"
"""File in the environment that says that all steps were done, and from which wheel."""


def is_installed(directory: Path | None = None) -> bool:
    """Say whether the private environment is there and complete."""
    return installed_from(directory) is not None


def installed_from(directory: Path | None = None) -> str | None:
    """Return the name of the wheel that the private environment was made from, or None."""
    try:
        text = ((directory or environment_directory()) / INSTALLED_MARK).read_text("utf-8")
    except OSError:
        return None
    return text.strip()


REMOVAL_ATTEMPTS = 10
REMOVAL_PAUSE_S = 0.2


def remove_environment(directory: Path | None = None) -> None:
    """Delete the private environment. Raises `BackendError` where something of it stays.

    Windows keeps files for a moment after the program that used them has ended, and virus
    scanners open new ones: so it tries again for a while.
    """
    directory = directory or environment_directory()
    reason = ""
    for attempt in range(REMOVAL_ATTEMPTS):
        if attempt:
            time.sleep(REMOVAL_PAUSE_S)
        try:
            shutil.rmtree(directory)
        except OSError as error:
            reason = error.strerror or str(error)
        if not os.path.lexists(directory):
            return
    raise BackendError(
        f"The folder {directory} could not be removed ({reason}): close the programs that use "
        "it, then delete it."
    )


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
        plan.directory.parent.mkdir(parents=True, exist_ok=True)
        (plan.directory / INSTALLED_MARK).unlink(missing_ok=True)

    @property
    def step(self) -> int:
        """Number of the current step, from 1."""
        return self.n_steps - len(self._steps)

    def poll(self) -> bool:
        """Go on; returns whether there is something new to show."""
        if self.is_finished:
            return False
        if self._reader is None:
            return self._next()
        status = self._reader.poll()
        has_news = bool(self._reader.lines)
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
        self._end("Cancelled.")
        try:
            remove_environment(self.plan.directory)
        except BackendError as error:
            self._end(f"Cancelled. {error}")

    def _next(self) -> bool:
        if not self._steps:
            mark = self.plan.directory / INSTALLED_MARK
            mark.write_text(self.plan.wheel.name + "\n", "utf-8")
            self._end(None)
            return True
        self.title, command = self._steps.popleft()
        try:
            self._reader = LineReader(command)
        except OSError as error:
            self._end(f"{command[0]} cannot be started: {error}.")
        return True

    def _end(self, error: str | None) -> None:
        self.error = error
        self.is_finished = True


_FAILURES = (
    ("No space left", "The disk is full: make room, then try again."),
    ("not enough space", "The disk is full: make room, then try again."),
    ("Temporary failure in name resolution", "There is no network: check the connection."),
    ("getaddrinfo failed", "There is no network: check the connection."),
    ("Connection", "The download failed: check the connection, a proxy or a firewall."),
    ("CERTIFICATE_VERIFY_FAILED", "A proxy or virus scanner breaks secure connections to PyPI."),
    ("No module named venv", "This Python has no venv; on Debian: apt install python3-venv."),
    ("ensurepip is not", "This Python has no ensurepip; on Debian: apt install python3-venv."),
    ("No matching distribution", "A package is missing for this Python: choose 3.11 to 3.13."),
    ("Permission", "A file may not be written: close programs that use it, check the rights."),
)


def _readable_failure(title: str, status: int, lines: list[str]) -> str:
    text = "\n".join(lines[-60:])
    for sign, advice in _FAILURES:
        if sign in text:
            return f"{title} failed. {advice}"
    last = next((x for x in reversed(lines) if x.startswith(("ERROR", "Error"))), "")
    last = last or (lines[-1] if lines else "it printed nothing")
    return f"{title} failed ({status}): {last}"
