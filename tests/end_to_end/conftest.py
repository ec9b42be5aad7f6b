"""Running `mien` as a user does: in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import skimage.data
import skimage.io

from backend.samples import PERFORMANCE
from backend.track import Track

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def _listen_to_ctrl_c() -> None:
    """Tests that a shell runs in the background inherit an ignored Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start_mien(*arguments: str | Path) -> subprocess.Popen[str]:
    """Start the command line with its output piped."""
    return subprocess.Popen(
        [sys.executable, "-m", "backend", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        preexec_fn=_listen_to_ctrl_c if os.name == "posix" else None,
    )


def run_mien(*arguments: str | Path, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    process = start_mien(*arguments)
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture(scope="session")
def performance_result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded performance, tracked once for all tests; the overlay lies beside it."""
    path = tmp_path_factory.mktemp("performance") / "performance.npz"
    done = run_mien(
        "track", PERFORMANCE, "-o", path, "--overlay", path.with_suffix(".mp4"), "--farm",
        "--texture-size", "512",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    path.with_suffix(".log").write_text(done.stdout)
    return path


@pytest.fixture(scope="session")
def performance_track(performance_result: Path) -> Track:
    """The result of the embedded performance."""
    return Track.load(performance_result)


@pytest.fixture(scope="session")
def portrait(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real photograph: NASA's portrait of Eileen Collins, which scikit-image ships."""
    path = tmp_path_factory.mktemp("portrait") / "astronaut.png"
    skimage.io.imsave(path, skimage.data.astronaut(), check_contrast=False)
    return path


@pytest.fixture(scope="session")
def write_video(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str, list[np.ndarray]], Path]:
    """Write RGB pictures as a clip at 24 frames a second."""
    folder = tmp_path_factory.mktemp("clips")

    def write(name: str, pictures: list[np.ndarray]) -> Path:
        path = folder / name
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=Fraction(24))
            stream.height, stream.width = pictures[0].shape[:2]
            stream.pix_fmt = "yuv420p"
            for picture in pictures:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
        return path

    return write


@pytest.fixture(scope="session")
def landscape_clip(write_video: Callable[[str, list[np.ndarray]], Path]) -> Path:
    """A clip of gravel and bricks: no face at all."""
    pictures = [
        np.repeat(texture[:360, :512, None], 3, axis=2)
        for texture in (skimage.data.gravel(), skimage.data.brick())
    ]
    return write_video("landscape.mp4", pictures)
