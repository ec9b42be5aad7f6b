"""The connection file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shared.connection import (
    ConnectionInfo,
    default_connection_file,
    read_connection_file,
    write_connection_file,
)

INFO = ConnectionInfo(
    address="tcp://127.0.0.1:4", token="t", boot_id="b", pid=1, version="0", protocol="1.0"
)


def test_it_reads_back_and_replaces_an_older_one(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "connection.json"
    write_connection_file(path, INFO)
    write_connection_file(path, INFO)
    assert read_connection_file(path) == INFO
    assert os.listdir(path.parent) == ["connection.json"]


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such modes")
def test_only_its_owner_may_read_it_even_where_it_was_open_before(tmp_path: Path) -> None:
    path = tmp_path / "connection.json"
    path.touch(0o666)
    write_connection_file(path, INFO)
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[" * 100_000])
def test_a_damaged_one_is_a_value_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "connection.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="not a connection file"):
        read_connection_file(path)


def test_the_default_is_the_users_own() -> None:
    assert default_connection_file().is_relative_to(Path.home()) or os.environ.get("XDG_STATE_HOME")
