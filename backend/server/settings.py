"""What `mien serve` can be told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from shared.connection import default_connection_file, default_state_directory


def _default_roots() -> tuple[Path, ...]:
    return (Path.home(), Path.cwd())


@dataclass(frozen=True)
class ServeSettings:
    """Settings of the service."""

    host: str = "127.0.0.1"
    """Address to listen on; anything but loopback needs the CURVE settings below."""

    port: int = 0
    """Port to listen on; 0 for any free one, which the connection file then states."""

    connection_file: Path = field(default_factory=default_connection_file)
    """File that tells this user's clients the address and the secret token; mode 0600."""

    jobs_directory: Path = field(default_factory=lambda: default_state_directory() / "jobs")
    """Folder for the jobs' results, from which clients and workers resume."""

    roots: tuple[Path, ...] = field(default_factory=_default_roots)
    """Folders that clips may be read from, with everything below them."""

    devices: tuple[str, ...] = ("auto",)
    """Devices that run jobs, one worker process each: auto, cpu, cuda:0, cuda:1, mps."""

    curve_secret_key: Path | None = None
    """The server's CURVE key file, which turns encryption on."""

    curve_clients: Path | None = None
    """Folder with the public .key file of every client that may connect; needed for CURVE."""

    make_key: Path | None = None
    """Only write a new CURVE key pair, for a server or a client: FILE and FILE.key, and end."""

    keep_days: float = 7.0
    """Days after which the results of a job are removed."""

    keep_gigabytes: float = 20.0
    """Size of all results together above which the oldest are removed."""

    cancel_grace_s: float = 10.0
    """Seconds that a cancelled job may take to stop before its worker is replaced."""

    worker_silence_s: float = 600.0
    """Seconds without a sign of life after which a busy worker is replaced."""

    exit_with_stdin: bool = False
    """Stop when standard input closes, so that the service ends with what started it."""
