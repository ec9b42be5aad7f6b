"""A real service: supervisor and worker processes, real ZeroMQ over loopback."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from backend.server.client import ServerSocket, track_remote
from backend.server.settings import ServeSettings
from shared.codec import decode_from_server, encode
from shared.connection import ConnectionInfo, read_connection_file
from shared.messages import Hello, Job, JobDone, Message, Welcome

REPOSITORY = Path(__file__).parents[3]

PATIENCE_S = 60.0
"""How long anything may take: it ends at once, but a busy machine has its own idea of that."""

SERVE = """
import pathlib, sys
from pathlib import PosixPath, WindowsPath
from backend.server.settings import ServeSettings
from backend.server.supervisor import main
sys.exit(main(eval(sys.argv[1])))
"""


def eventually(condition: Callable[[], Any], timeout_s: float = PATIENCE_S) -> Any:
    """Return the first true value of a condition, which is looked at often."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError("it did not happen in time")


class RawClient:
    """A DEALER socket and nothing else: what a careless or hostile client has."""

    def __init__(self, info: ConnectionInfo) -> None:
        self.info = info
        self.context = zmq.Context()
        self.socket: Any = self.context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.connect(info.address)

    def send(self, message: Message) -> None:
        self.socket.send_multipart(encode(message))

    def receive(self, timeout_s: float = PATIENCE_S) -> Any:
        assert self.socket.poll(int(timeout_s * 1000)), "no answer"
        return decode_from_server(self.socket.recv_multipart())

    def receive_until(self, wanted: type[Message], timeout_s: float = PATIENCE_S) -> Any:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            message = self.receive(timeout_s)
            if isinstance(message, wanted):
                return message
        raise AssertionError(f"no {wanted.__name__}")

    def hello(self) -> Welcome:
        self.send(Hello(token=self.info.token, client="test"))
        welcome = self.receive()
        assert isinstance(welcome, Welcome), welcome
        return welcome

    def close(self) -> None:
        self.context.destroy(linger=0)


class Service:
    """A supervisor process that can be killed and started again on the same folders."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.clips = folder / "clips"
        self.clips.mkdir(exist_ok=True)
        self.settings = ServeSettings(
            **{
                "connection_file": folder / "connection.json",
                "jobs_directory": folder / "jobs",
                "roots": (self.clips,),
                "devices": ("cpu",),
                "exit_with_stdin": True,
                **settings,
            }
        )
        self.process: subprocess.Popen[bytes] | None = None
        self.clients: list[RawClient] = []

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE, repr(self.settings)],
            stdin=subprocess.PIPE,
            cwd=REPOSITORY,
        )
        eventually(self._written_by_this_process)

    def _written_by_this_process(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, "the supervisor ended"
        with contextlib.suppress(OSError, ValueError):
            return self.info.pid == self.process.pid
        return False

    @property
    def info(self) -> ConnectionInfo:
        return read_connection_file(self.settings.connection_file)

    def track(self, job: Job, on_event: Any = lambda event: None, **options: Any) -> JobDone:
        return track_remote(self.settings.connection_file, job, on_event, **options)

    def client(self) -> RawClient:
        self.clients.append(RawClient(self.info))
        return self.clients[-1]

    def socket(self, **options: Any) -> ServerSocket:
        return ServerSocket(self.settings.connection_file, **options)

    def worker_pids(self) -> list[int]:
        assert self.process is not None
        pid = self.process.pid
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def kill_worker(self) -> int:
        (pid,) = eventually(self.worker_pids)
        os.kill(pid, signal.SIGKILL)
        return int(pid)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Close its standard input, which is how whoever started it ends it."""
        assert self.process is not None and self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(PATIENCE_S)

    def close(self) -> None:
        for client in self.clients:
            client.close()
        if self.process is not None and self.process.poll() is None:
            try:
                self.stop()
            finally:
                self.kill()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all tests of a module, which leave it running."""
    running = Service(tmp_path_factory.mktemp("service"))
    running.start()
    yield running
    running.close()


@pytest.fixture
def new_service(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Make services of the test's own, not started yet."""
    made: list[Service] = []

    def make(**settings: Any) -> Service:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Service(folder, **settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def wait_until() -> Callable[..., Any]:
    return eventually
