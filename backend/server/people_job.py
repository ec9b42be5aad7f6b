"""Runs a PeopleJob in a worker: who is in a clip, and where to point at them."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np

from backend.detect.choice import detector_for, load_detector
from backend.detect.people import find_people, sampled
from backend.detect.window_detector import WindowDetector
from backend.device import choose_device
from backend.errors import BadInputError, CancelledError, NoFaceError
from backend.footage import Footage, open_footage
from backend.server.runners import JobContext
from backend.server.security import resolve_clip
from shared.messages import Job, JobDone, PeopleJob, PersonResult, Progress


def run_people_job(job: Job, context: JobContext) -> JobDone:
    """List the people of a clip, each with the boxes of their face."""
    assert isinstance(job, PeopleJob)
    footage = _range(open_footage(resolve_clip(job.clip, context.roots)), job)
    count = min(job.samples, footage.n_frames)
    detector = load_detector(detector_for("preview"), choose_device(context.device))
    quick = detector
    if isinstance(detector, WindowDetector):
        quick = copy.copy(detector)
        quick.settings = replace(detector.settings, last_resort=())

    def progress(done: int) -> None:
        context.emit(Progress(stage="people", fraction=min(done / count, 1.0)))
        if context.cancelled():
            raise CancelledError("Cancelled.")

    people = find_people(sampled(footage, count), detector, progress, quick=quick)
    if not people:
        raise NoFaceError(
            f"{footage.path}: no face was found in the {count} frames that were looked at."
        )
    for number, person in enumerate(people):
        context.emit(
            PersonResult(
                number=number,
                frame_index=person.frames[person.best],
                place=person.place,
                frames=np.array(person.frames, np.int64),
                boxes=np.array(person.boxes, np.float32),
                picture=np.ascontiguousarray(person.picture),
            )
        )
    width, height = footage.image_size
    rate = footage.frame_rate
    return JobDone(
        image_size=(width, height),
        frame_rate=(rate.numerator, rate.denominator),
        n_frames=count,
    )


def _range(footage: Footage, job: PeopleJob) -> Footage:
    """The frames that are asked for; one alone may be between two of a variable frame rate."""
    if job.start is not None and job.start == job.end:
        number = footage.shown_at(job.start)
        return footage.part(number, number)
    numbers = footage.frame_numbers()
    part = footage.part(
        numbers[0] if job.start is None else job.start, numbers[-1] if job.end is None else job.end
    )
    if part.n_frames == 0:
        raise BadInputError(
            f"{footage.path}: no frames from {job.start} to {job.end}; it has {numbers[0]} to "
            f"{numbers[-1]}."
        )
    return part
