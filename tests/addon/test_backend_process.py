"""Finding, installing, starting and ending a backend, with real processes and environments."""

from __future__ import annotations

import base64
import hashlib
import os
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

Addon = Callable[[str], ModuleType]


def write_wheel(folder: Path, main: str, requires: str = "") -> Path:
    """Write a small wheel of a package `backend` whose program is `main`."""
    info = "mien-0.0.1.dist-info"
    files = {
        "backend/__init__.py": "",
        "backend/__main__.py": main,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: mien\nVersion: 0.0.1\n{requires}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = []
    for name, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        rows.append(f"{name},sha256={digest.decode()},{len(text)}")
    files[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,", ""])
    path = folder / "mien-0.0.1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def install(module: ModuleType, **plan: Any) -> tuple[Any, list[str]]:
    """Run an installation to its end; returns it and the titles that it showed."""
    plan = {"python": Path(sys.executable), **plan}
    installation = module.Installation(module.InstallPlan(**plan))
    titles: list[str] = []
    deadline = time.monotonic() + 120
    while not installation.is_finished:
        assert time.monotonic() < deadline
        installation.poll()
        if installation.title not in titles:
            titles.append(installation.title)
        time.sleep(0.02)
    return installation, titles


def test_installs_into_an_environment_of_its_own(addon: Addon, tmp_path: Path) -> None:
    module = addon("backend_process")
    wheel = write_wheel(tmp_path, "print('the small backend')")
    directory = tmp_path / "environment"
    installation, titles = install(module, wheel=wheel, directory=directory, wheel_folder=tmp_path)
    assert installation.error is None
    assert titles == ["Making an environment", "Downloading and installing", "Checking it"]
    assert any("Successfully installed mien" in line for line in installation.lines)
    assert module.installed_from(directory) == wheel.name
    reader = module.LineReader(module.find_backend(str(directory)))
    while reader.poll() is None:
        time.sleep(0.02)
    assert list(reader.lines) == ["the small backend"]
    module.remove_environment(directory)
    assert not module.is_installed(directory) and not directory.exists()


def test_says_what_is_missing(addon: Addon, tmp_path: Path) -> None:
    module = addon("backend_process")
    wheel = write_wheel(tmp_path, "", requires="Requires-Dist: mien-no-such-package\n")
    directory = tmp_path / "environment"
    installation, _ = install(module, wheel=wheel, directory=directory, wheel_folder=tmp_path)
    assert "A package is missing for this Python" in installation.error
    assert any("mien-no-such-package" in line for line in installation.lines)
    assert not module.is_installed(directory)


def test_cancelled_installation_leaves_nothing(addon: Addon, tmp_path: Path) -> None:
    module = addon("backend_process")
    wheel = write_wheel(tmp_path, "")
    directory = tmp_path / "environment"
    plan = module.InstallPlan(
        wheel=wheel, python=Path(sys.executable), directory=directory, wheel_folder=tmp_path
    )
    installation = module.Installation(plan)
    deadline = time.monotonic() + 120
    while not directory.exists():
        assert time.monotonic() < deadline
        installation.poll()
        time.sleep(0.01)
    installation.cancel()
    assert installation.is_finished and installation.error == "Cancelled."
    assert not directory.exists()


def test_python_that_is_none(addon: Addon, tmp_path: Path) -> None:
    module = addon("backend_process")
    installation, _ = install(
        module,
        wheel=write_wheel(tmp_path, ""),
        directory=tmp_path / "environment",
        python=tmp_path / "python",
    )
    assert "cannot be started" in installation.error


def test_finds_what_is_chosen(addon: Addon, tmp_path: Path) -> None:
    module = addon("backend_process")
    program = tmp_path / "mien"
    program.touch()
    python = tmp_path / "python3.11"
    python.touch()
    assert module.find_backend(str(program)) == [str(program)]
    assert module.find_backend(str(python)) == [str(python), "-m", "backend"]
    with pytest.raises(module.BackendError, match="no such file"):
        module.find_backend(str(tmp_path / "missing"))
    with pytest.raises(module.BackendError, match="no environment of Python"):
        module.find_backend(str(tmp_path))


def test_says_how_to_get_one_where_there_is_none(
    addon: Addon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = addon("backend_process")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    with pytest.raises(module.BackendError, match="Preferences > Add-ons > Mien"):
        module.find_backend()


def test_backend_ends_when_its_input_closes(addon: Addon, tmp_path: Path) -> None:
    module = addon("backend_process")
    command = [sys.executable, "-m", "backend"]
    backend = module.BackendProcess(command, tmp_path / "connection.json", [tmp_path])
    deadline = time.monotonic() + 120
    while not backend.is_ready:
        assert backend.is_running and time.monotonic() < deadline, backend.log
        time.sleep(0.02)
    pid = addon("shared.connection").read_connection_file(backend.connection_file).pid
    backend.stop()
    assert not backend.is_running and not backend.connection_file.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_failed_start_shows_what_was_printed(addon: Addon, tmp_path: Path) -> None:
    module = addon("backend_process")
    command = [sys.executable, "-c", "print('out of luck'); raise SystemExit(6)"]
    backend = module.BackendProcess(command, tmp_path / "connection.json", [])
    deadline = time.monotonic() + 120
    while backend.is_running:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert backend.failure() == "The backend ended (6): out of luck"


def test_other_python_is_not_led_astray(addon: Addon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    environment = addon("child_process").clean_environment()
    assert "PYTHONPATH" not in environment and "PYTHONHOME" not in environment
