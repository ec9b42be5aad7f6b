"""The add-on inside a real Blender: stalls while frames arrive, the ready scene, and its sizes.

A service of this package sends a finished job of a head of known motion again, as fast as it can,
to the extension as it is installed from its zip. The Blender is the `bpy` of the environment that
MIEN_BLENDER_PYTHON names, or of the one that runs the benchmark.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import av
import numpy as np
import torch

from backend.errors import BadInputError, MienError
from backend.evaluate.settings import BenchSettings
from backend.events import FrameMotion, frame_result, model_result
from backend.head import Head
from backend.head.landmarks import layout
from backend.server.store import JobStore, ResultWriter
from shared.conventions import intrinsics
from shared.messages import JobDone, JobResult, TextureResult, TrackJob, new_job_id

RATE = Fraction(30)
IMAGE_SIZE = (1920, 1080)
FOCAL_PX = 2200.0
INSIDE = Path(__file__).with_name("blender_inside.py")
ROOT = Path(__file__).parents[2]
TIMEOUT_S = 900.0


class BlenderError(MienError):
    """The Blender that was to be measured did not come to an end."""


def run(settings: BenchSettings) -> dict[str, float]:
    """Track in a real Blender; returns the figures. Raises `BadInputError` where there is none."""
    n_frames, texture_size = (24, 256) if settings.quick else (300, 2048)
    python = blender_python()
    with tempfile.TemporaryDirectory(prefix="mien-bench-") as temporary:
        folder = Path(temporary)
        archive = _build_addon().build(folder / "dist", ROOT / ".cache" / "wheels")
        clip = folder / "clip.mp4"
        write_clip(clip, n_frames)
        job_id = new_job_id()
        messages = performance(n_frames, texture_size, settings.seed)
        with service(folder, clip, job_id, messages) as connection:
            job = {
                "archive": str(archive),
                "clip": str(clip),
                "connection": str(connection),
                "job_id": job_id,
                "blend": str(folder / "shot.blend"),
                "resources": str(folder / "resources"),
            }
            figures = _inside(python, folder, job)
        figures["zip_mb"] = archive.stat().st_size / 1e6
    return figures


def blender_python() -> str:
    """Return the interpreter whose `bpy` is measured. Raises `BadInputError`."""
    named = os.environ.get("MIEN_BLENDER_PYTHON")
    if named:
        return named
    if importlib.util.find_spec("bpy") is None:
        raise BadInputError(
            "There is no Blender here: install bpy, or name the Python of an environment that has "
            "it in MIEN_BLENDER_PYTHON."
        )
    return sys.executable


def _build_addon() -> ModuleType:
    """Return the repository's build_addon.py as a module."""
    path = ROOT / "build_addon.py"
    if not path.is_file():
        raise BadInputError("This benchmark builds the extension: run it in Mien's repository.")
    specification = importlib.util.spec_from_file_location("build_addon", path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def _inside(python: str, folder: Path, job: dict[str, str]) -> dict[str, float]:
    """Run blender_inside.py and return its figures. Raises `BlenderError`."""
    job_file, answer = folder / "job.json", folder / "answer.json"
    job_file.write_text(json.dumps(job | {"answer": str(answer)}), "utf-8")
    resources = Path(job["resources"])
    resources.mkdir()
    environment = dict(
        os.environ,
        BLENDER_USER_RESOURCES=str(resources),
        XDG_STATE_HOME=str(folder / "state"),
    )
    process = subprocess.run(
        [python, "-I", str(INSIDE), str(job_file)],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    if not answer.exists():
        raise BlenderError(f"Blender ended early: {(process.stdout + process.stderr)[-3000:]}")
    figures: dict[str, float] = json.loads(answer.read_text("utf-8"))
    return figures


def write_clip(path: Path, n_frames: int) -> None:
    """Write a small clip with one grey a frame: what is measured does not look at it."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height = 320, 180
        for number in range(n_frames):
            image = np.full((180, 320, 3), number % 200, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        container.mux(stream.encode())


def performance(n_frames: int, texture_size: int, seed: int) -> list[JobResult]:
    """All results of a job, the preview and then the final pass, as a real one sends them."""
    head = Head.load()
    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng(seed)
    identity = 0.7 * torch.randn(head.n_identity, generator=generator)
    moment = torch.linspace(0.0, n_frames / float(RATE), n_frames)[:, None]
    phase = 6.3 * torch.rand(1, head.n_expression, generator=generator)
    expression = 0.3 + 0.3 * torch.sin(4.0 * moment + phase)
    rotations = torch.zeros(n_frames, 4, 3)
    rotations[:, 0] = torch.tensor([0.1, 0.4, 0.1]) * torch.sin(2.0 * moment)
    rotations[:, 2:] = torch.tensor([0.1, 0.2, 0.0]) * torch.cos(3.0 * moment)[:, None]
    translation = torch.tensor([0.0, 0.0, 0.6]) + 0.05 * torch.sin(moment)
    noise = rng.integers(0, 255, (texture_size // 8, texture_size // 8, 4), dtype=np.uint8)
    texture = noise.repeat(8, axis=0).repeat(8, axis=1)
    K = intrinsics(FOCAL_PX, IMAGE_SIZE)
    points = layout("dense703")
    messages: list[JobResult] = []
    for is_final in (False, True):
        messages.append(model_result(head, identity, is_final))
        for number in range(n_frames):
            pose = (expression[number], rotations[number], translation[number])
            with torch.no_grad():
                vertices = head(identity, *pose).numpy()
            corners = vertices[points.vertices] * points.barycentric[..., None].astype(np.float32)
            places = corners.sum(1) @ K.T.astype(np.float32)
            seen = (rng.random(head.n_vertices) > 0.4).astype(np.uint8)
            messages.append(
                frame_result(
                    head,
                    identity,
                    FrameMotion(
                        expression[number].numpy(),
                        rotations[number].numpy(),
                        translation[number].numpy(),
                        FOCAL_PX,
                    ),
                    frame_index=number,
                    timestamp=number / float(RATE),
                    found=True,
                    landmarks_2d=places[:, :2] / places[:, 2:],
                    landmark_sigma=np.full(len(points), 2.0, np.float32),
                    vertices=vertices if is_final else None,
                    visibility=seen if is_final else None,
                    soft_visibility=seen * np.uint8(255) if is_final else None,
                )
            )
    messages.append(
        TextureResult(
            texture=texture,
            albedo=np.ascontiguousarray(texture[..., :3]),
            lighting=np.ones((9, 3), np.float32),
        )
    )
    messages.append(
        JobDone(
            image_size=IMAGE_SIZE,
            frame_rate=(RATE.numerator, RATE.denominator),
            n_frames=n_frames,
            K=K,
        )
    )
    return messages


@contextmanager
def service(folder: Path, clip: Path, job_id: str, messages: list[JobResult]) -> Iterator[Path]:
    """A backend that has this finished job; yields its connection file."""
    jobs, connection = folder / "jobs", folder / "connection.json"
    store = JobStore(jobs)
    with ResultWriter(store.create(job_id, TrackJob(clip=str(clip)), "bench"), job_id) as writer:
        for message in messages:
            writer.put(message)
    store.close()
    command = [sys.executable, "-m", "backend", "serve", "--exit-with-stdin"]
    command += ["--connection-file", str(connection), "--jobs-directory", str(jobs)]
    command += ["--roots", str(folder), "--devices", "cpu"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, cwd=ROOT)
    try:
        deadline = time.monotonic() + 120
        while not connection.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise BlenderError("The service did not start.")
            time.sleep(0.1)
        yield connection
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(30)
        finally:
            process.kill()
