"""`mien serve` and `mien track --server`, both real processes."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from backend.samples import PERFORMANCE
from backend.track import Track
from tests.end_to_end.conftest import run_mien, start_mien


@pytest.fixture
def connection_file(tmp_path: Path) -> Iterator[Path]:
    """A running server's connection file."""
    path = tmp_path / "connection.json"
    process = start_mien(
        "serve", "--connection-file", path, "--jobs-directory", tmp_path / "jobs",
        "--roots", PERFORMANCE.parent, "--devices", "cpu",
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while not path.exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.05)
        assert path.exists(), "the server did not start"
        yield path
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert not path.exists()


def test_the_server_gives_the_same_track(connection_file: Path, tmp_path: Path) -> None:
    options = ["--start", "2", "--end", "6", "--texture-size", "256", "--device", "cpu"]
    here, there = tmp_path / "here.npz", tmp_path / "there.npz"
    done = run_mien("track", PERFORMANCE, "-o", here, *options)
    assert done.returncode == 0, done.stderr
    done = run_mien("track", PERFORMANCE, "-o", there, *options, "--server", connection_file)
    assert done.returncode == 0, done.stderr
    a, b = Track.load(here), Track.load(there)
    for name in a.__dataclass_fields__:
        x, y = getattr(a, name), getattr(b, name)
        if isinstance(x, np.ndarray) and x.dtype.kind == "f":
            np.testing.assert_allclose(x, y, atol=1e-4, err_msg=name)
        else:
            unlike = np.count_nonzero(np.asarray(x) != np.asarray(y))
            assert unlike <= 1e-3 * np.size(x), name


def test_errors_at_the_server_have_the_same_exit_codes(
    connection_file: Path, landscape_clip: Path, tmp_path: Path
) -> None:
    path = tmp_path / "out.npz"
    # The server may only read the folder of the samples.
    done = run_mien("track", landscape_clip, "-o", path, "--server", connection_file)
    assert done.returncode == 2 and "outside" in done.stderr
    done = run_mien("track", PERFORMANCE, "-o", path, "--server", tmp_path / "no_server.json")
    assert done.returncode == 1 and "no server answers" in done.stderr
    assert not path.exists()


def test_interruption_cancels_the_job_at_the_server(connection_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.npz"
    process = start_mien("track", PERFORMANCE, "-o", path, "--server", connection_file, "--farm")
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("openjd_progress:") and int(line.split()[1]) >= 3:
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 4, err
    assert "Traceback" not in err and not path.exists()
