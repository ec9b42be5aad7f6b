"""Who may connect, what they may read, and where the service may listen."""

from __future__ import annotations

import hmac
import ipaddress
import os
import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zmq
import zmq.auth

from backend.errors import BadInputError
from backend.server.settings import ServeSettings
from shared.connection import write_private

ZAP_DOMAIN = b"mien"
"""The domain that the allow-list applies to; stated on the socket, or libzmq asks nobody."""

ZAP_ADDRESS = "inproc://zeromq.zap.01"

MAX_FOLDER_ENTRIES = 200_000
"""Entries of a folder that are looked at for links that leave the allowed roots."""


class PathForbiddenError(BadInputError):
    """The path is not below a folder that this server may read."""

    code = "path_forbidden"


def is_loopback(host: str) -> bool:
    """Return whether an address can only be reached from this computer."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def same_secret(given: str, expected: str) -> bool:
    """Compare two secrets in a time that does not depend on where they differ."""
    return hmac.compare_digest(given.encode(), expected.encode())


# ---- Paths --------------------------------------------------------------------------------


def resolve_clip(clip: str, roots: Iterable[Path | str]) -> Path:
    """Return the real path of a clip, which must lie below one of the roots.

    Links are followed first, for the clip itself and, for a folder or a sequence pattern (### or
    %04d in the name), for everything in the folder. Raises PathForbiddenError for what is outside
    and BadInputError for what is not an absolute path to something that exists.
    """
    if "\0" in clip or re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", clip):
        raise PathForbiddenError(f"{clip!r} is not a path: the server opens no addresses")
    path = Path(clip)
    if not path.is_absolute():
        raise BadInputError(f"{clip!r} must be an absolute path, as the server sees it")
    allowed = [Path(root).resolve() for root in roots]
    pattern = re.search(r"#|%0?\d*d", path.name) is not None
    try:
        real = path.parent.resolve(strict=True) / path.name if pattern else path.resolve(True)
    except (OSError, RuntimeError) as error:
        # Say nothing about what exists outside of the roots.
        _require_below(Path(os.path.realpath(path)), allowed, clip)
        raise BadInputError(f"{clip}: no such file or folder") from error
    _require_below(real, allowed, clip)
    folder = real.parent if pattern else real
    if folder.is_dir():
        with os.scandir(folder) as entries:
            for count, entry in enumerate(entries):
                if count >= MAX_FOLDER_ENTRIES:
                    raise BadInputError(f"{clip}: more than {MAX_FOLDER_ENTRIES} files")
                if entry.is_symlink():
                    _require_below(Path(os.path.realpath(entry.path)), allowed, clip)
    return real


def _require_below(real: Path, allowed: Sequence[Path], clip: str) -> None:
    if not any(real.is_relative_to(root) for root in allowed):
        folders = ", ".join(map(str, allowed)) or "none"
        raise PathForbiddenError(
            f"{clip} is outside of the folders that this server may read ({folders}); start it"
            " with --roots to allow others"
        )


# ---- CURVE --------------------------------------------------------------------------------


@dataclass(frozen=True)
class KeyPair:
    """A CURVE key pair, Z85 text as bytes."""

    public: bytes
    """The part to give to the other side."""

    secret: bytes
    """The part to keep."""


def create_key_files(path: Path) -> KeyPair:
    """Write a new key pair: `path` with both keys, mode 0600, and `path` + ".key", the public one.

    The files are ZeroMQ certificates, as zmq.auth reads them. Raises BadInputError where one
    exists.
    """
    public_path = path.with_name(path.name + ".key")
    for existing in (path, public_path):
        if existing.exists():
            raise BadInputError(f"{existing} exists already")
    public, secret = zmq.curve_keypair()
    text = f'metadata\ncurve\n    public-key = "{public.decode()}"\n'
    write_private(path, (text + f'    secret-key = "{secret.decode()}"\n').encode())
    public_path.write_text(text)
    return KeyPair(public, secret)


def load_key_pair(path: Path) -> KeyPair:
    """Read a key file with both keys. Raises BadInputError, also where others may read it."""
    try:
        public, secret = zmq.auth.load_certificate(path)
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise BadInputError(f"{path} is not a key file: {error}") from error
    if secret is None:
        raise BadInputError(f"{path} has no secret key")
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise BadInputError(f"{path} may be read by others: chmod 600 it")
    return KeyPair(public, secret)


def load_allowed_keys(folder: Path) -> frozenset[bytes]:
    """Read the public keys of all .key files in a folder. Raises BadInputError where there are
    none."""
    try:
        keys = frozenset(zmq.auth.load_certificates(folder))
    except (OSError, ValueError) as error:
        raise BadInputError(f"{folder}: cannot read the clients' keys: {error}") from error
    if not keys:
        raise BadInputError(f"{folder} holds no .key file of any client")
    return keys


@dataclass(frozen=True)
class CurveSettings:
    """Encryption of the service."""

    server: KeyPair
    """The server's keys."""

    allowed: frozenset[bytes]
    """Public keys of the clients that may connect."""


def curve_settings(settings: ServeSettings) -> CurveSettings | None:
    """Return how to encrypt, None for plain loopback.

    Raises BadInputError where the address is not loopback and encryption is not fully set up.
    """
    given = (settings.curve_secret_key is not None, settings.curve_clients is not None)
    if given == (False, False):
        if not is_loopback(settings.host):
            raise BadInputError(
                f"refusing to listen on {settings.host} without encryption: give"
                " --curve-secret-key and --curve-clients, or listen on 127.0.0.1"
            )
        return None
    if settings.curve_secret_key is None or settings.curve_clients is None:
        raise BadInputError("--curve-secret-key and --curve-clients belong together")
    return CurveSettings(
        load_key_pair(settings.curve_secret_key), load_allowed_keys(settings.curve_clients)
    )


class Gatekeeper:
    """Answers libzmq's questions about who may connect (ZAP, RFC 27), from an allow-list.

    Make it before the server's socket is bound, and call `answer` from the work loop.
    """

    def __init__(self, context: Any, curve: CurveSettings) -> None:
        self.curve = curve
        self.socket = context.socket(zmq.REP)
        self.socket.linger = 0
        self.socket.bind(ZAP_ADDRESS)

    def protect(self, server_socket: Any) -> None:
        """Turn encryption on for a socket that is not bound yet."""
        server_socket.zap_domain = ZAP_DOMAIN
        server_socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        server_socket.curve_secretkey = self.curve.server.secret
        server_socket.curve_publickey = self.curve.server.public
        server_socket.curve_server = True

    def answer(self) -> None:
        """Answer the questions that wait."""
        while self.socket.poll(0):
            request = self.socket.recv_multipart()
            allowed, reply_to = self._judge(request)
            status = (b"200", b"OK") if allowed else (b"400", b"not on the allow-list")
            self.socket.send_multipart([b"1.0", reply_to, *status, b"", b""])

    def _judge(self, request: list[bytes]) -> tuple[bool, bytes]:
        if len(request) != 7:
            return False, request[1] if len(request) > 1 else b""
        version, reply_to, domain, _, _, mechanism, key = request
        known = version == b"1.0" and domain == ZAP_DOMAIN and mechanism == b"CURVE"
        return known and zmq.utils.z85.encode(key) in self.curve.allowed, reply_to

    def close(self) -> None:
        """Stop answering."""
        self.socket.close(0)
