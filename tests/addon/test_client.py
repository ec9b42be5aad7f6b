"""The add-on's client against a real service over real ZeroMQ."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

Addon = Callable[[str], ModuleType]


class Service:
    """A backend process that can be killed and started again on the same folders."""

    def __init__(self, folder: Path) -> None:
        self.connection = folder / "connection.json"
        self.command = [sys.executable, "-m", "backend", "serve", "--exit-with-stdin"]
        self.command += ["--connection-file", str(self.connection)]
        self.command += ["--jobs-directory", str(folder / "jobs"), "--roots", str(folder)]
        self.command += ["--devices", "cpu"]
        self.start()

    def start(self) -> None:
        self.connection.unlink(missing_ok=True)
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE)
        deadline = time.monotonic() + 120
        while not self.connection.exists():
            assert self.process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = Service(tmp_path_factory.mktemp("service"))
    yield running
    running.kill()


@pytest.fixture
def submit(addon: Addon, service: Service) -> Iterator[Callable[..., Any]]:
    made: list[Any] = []

    def make(job: Any, endpoint: Any = None, **options: Any) -> Any:
        client, shot = addon("client"), addon("shot")
        endpoint = endpoint or client.Endpoint(connection_file=service.connection)
        receiver = shot.ShotReceiver((64, 48))
        made.append(client.JobClient(endpoint, job, receiver, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def run(client: Any, until: Callable[[], bool] | None = None, timeout_s: float = 180.0) -> None:
    """Poll as Blender's timer does, until a condition holds or the job has ended."""
    deadline = time.monotonic() + timeout_s
    while not (until() if until is not None else client.is_finished):
        assert time.monotonic() < deadline, client.phase
        client.poll()
        time.sleep(0.01)


def test_runs_a_job_to_its_end(addon: Addon, submit: Any) -> None:
    client = submit(addon("shared.messages").DiagnosticJob(steps=5, size=8))
    assert client.phase == "connecting"
    run(client)
    assert client.phase == "done" and client.problem is None
    assert client.device == "" and client.receiver.progress is not None


def test_names_the_device(addon: Addon, submit: Any) -> None:
    job = addon("shared.messages").DiagnosticJob(steps=1, size=8, name_device=True)
    client = submit(job)
    run(client)
    assert "CPU" in client.device
    assert addon("client").JobClient.last_device == client.device


def test_cancels_a_running_job(addon: Addon, submit: Any) -> None:
    client = submit(addon("shared.messages").DiagnosticJob(steps=1000, size=8, pause_s=0.05))
    run(client, lambda: client.phase == "running" and client.receiver.progress is not None)
    client.cancel()
    assert client.phase == "cancelling"
    run(client)
    assert client.phase == "cancelled"


def test_cancels_at_once_where_nothing_answers(addon: Addon, submit: Any, tmp_path: Path) -> None:
    endpoint = addon("client").Endpoint(connection_file=tmp_path / "missing.json")
    client = submit(addon("shared.messages").DiagnosticJob(), endpoint)
    client.poll()
    client.cancel()
    assert client.phase == "cancelled"
    assert not client.poll()


def test_says_where_no_backend_answers(addon: Addon, submit: Any, tmp_path: Path) -> None:
    endpoint = addon("client").Endpoint(connection_file=tmp_path / "missing.json")
    client = submit(addon("shared.messages").DiagnosticJob(), endpoint, connect_timeout_s=0.2)
    run(client)
    assert client.problem.code == "no_backend"
    assert "missing.json" in client.problem.message
    assert "Preferences" in client.problem.advice


@pytest.mark.parametrize("address", ["tcp://", "nonsense", "tcp://127.0.0.1:notaport"])
def test_says_that_an_address_is_none(addon: Addon, submit: Any, address: str) -> None:
    endpoint = addon("client").Endpoint(address=address)
    client = submit(addon("shared.messages").DiagnosticJob(), endpoint, connect_timeout_s=0.2)
    run(client)
    assert client.problem.code == "no_backend" and address in client.problem.message


def test_wrong_token_is_told_with_advice(addon: Addon, submit: Any, service: Service) -> None:
    info = addon("shared.connection").read_connection_file(service.connection)
    endpoint = addon("client").Endpoint(address=info.address, token="wrong")
    client = submit(addon("shared.messages").DiagnosticJob(), endpoint)
    run(client)
    assert client.problem.code == "unauthorised" and "token" in client.problem.advice


def test_refused_job_is_told_with_advice(addon: Addon, submit: Any, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"")
    client = submit(addon("shared.messages").TrackJob(clip=str(clip)))
    run(client)
    assert client.problem.code == "path_forbidden" and "--roots" in client.problem.advice


def test_goes_on_when_the_backend_was_killed(addon: Addon, submit: Any, service: Service) -> None:
    client = submit(addon("shared.messages").DiagnosticJob(steps=60, size=8, pause_s=0.03))
    run(client, lambda: client.receiver.progress is not None)
    service.kill()
    service.start()
    run(client)
    assert client.phase == "done" and client.problem is None


def test_every_error_code_has_advice(addon: Addon) -> None:
    codes = set(addon("shared.messages").ERROR_CODES) - {"cancelled"}
    assert codes <= set(addon("client").ADVICE)
