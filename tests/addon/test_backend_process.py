"""Finding, starting and ending a backend, with real processes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

Addon = Callable[[str], ModuleType]


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
