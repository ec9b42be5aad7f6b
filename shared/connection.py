"""Where a running server is: the connection file that it writes and its clients read."""

from __future__ import annotations

import os
import secrets
import sys
import time
from pathlib import Path

import msgspec


class ConnectionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a client on the same computer needs to reach a server. Contains a secret."""

    address: str
    """ZeroMQ endpoint, such as "tcp://127.0.0.1:49213"."""

    token: str
    """Secret that Hello must carry."""

    boot_id: str
    """The server's boot id."""

    pid: int
    """Process id of the supervisor."""

    version: str
    """Version of the server's software."""

    protocol: str
    """Protocol version, "major.minor"."""

    server_key: str | None = None
    """The server's public CURVE key (Z85), where connections are encrypted."""


def default_state_directory() -> Path:
    """Return this user's own folder for Mien's connection file and job results."""
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "Mien"
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "Mien"
    return Path(os.environ.get("XDG_STATE_HOME") or home / ".local" / "state") / "mien"


def default_connection_file() -> Path:
    """Return where a server writes its connection file unless told otherwise."""
    return default_state_directory() / "connection.json"


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read, all at once: readers see the old or the new.

    On Windows the folder's own permissions protect it; the default one is private to the user.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        _replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _replace(temporary: Path, path: Path) -> None:
    """Rename over another file; on Windows that has to wait while somebody reads it."""
    for _ in range(50):
        try:
            os.replace(temporary, path)
            return
        except PermissionError:
            if sys.platform != "win32":
                raise
            time.sleep(0.02)
    os.replace(temporary, path)


def write_connection_file(path: Path, info: ConnectionInfo) -> None:
    """Write the connection file with mode 0600."""
    write_private(path, msgspec.json.format(msgspec.json.encode(info)) + b"\n")


def read_connection_file(path: Path) -> ConnectionInfo:
    """Read a connection file. Raises OSError where there is none, ValueError if damaged."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=ConnectionInfo)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not a connection file: {error}") from error
