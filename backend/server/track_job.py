"""Runs a TrackJob in a worker: the whole way from the clips to the head."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import msgspec
import numpy as np

from backend.cameras import FurtherCamera
from backend.errors import BadInputError
from backend.footage import open_footage
from backend.pipeline import run_track
from backend.server.runners import JobContext
from backend.server.security import resolve_clip
from backend.settings import TrackSettings
from shared.messages import Job, JobDone, RigCamera, TrackJob


def run_track_job(job: Job, context: JobContext) -> JobDone:
    """Track the face in a clip, or in those of several cameras, and stream the results."""
    assert isinstance(job, TrackJob)
    if job.focal_mode == "fixed" and job.focal_px is None:
        raise BadInputError("a fixed focal length needs focal_px")

    # Checked again here: the files may have changed since the supervisor looked.
    def resolved(path: str) -> Path:
        return resolve_clip(path, context.roots)

    settings = TrackSettings(
        quality=job.quality,
        focal_px=job.focal_px if job.focal_mode == "fixed" else None,
        zoom=job.lens.zoom,
        principal_point=job.lens.principal_point,
        distortion=job.lens.distortion if any(job.lens.distortion) else None,
        person=resolved(job.person) if job.person else None,
        subject=job.subject,
        subject_frame=job.subject_frame,
        texture_size=job.texture_size,
        device=context.device,
    )
    constraints = job.constraints
    if constraints.mask:
        constraints = msgspec.structs.replace(constraints, mask=str(resolved(constraints.mask)))
    rate = None if job.frame_rate is None else Fraction(*job.frame_rate)
    footage = open_footage(resolved(job.clip), start=job.start, end=job.end, frame_rate=rate)
    cameras = [_camera(camera, resolved(camera.clip), rate) for camera in job.cameras]
    track = run_track(footage, settings, context.emit, context.cancelled, constraints, cameras)
    width, height = footage.image_size
    return JobDone(
        image_size=(width, height),
        frame_rate=(footage.frame_rate.numerator, footage.frame_rate.denominator),
        n_frames=len(track.frame_index),
        K=track.K[0],
        distortion=job.lens.distortion,
        focal_sd_percent=float(track.focal_sd_percent[0]) if track.focal_sd_percent.size else None,
    )


def _camera(camera: RigCamera, clip: Path, rate: Fraction | None) -> FurtherCamera:
    if (camera.rotation is None) != (camera.translation is None):
        raise BadInputError(f"{clip}: give rotation and translation, or none of them.")
    return FurtherCamera(
        open_footage(clip, frame_rate=rate),
        camera.offset,
        None if camera.rotation is None else np.array(camera.rotation, np.float64),
        None if camera.translation is None else np.array(camera.translation, np.float64),
        camera.focal_px,
    )
