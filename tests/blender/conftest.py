"""The built zip, installed in a Blender of its own, and what there is to build a scene from.

The Blender is the `bpy` of MIEN_BLENDER_PYTHON, or of the Python that runs the tests. Blender
runs in processes of its own, so that the tests may use torch and the backend, and each check
starts from a fresh file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

import build_addon
from backend.assembly import assemble_track
from backend.events import FrameMotion, frame_result, model_result
from backend.head import Head
from backend.head.landmarks import layout
from shared.conventions import intrinsics
from shared.messages import FrameResult, JobDone, JobResult, ModelResult, TextureResult

REPOSITORY = Path(__file__).parents[2]
PYTHON = os.environ.get("MIEN_BLENDER_PYTHON", sys.executable)
# What `bpy` needs to be imported; neither pyzmq nor msgspec.
NEEDED = ("bpy", "numpy", "numpy.libs", "requests", "urllib3", "idna", "certifi", "zstandard")
NEEDED += ("charset_normalizer",)

SIZE = (320, 180)
FOCAL_PX = 410.0
RATE = Fraction(30000, 1001)
N_FRAMES = 9
FIRST_INDEX = 2


class Blender:
    """Runs checks in fresh Blender processes that share one folder of user resources."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.resources = folder / "resources"
        self.resources.mkdir()
        self.libraries = folder / "libraries"
        self.libraries.mkdir()
        code = "import sysconfig; print(sysconfig.get_path('platlib'))"
        found = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=True)
        packages = Path(found.stdout.strip())
        for name in NEEDED:
            if (packages / name).exists():
                (self.libraries / name).symlink_to(packages / name)
        self.count = 0

    def run(self, file: str = "", check: str = "", **arguments: Any) -> Any:
        """Run a function of a file beside this one; returns what it returned."""
        return self._run({"file": str(Path(__file__).parent / file), "check": check}, arguments)

    def install(self, archive: Path) -> None:
        """Install the extension from its zip."""
        self._run({"install": str(archive)}, {})

    def _run(self, job: dict[str, Any], arguments: dict[str, Any]) -> Any:
        self.count += 1
        answer = self.folder / f"answer-{self.count}.json"
        job_file = self.folder / f"job-{self.count}.json"
        values = {k: str(v) if isinstance(v, Path) else v for k, v in arguments.items()}
        job |= {"libraries": str(self.libraries), "answer": str(answer), "arguments": values}
        job_file.write_text(json.dumps(job), "utf-8")
        environment = dict(
            os.environ,
            BLENDER_USER_RESOURCES=str(self.resources),
            XDG_STATE_HOME=str(self.folder / "state"),
        )
        program = str(Path(__file__).parent / "inside.py")
        process = subprocess.run(
            [PYTHON, "-X", "faulthandler", "-I", "-S", program, str(job_file)],
            env=environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=400,
        )
        output = (process.stdout + process.stderr)[-6000:]
        assert answer.exists(), output
        # It must also end as a Blender that is closed: no crash, no hang.
        assert process.returncode == 0, output
        return json.loads(answer.read_text("utf-8"))["result"]


