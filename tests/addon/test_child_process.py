"""Ending a program with all that it has started, with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

Addon = Callable[[str], ModuleType]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="asks for processes by signal")

WRITER = """
import os, pathlib, signal, sys
folder, note, stubborn = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
if stubborn == "yes":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
count = 0
while count < 2_000_000:
    count += 1
    (folder / "lib").mkdir(parents=True, exist_ok=True)
    (folder / "lib" / f"{count % 500}.py").write_text("x = 1")
    if count == 20:
        note.write_text(str(os.getpid()))
"""
"""Writes files into a folder, as ensurepip does, and says when it is well on the way."""

PARENT = """#!{python}
import subprocess, sys
folder = sys.argv[sys.argv.index("--clear") + 1]
subprocess.run([{python!r}, {writer!r}, folder, {note!r}, {stubborn!r}])
"""
"""Takes the place of `python -m venv --clear FOLDER`: another process does the work."""


def eventually(condition: Callable[[], bool], timeout_s: float = 120.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    """Whether a process lives; one that has died and waits to be asked for does not."""
    if sys.platform == "linux":  # A small system has no `ps`.
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
        except (FileNotFoundError, ProcessLookupError):
            return False
    else:
        command = ["ps", "-o", "stat=", "-p", str(pid)]
        state = subprocess.run(command, capture_output=True, text=True).stdout
    return state.strip()[:1] not in ("", "Z", "X")


def start_installation(module: ModuleType, folder: Path, stubborn: str) -> tuple[object, int]:
    """Start an installation whose work a grandchild does; returns it and that one's number."""
    writer, python, note = folder / "writer.py", folder / "python", folder / "note"
    writer.write_text(WRITER)
    settings = {"writer": str(writer), "note": str(note), "stubborn": stubborn}
    python.write_text(PARENT.format(python=sys.executable, **settings))
    python.chmod(0o755)
    installation = module.Installation(
        module.InstallPlan(wheel=folder / "x.whl", python=python, directory=folder / "environment")
    )

    def is_writing() -> bool:
        installation.poll()
        assert not installation.is_finished, installation.error
        return note.is_file() and note.read_text() != ""

    eventually(is_writing)
    return installation, int(note.read_text())


@pytest.mark.parametrize("stubborn", ["no", "yes"])
def test_cancel_ends_what_the_program_has_started(
    addon: Addon, tmp_path: Path, stubborn: str
) -> None:
    installation, writer = start_installation(addon("first.installing"), tmp_path, stubborn)
    try:
        installation.cancel()  # type: ignore[attr-defined]
        assert not is_running(writer)
        assert installation.error == "Cancelled."  # type: ignore[attr-defined]
        assert not (tmp_path / "environment").exists()
    finally:
        if is_running(writer):
            os.kill(writer, signal.SIGKILL)


def test_stop_reaches_those_whose_parent_has_died(addon: Addon, tmp_path: Path) -> None:
    command = "import subprocess, sys; print(subprocess.Popen(['sleep', '600']).pid, flush=True)"
    reader = addon("child_process").LineReader([sys.executable, "-c", command])
    eventually(lambda: reader.process.poll() is not None)
    reader.poll()
    eventually(lambda: bool(reader.poll() or reader.lines))
    sleeper = int(reader.lines[0])
    assert reader.poll() is None, "its output is still open"
    assert is_running(sleeper)
    reader.stop()
    assert not is_running(sleeper)
    assert reader.poll() == 0


def test_folder_that_stays_is_named(
    addon: Addon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, installing = addon("backend_process"), addon("first.installing")
    monkeypatch.setattr(module, "REMOVAL_PAUSE_S", 0.0)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    directory = tmp_path / "environment"
    directory.symlink_to(elsewhere)
    with pytest.raises(module.BackendError, match=f"{directory} could not be removed"):
        module.remove_environment(directory)
    installation = installing.Installation(
        installing.InstallPlan(wheel=tmp_path / "x.whl", python=tmp_path / "p", directory=directory)
    )
    installation.cancel()
    assert installation.error.startswith(f"Cancelled. The folder {directory} could not be removed")
    assert (elsewhere / "kept").is_file()


def test_nothing_to_remove_is_no_error(addon: Addon, tmp_path: Path) -> None:
    addon("backend_process").remove_environment(tmp_path / "never made")


BLENDER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from {package}.backend_process import BackendProcess
folder = Path(sys.argv[2])
backend = BackendProcess([sys.executable, "-m", "backend"], folder / "connection.json", [folder])
deadline = time.monotonic() + 240
while not backend.is_ready:
    assert backend.is_running and time.monotonic() < deadline, backend.log
    time.sleep(0.02)
print("ready", flush=True)
time.sleep(600)
"""


def test_backend_ends_when_blender_is_killed(
    addon: Addon, package_folder: Path, tmp_path: Path
) -> None:
    program = BLENDER.format(package=package_folder.name)
    command = [sys.executable, "-c", program, str(package_folder.parent), str(tmp_path)]
    blender = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert blender.stdout is not None
    with blender.stdout:
        assert blender.stdout.readline() == "ready\n"
        connection = addon("shared.connection").read_connection_file(tmp_path / "connection.json")
        assert is_running(connection.pid)
        blender.kill()
        blender.wait()
    eventually(lambda: not is_running(connection.pid))
    assert not (tmp_path / "connection.json").exists()
