# SPDX-License-Identifier: GPL-3.0-or-later
"""Find, start, stop and remove the tracking backend; knows no bpy."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from .child_process import IS_WINDOWS, LineReader
from .shared.connection import default_state_directory
from .translations import rpt


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
            raise BackendError(
                rpt(
                    "{path} is no environment of Python: it has no {name}.",
                    path=path,
                    name=python.name,
                )
            )
        return [str(python), "-m", "backend"]
    if not path.is_file():
        raise BackendError(rpt("{path}: there is no such file.", path=path))
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
            raise BackendError(
                rpt("{program} cannot be started: {error}.", program=command[0], error=error)
            ) from error

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
        last = " ".join(self.log[-3:]) or rpt("it printed nothing")
        return rpt(
            "The backend ended ({status}): {last}", status=self._reader.process.poll(), last=last
        )

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


# ---- what is installed -------------------------------------------------------------------

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
        rpt(
            "The folder {directory} could not be removed ({reason}): close the "
            "programs that use it, then delete it.",
            directory=directory,
            reason=reason,
        )
    )