@pytest.fixture(scope="session")
def addon_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The extension, built from the sources as they are."""
    return build_addon.build(tmp_path_factory.mktemp("dist"), REPOSITORY / ".cache" / "wheels")


@pytest.fixture(scope="session")
def blender(tmp_path_factory: pytest.TempPathFactory, addon_zip: Path) -> Blender:
    """A Blender with the extension installed from its zip."""
    installed = Blender(tmp_path_factory.mktemp("blender"))
    installed.install(addon_zip)
    return installed


@pytest.fixture(scope="session")
def head() -> Head:
    return Head.load()


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small clip whose brightness counts its frames."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height = SIZE
        for number in range(FIRST_INDEX + N_FRAMES + 1):
            image = np.full((SIZE[1], SIZE[0], 3), 20 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        container.mux(stream.encode())
    return path


class Performance:
    """A head that turns far, speaks and looks around, as the messages of a job."""

    def __init__(
        self,
        head: Head,
        seed: int = 0,
        n_frames: int = N_FRAMES,
        size: tuple[int, int] = SIZE,
        principal_point: tuple[float, float] | None = None,
    ) -> None:
        self.size = size
        self.K = intrinsics(FOCAL_PX, size, principal_point)
        generator = torch.Generator().manual_seed(seed)
        self.head = head
        self.identity = 0.7 * torch.randn(head.n_identity, generator=generator)
        time = torch.linspace(0.0, 1.0, n_frames)[:, None]
        phase = 6.0 * torch.rand(1, head.n_expression, generator=generator)
        self.expression = 0.3 + 0.3 * torch.sin(5.0 * time + phase)
        self.rotations = torch.zeros(n_frames, 4, 3)
        self.rotations[:, 0] = torch.tensor([0.2, 1.1, 0.3]) * torch.sin(6.0 * time)
        self.rotations[:, 1] = torch.tensor([0.1, -0.3, 0.1]) * time
        self.rotations[:, 2] = torch.tensor([0.1, 0.3, 0.0]) * torch.cos(4.0 * time)
        self.rotations[:, 3] = torch.tensor([0.1, 0.25, 0.0]) * torch.cos(4.0 * time)
        self.translation = torch.tensor([0.02, -0.03, 0.55]) + 0.04 * time
        rng = np.random.default_rng(seed)
        self.visibility = (rng.random((n_frames, head.n_vertices)) > 0.4).astype(np.uint8)
        self.texture = rng.integers(0, 255, (64, 64, 4)).astype(np.uint8)
        with torch.no_grad():
            pose = (self.expression, self.rotations, self.translation)
            self.vertices = head(self.identity, *pose).numpy()

    def points_2d(self, frame: int) -> np.ndarray:
        """(68, 2) pixels where the projection puts the landmarks of a frame."""
        points = self.head.landmarks(torch.as_tensor(self.vertices[frame]), layout("ibug68"))
        homogeneous = points.double().numpy() @ self.K.T
        return homogeneous[:, :2] / homogeneous[:, 2:]

    def model(self, is_final: bool) -> ModelResult:
        """The head; the preview has the mean face."""
        identity = self.identity if is_final else torch.zeros_like(self.identity)
        return model_result(self.head, identity, is_final)

    def frame(self, number: int, is_final: bool) -> FrameResult:
        """One frame; the preview is farther away."""
        shift = 0.0 if is_final else 0.1
        return frame_result(
            self.head,
            self.identity,
            FrameMotion(
                self.expression[number].numpy(),
                self.rotations[number].numpy(),
                (self.translation[number] + torch.tensor([0.0, 0.0, shift])).numpy(),
                FOCAL_PX,
            ),
            frame_index=FIRST_INDEX + number,
            timestamp=float((FIRST_INDEX + number) / RATE),
            found=number != 3,
            landmarks_2d=None,
            landmark_sigma=None,
            vertices=self.vertices[number] if is_final else None,
            visibility=self.visibility[number] if is_final else None,
        )

    def messages(self) -> list[JobResult]:
        """All results of a job, in the order in which the service sends them."""
        frames = range(len(self.vertices))
        return [
            self.model(False),
            *(self.frame(number, False) for number in frames),
            self.model(True),
            *(self.frame(number, True) for number in frames),
            TextureResult(texture=self.texture),
            JobDone(
                image_size=self.size,
                frame_rate=(RATE.numerator, RATE.denominator),
                n_frames=len(self.vertices),
                K=self.K,
            ),
        ]

    def save_track(self, folder: Path) -> Path:
        """Write the track file, and beside it what the checks compare with."""
        frames = [self.frame(number, True) for number in range(len(self.vertices))]
        track = assemble_track(self.model(True), frames, self.texture, self.K, self.size, RATE)
        track.save(folder / "track.npz")
        points = np.stack([self.points_2d(number) for number in range(len(frames))])
        lay = layout("ibug68")
        np.savez(
            folder / "truth.npz",
            points_2d=points,
            corners=lay.vertices,
            barycentric=lay.barycentric,
            vertices=self.vertices,
            expression=self.expression.numpy(),
            visibility=self.visibility,
        )
        return folder / "track.npz"


@pytest.fixture(scope="session")
def performance(head: Head) -> Performance:
    return Performance(head)


@pytest.fixture(scope="session")
def track_file(performance: Performance, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A track file, with truth.npz beside it."""
    return performance.save_track(tmp_path_factory.mktemp("track"))


@pytest.fixture(scope="session")
def other_track_file(head: Head, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another person, moving otherwise, in more frames."""
    other = Performance(head, seed=5, n_frames=N_FRAMES + 4)
    return other.save_track(tmp_path_factory.mktemp("other"))


@pytest.fixture(scope="session")
def portrait_track_file(head: Head, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A track of an upright picture whose principal point is not in its middle."""
    upright = Performance(head, seed=2, size=(SIZE[1], SIZE[0]), principal_point=(95.0, 150.0))
    return upright.save_track(tmp_path_factory.mktemp("portrait"))
