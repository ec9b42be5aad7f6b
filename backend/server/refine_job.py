"""Runs a RefineJob in a worker: a tracked shot solved again from where it ended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from backend.assembly import Known, ResultCollector
from backend.constraints import to_text
from backend.errors import BadInputError
from backend.refine import refine_track
from backend.server.result_log import DamagedLogError, ResultLog
from backend.server.runners import JobContext
from backend.server.security import resolve_clip
from backend.server.store import JobFolder
from backend.stages import Reporter
from backend.track import Track
from shared.codec import DecodeError, decode_from_server
from shared.jobs import RefineJob, TrackJob
from shared.messages import Job, JobDone, JobResult

LONGEST_CHAIN = 200
"""Refine jobs one on the other that are put together again from disk."""

MOST_RECENT = 2
_recent: dict[str, Track] = {}
"""Results of the last jobs of this process, so that the next step need not read them."""


def run_refine_job(job: Job, context: JobContext) -> JobDone:
    """Solve the shot again and stream the frames."""
    assert isinstance(job, RefineJob)
    track = source_of(job, context)
    constraints = job.constraints
    if constraints is not None and constraints.mask:
        mask = str(resolve_clip(constraints.mask, context.roots))
        constraints = msgspec.structs.replace(constraints, mask=mask)
    refined = refine_track(
        track,
        constraints,
        focal_px=job.focal_px,
        focal_mode=job.focal_mode,
        hold_person=job.hold_person,
        near=job.scope != "whole",
        whole=job.scope != "near",
        report=Reporter(context.emit, context.cancelled),
        device=context.device,
    )
    track = refined.track
    if context.job_id:
        _remember(context.job_id, track)
    width, height = track.image_size.tolist()
    return JobDone(
        image_size=(width, height),
        frame_rate=(int(track.frame_rate[0]), int(track.frame_rate[1])),
        n_frames=track.n_frames,
        K=track.K[0],
        focal_sd_percent=float(track.focal_sd_percent[0]) if track.focal_sd_percent.size else None,
        distortion=_row(track.distortion),
        near_ms=refined.near_ms,
        whole_ms=refined.whole_ms,
    )


def _row(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """K1, K2, K3 as a message has them; a track without distortion has none."""
    first, second, third = values.tolist() or (0.0, 0.0, 0.0)
    return first, second, third


def source_of(job: RefineJob, context: JobContext) -> Track:
    """The track that a job starts from; raises `BadInputError`."""
    if (job.job is None) == (not job.track):
        raise BadInputError("A refine job names a track file or a job, and not both.")
    if job.job is None:
        return Track.load(resolve_clip(job.track, context.roots))
    if context.jobs is None:
        raise BadInputError("Jobs can be refined on a server alone: name a track file.")
    return _track_of(job.job, context, LONGEST_CHAIN)


def _track_of(job_id: str, context: JobContext, left: int) -> Track:
    """The result of a finished job, those of refine jobs on what they refined."""
    assert context.jobs is not None
    if left == 0:
        raise BadInputError(
            f"More than {LONGEST_CHAIN} refine jobs, one on the other: refine a track file."
        )
    folder = JobFolder(context.jobs / job_id)
    final = folder.final_state()
    if final is None or final.state != "done":
        raise BadInputError(
            f"There is no finished job {job_id} to refine. Results are kept for some days only: "
            "track the clip again, or name a track file."
        )
    if job_id in _recent:
        return _recent[job_id]
    collected = ResultCollector()
    try:
        job = folder.describe().job
        for event in _results(folder):
            collected.take(event)
    except (OSError, DamagedLogError, DecodeError, msgspec.MsgspecError) as error:
        raise BadInputError(f"The results of job {job_id} cannot be read: {error}.") from error
    if isinstance(job, TrackJob):
        if job.quality == "preview":
            raise BadInputError(
                f"Job {job_id} was a preview, frame by frame: track in final quality to refine it."
            )
        track = collected.track(
            Known(
                distortion=job.lens.distortion,
                constraints=to_text(job.constraints),
                person=Path(job.person).name,
            )
        )
        if track is None:
            raise BadInputError(f"Job {job_id} has no result that could be refined.")
        _remember(job_id, track)
        return track
    if not isinstance(job, RefineJob):
        raise BadInputError(f"Job {job_id} is none that tracks: it cannot be refined.")
    if job.job is not None:
        base = _track_of(job.job, context, left - 1)
    else:
        base = Track.load(resolve_clip(job.track, context.roots))
    return collected.onto(base, None if job.constraints is None else to_text(job.constraints))


def _remember(job_id: str, track: Track) -> None:
    _recent[job_id] = track
    while len(_recent) > MOST_RECENT:
        del _recent[next(iter(_recent))]


def _results(folder: JobFolder) -> Iterator[JobResult]:
    """The messages of a job, the newest attempt's."""
    current = folder.current_log()
    if current is None:
        return
    with ResultLog(current[2]) as log:
        for index in range(log.refresh()):
            yield decode_from_server(log.read(index).frames)
