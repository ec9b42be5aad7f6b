"""Runs an IdentityJob in a worker: one person from photographs and clips."""

from __future__ import annotations

from backend.identity import build_person
from backend.person import Person, Source
from backend.server.runners import JobContext
from backend.server.security import resolve_clip
from backend.stages import Reporter
from shared.messages import IdentityJob, IdentityResult, Job, JobDone, UsedSource


def run_identity_job(job: Job, context: JobContext) -> JobDone:
    """Build the person and send them."""
    assert isinstance(job, IdentityJob)
    skipped: list[str] = []
    person = build_person(
        [resolve_clip(source.path, context.roots) for source in job.sources],
        focal_px={
            number: source.focal_px
            for number, source in enumerate(job.sources)
            if source.focal_px is not None
        },
        device=context.device,
        report=Reporter(context.emit, context.cancelled),
        on_skip=skipped.append,
    )
    context.emit(result_of(person, skipped))
    return JobDone(n_frames=sum(source.frames for source in person.sources))


def result_of(person: Person, skipped: list[str]) -> IdentityResult:
    """A person as a message."""
    return IdentityResult(
        identity=person.identity,
        correction=person.correction,
        joint_correction=person.joint_correction,
        sources=[
            UsedSource(
                name=source.name,
                n_frames=source.frames,
                focal_px=source.focal_px,
                image_size=source.image_size,
            )
            for source in person.sources
        ],
        skipped=skipped,
    )


def person_of(result: IdentityResult) -> Person:
    """The inverse of `result_of`."""
    return Person(
        result.identity,
        result.correction,
        result.joint_correction,
        tuple(
            Source(source.name, source.n_frames, source.focal_px, source.image_size)
            for source in result.sources
        ),
    )
