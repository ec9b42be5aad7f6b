"""MediaPipe FaceMesh, to be measured beside our own detectors on the same pixels."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from backend.kept import kept_folder

VERSION = "0.10.21"
PREFIX = "mediapipe_"
"""Of its figures."""
# Without what FaceMesh never imports (JAX, sound), and with the OpenCV that needs no window system.
_REQUIREMENTS = (
    f"mediapipe=={VERSION}", "numpy<2", "opencv-python-headless<4.12", "protobuf>=4.25.3,<5",
    "absl-py", "attrs", "flatbuffers", "matplotlib", "contourpy", "cycler", "fonttools",
    "kiwisolver", "packaging", "pillow", "pyparsing", "python-dateutil", "six",
)  # fmt: skip
_SCRIPT = Path(__file__).with_name("peer_mediapipe.py")
_VERTICES = 478

_MARKUP: tuple[tuple[int, ...], ...] = (
    (127,), (234,), (93,), (132, 58), (58, 172), (136,), (150,), (176,), (152,),
    (400,), (379,), (365,), (397, 288), (361,), (323,), (454,), (356,),
    (70,), (63,), (105,), (66,), (107,), (336,), (296,), (334,), (293,), (300,),
    (168, 6), (197, 195), (5,), (4,), (75,), (97,), (2,), (326,), (305,),
    (33,), (160,), (158,), (133,), (153,), (144,),
    (362,), (385,), (387,), (263,), (373,), (380,),
    (61,), (39,), (37,), (0,), (267,), (269,), (291,), (321,), (314,), (17,), (84,), (91,),
    (78,), (82,), (13,), (312,), (308,), (317,), (14,), (87,),
)  # fmt: skip
"""Vertices whose mean stands for each of iBUG's 68 points."""


class PeerError(Exception):
    """MediaPipe cannot be set up, or ended; the benchmark goes on without it."""


def cache_folder() -> Path:
    """Where the peers' environments are kept on this machine."""
    return kept_folder("peers")


def environment(folder: Path | None = None) -> Path:
    """The interpreter of MediaPipe's environment, which is made the first time.

    folder: where environments are kept; the user's cache where not given. Raises: PeerError.
    """
    home = (folder or cache_folder()) / f"mediapipe-{VERSION}"
    if not home.exists():
        print(f"Installing MediaPipe {VERSION} in {home} (400 MB, once)", file=sys.stderr)
        try:
            home.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=".making-", dir=home.parent))
        except OSError as error:
            raise PeerError(f"{home.parent} cannot be written ({error.strerror})") from error
        try:
            _run([sys.executable, "-m", "venv", str(temporary)])
            python = str(_python_in(temporary))
            pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            _run([*pip, "--no-deps", *_REQUIREMENTS])
            _run([python, "-c", "import mediapipe"])
            # Another process may have made it meanwhile; one is as good as the other.
            if not home.exists():
                os.rename(temporary, home)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return _python_in(home)


def _python_in(home: Path) -> Path:
    return home / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerError(str(error)) from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "warning" not in line.lower()]
        raise PeerError(lines[-1] if lines else f"{command[0]} ended with {done.returncode}")


class MediaPipeMesh:
    """FaceMesh, refined, in its own process on one core; use as a context."""

    def __init__(self, python: Path) -> None:
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [str(python), str(_SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""},
            # Ctrl-C is for the benchmark, which ends this process itself.
            start_new_session=True,
        )

    def __enter__(self) -> MediaPipeMesh:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._log.close()

    def find(
        self, image: NDArray[np.uint8], max_faces: int, clip: int | None = None
    ) -> tuple[list[NDArray[np.float64]], float]:
        """The faces (68,2) of an image (H,W,3) RGB in pixels, and seconds of the processor.

        clip: number of the clip whose next frame this is, for its video mode; None for a picture.
        Raises: PeerError.
        """
        height, width = image.shape[:2]
        request = {
            "height": height, "width": width, "max_faces": max_faces,
            "video": clip is not None, "clip": clip,
        }  # fmt: skip
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.write(np.ascontiguousarray(image).tobytes())
            self._process.stdin.flush()
            reply = json.loads(self._process.stdout.readline())
            data = self._process.stdout.read(reply["faces"] * _VERTICES * 8)
        except (OSError, ValueError) as error:
            self._log.seek(0)
            lines = self._log.read().decode(errors="replace").splitlines()
            raise PeerError(lines[-1] if lines else "it ended without a word") from error
        vertices = np.frombuffer(data, "<f4").reshape(-1, _VERTICES, 2).astype(np.float64)
        return [as_ibug68(face) for face in vertices], reply["seconds"]


def as_ibug68(vertices: NDArray[np.float64]) -> NDArray[np.float64]:
    """iBUG's 68 points (68,2) from FaceMesh's vertices (478,2)."""
    return np.stack([vertices[list(group)].mean(0) for group in _MARKUP])


def open_peer(wanted: bool) -> MediaPipeMesh | None:
    """MediaPipe where it is wanted and can be had; else None, with a line that says why."""
    if not wanted:
        return None
    try:
        return MediaPipeMesh(environment())
    except (PeerError, OSError) as error:
        print(f"Measuring without MediaPipe, which cannot be set up: {error}", file=sys.stderr)
        return None
