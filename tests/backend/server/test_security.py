"""Where the service listens, whom it lets in, and what it reads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import zmq
import zmq.auth

from backend.errors import BadInputError, MienError
from backend.server import serve
from backend.server.security import (
    PathForbiddenError,
    create_key_files,
    curve_settings,
    is_loopback,
    load_key_pair,
    resolve_clip,
    same_secret,
)
from backend.server.settings import ServeSettings
from shared import messages as m

SMALL = m.DiagnosticJob(steps=3, size=4)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.0.4", False),
        ("*", False),
        ("eth0", False),
        ("127.0.0.1.example.com", False),
        ("localhost.example.com", False),
    ],
)
def test_what_counts_as_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_secrets_are_compared_whole() -> None:
    assert same_secret("abc", "abc")
    assert not same_secret("ab", "abc")
    assert not same_secret("ü", "abc")


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.4", "*"])
def test_listening_elsewhere_needs_encryption(tmp_path: Path, host: str) -> None:
    settings = ServeSettings(
        host=host, jobs_directory=tmp_path / "jobs", connection_file=tmp_path / "c.json"
    )
    with pytest.raises(BadInputError, match="refusing to listen"):
        serve(settings)
    assert not (tmp_path / "c.json").exists()


def test_encryption_needs_keys_and_an_allow_list(tmp_path: Path) -> None:
    key = tmp_path / "server"
    create_key_files(key)
    clients = tmp_path / "clients"
    clients.mkdir()
    with pytest.raises(BadInputError, match="belong together"):
        curve_settings(ServeSettings(host="0.0.0.0", curve_secret_key=key))
    with pytest.raises(BadInputError, match="belong together"):
        curve_settings(ServeSettings(host="0.0.0.0", curve_clients=clients))
    both = ServeSettings(host="0.0.0.0", curve_secret_key=key, curve_clients=clients)
    with pytest.raises(BadInputError, match=r"no \.key file"):
        curve_settings(both)
    create_key_files(clients / "artist")
    allowed = curve_settings(both)
    assert allowed is not None and len(allowed.allowed) == 1


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such modes")
def test_key_files_are_private_and_public_ones_hold_no_secret(tmp_path: Path) -> None:
    keys = create_key_files(tmp_path / "server")
    assert load_key_pair(tmp_path / "server") == keys
    assert (tmp_path / "server").stat().st_mode & 0o777 == 0o600
    assert zmq.auth.load_certificate(tmp_path / "server.key") == (keys.public, None)
    with pytest.raises(BadInputError, match="exists"):
        create_key_files(tmp_path / "server")
    with pytest.raises(BadInputError, match="no secret"):
        load_key_pair(tmp_path / "server.key")
    (tmp_path / "server").chmod(0o644)
    with pytest.raises(BadInputError, match="chmod"):
        load_key_pair(tmp_path / "server")


def test_serve_can_make_keys(tmp_path: Path) -> None:
    assert serve(ServeSettings(make_key=tmp_path / "artist")) == 0
    assert load_key_pair(tmp_path / "artist").public


class TestPaths:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        root = tmp_path / "root"
        (root / "shot").mkdir(parents=True)
        (root / "a.mp4").touch()
        (root / "shot" / "f.0001.png").touch()
        (tmp_path / "secret.png").touch()
        return root

    def test_what_is_inside(self, root: Path) -> None:
        for clip in ("a.mp4", "shot", "shot/f.####.png", "shot/f.%04d.png", "shot/../a.mp4"):
            assert resolve_clip(str(root / clip), [root]).is_relative_to(root)

    def test_links_inside_and_a_root_that_is_a_link(self, root: Path, tmp_path: Path) -> None:
        (root / "link.mp4").symlink_to(root / "a.mp4")
        assert resolve_clip(str(root / "link.mp4"), [root]) == root / "a.mp4"
        (tmp_path / "alias").symlink_to(root)
        assert resolve_clip(str(tmp_path / "alias" / "a.mp4"), [tmp_path / "alias"])

    def test_what_is_outside(self, root: Path, tmp_path: Path) -> None:
        (root / "link.png").symlink_to(tmp_path / "secret.png")
        for clip in (
            tmp_path / "secret.png",
            root / ".." / "secret.png",
            root / "link.png",
            tmp_path / "root-of-another" / "a.mp4",
            tmp_path / "does-not-exist",
            root / ".." / "s.####.png",
            root / "link.png" / "deeper",
        ):
            with pytest.raises(PathForbiddenError):
                resolve_clip(str(clip), [root])

    def test_links_among_the_frames_of_a_sequence(self, root: Path, tmp_path: Path) -> None:
        (root / "shot" / "f.0002.png").symlink_to(tmp_path / "secret.png")
        for clip in ("shot", "shot/f.####.png", "shot/f.%04d.png"):
            with pytest.raises(PathForbiddenError):
                resolve_clip(str(root / clip), [root])

    def test_no_roots_no_paths(self, root: Path) -> None:
        with pytest.raises(PathForbiddenError):
            resolve_clip(str(root / "a.mp4"), [])

    @pytest.mark.parametrize("clip", ["http://a/b.mp4", "rtsp:x", "concat:/a|/b", "a\0b", "\0"])
    def test_addresses(self, root: Path, clip: str) -> None:
        with pytest.raises(PathForbiddenError):
            resolve_clip(clip, [root])

    def test_missing_and_relative_ones_are_bad_input(self, root: Path) -> None:
        for clip in (str(root / "missing.mp4"), "a.mp4", ""):
            with pytest.raises(BadInputError) as caught:
                resolve_clip(clip, [root])
            assert caught.value.code == "bad_input"

    def test_a_circle_of_links(self, root: Path) -> None:
        (root / "x").symlink_to(root / "y")
        (root / "y").symlink_to(root / "x")
        with pytest.raises(BadInputError):
            resolve_clip(str(root / "x"), [root])


@pytest.fixture
def encrypted(new_service: Any, tmp_path: Path) -> Any:
    create_key_files(tmp_path / "server")
    (tmp_path / "clients").mkdir()
    create_key_files(tmp_path / "clients" / "artist")
    service = new_service(
        host="0.0.0.0",
        curve_secret_key=tmp_path / "server",
        curve_clients=tmp_path / "clients",
    )
    service.start()
    return service


def test_a_client_on_the_list_works_and_nobody_else(encrypted: Any, tmp_path: Path) -> None:
    artist = load_key_pair(tmp_path / "clients" / "artist")
    server_key = encrypted.info.server_key
    assert server_key == load_key_pair(tmp_path / "server").public.decode()
    assert encrypted.track(SMALL, keys=artist).n_frames == 3
    # By address, as from another computer: the key is all that it needs.
    from backend.server.client import track_remote

    done = track_remote(
        encrypted.info.address, SMALL, lambda event: None, keys=artist, server_key=server_key
    )
    assert done.n_frames == 3

    stranger = create_key_files(tmp_path / "stranger")
    with pytest.raises(MienError, match="no server answers"):
        encrypted.track(SMALL, keys=stranger, connect_timeout_s=0.8)
    with pytest.raises(MienError, match="asks for a key"):
        encrypted.track(SMALL, connect_timeout_s=0.3)
    plain = encrypted.client()
    plain.send(m.Hello(token=encrypted.info.token))
    assert not plain.socket.poll(500)
    wrong_server = create_key_files(tmp_path / "impostor").public.decode()
    with pytest.raises(MienError, match="no server answers"):
        track_remote(
            encrypted.info.address,
            SMALL,
            lambda event: None,
            keys=artist,
            server_key=wrong_server,
            connect_timeout_s=0.5,
        )
    assert encrypted.track(SMALL, keys=artist).n_frames == 3


def test_keys_may_come_from_the_environment(
    encrypted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIEN_KEY_FILE", str(tmp_path / "clients" / "artist"))
    assert encrypted.track(SMALL).n_frames == 3
