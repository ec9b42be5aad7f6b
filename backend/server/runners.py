"""What a worker can run: the kinds of job, and what a running job may do."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from shared.messages import (
    DiagnosticJob,
    DiagnosticResult,
    Event,
    IdentityJob,
    Job,
    JobDone,
    PeopleJob,
    Progress,
    RefineJob,
    TrackJob,
    tag_of,
)


@dataclass(frozen=True)
class JobContext:
    """What a running job has to do with the world."""

    emit: Callable[[Event], None]
    """Report progress or a result; it is stored before this returns."""

    cancelled: Callable[[], bool]
    """Whether to stop; call it often, it also answers the supervisor's pings."""

    device: str
    """Device to run on: auto, cpu, cuda:0 and so on."""

    roots: tuple[str, ...]
    """Folders that clips may be read from."""

    jobs: Path | None = None
    """Folder of all jobs, whose results a job may build on; None outside of a service."""

    job_id: str = ""
    """The job itself."""


Runner: TypeAlias = Callable[[Job, JobContext], JobDone]
"""Runs a job; returns its last result, or raises an error whose `code` says what went wrong."""

RUNNERS: dict[str, str] = {
    tag_of(TrackJob): "backend.server.track_job:run_track_job",
    tag_of(RefineJob): "backend.server.refine_job:run_refine_job",
    tag_of(IdentityJob): "backend.server.identity_job:run_identity_job",
    tag_of(PeopleJob): "backend.server.people_job:run_people_job",
    tag_of(DiagnosticJob): "backend.server.runners:run_diagnostic_job",
}
"""Dotted name of the runner of each kind of job, imported when the first such job arrives."""


def paths_of(job: Job) -> list[str]:
    """All paths that a job names: none may lie outside of the roots."""
    if isinstance(job, TrackJob):
        paths = [job.clip, *(camera.clip for camera in job.cameras)]
        return paths + [path for path in (job.constraints.mask, job.person) if path]
    if isinstance(job, IdentityJob):
        return [source.path for source in job.sources]
    if isinstance(job, PeopleJob):
        return [job.clip]
    if isinstance(job, RefineJob):
        mask = "" if job.constraints is None else job.constraints.mask
        return [path for path in (job.track, mask) if path]
    return []


def load_runner(kind: str) -> Runner:
    """Import and return the runner of a kind of job."""
    module, _, name = RUNNERS[kind].partition(":")
    runner: Runner = getattr(importlib.import_module(module), name)
    return runner


def run_diagnostic_job(job: Job, context: JobContext) -> JobDone:
    """Stream a seeded random walk: (size, size) float64 for each step, the same every time."""
    assert isinstance(job, DiagnosticJob)
    device = ""
    if job.name_device:
        from backend.device import choose_device, device_name  # torch takes seconds to load

        device = device_name(choose_device(context.device))
    generator = np.random.Generator(np.random.PCG64(job.seed))
    values = np.zeros((job.size, job.size))
    for step in range(job.steps):
        began = time.monotonic()
        values = values + generator.standard_normal(values.shape)
        context.emit(DiagnosticResult(step=step, values=values))
        context.emit(
            Progress(stage="diagnostic", fraction=(step + 1) / job.steps, frame_index=step)
        )
        while time.monotonic() - began < job.pause_s and not context.cancelled():
            time.sleep(min(0.01, job.pause_s))
        if context.cancelled():
            break
    return JobDone(n_frames=job.steps, device=device)
