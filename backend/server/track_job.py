"""Runs a TrackJob in a worker: the whole way from the clip to the head."""

from __future__ import annotations

from backend.errors import BadInputError
from backend.footage import open_footage
from backend.pipeline import run_track
from backend.server.runners import JobContext
from backend.server.security import resolve_clip
from backend.settings import TrackSettings
from shared.messages import Job, JobDone, TrackJob


def run_track_job(job: Job, context: JobContext) -> JobDone:
    """Track the face in a clip and stream the results."""
    assert isinstance(job, TrackJob)
    if job.focal_mode == "fixed" and job.focal_px is None:
        raise BadInputError("a fixed focal length needs focal_px")
    # Checked again here: the files may have changed since the supervisor looked.
    clip = resolve_clip(job.clip, context.roots)
    settings = TrackSettings(
        quality=job.quality,
        focal_px=job.focal_px if job.focal_mode == "fixed" else None,
        subject=job.subject,
        texture_size=job.texture_size,
        device=context.device,
    )
    footage = open_footage(clip, start=job.start, end=job.end)
    track = run_track(footage, settings, context.emit, context.cancelled)
    width, height = footage.image_size
    return JobDone(
        image_size=(width, height),
        frame_rate=(footage.frame_rate.numerator, footage.frame_rate.denominator),
        n_frames=len(track.frame_index),
        K=track.K[0],
    )
