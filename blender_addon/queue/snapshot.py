# SPDX-License-Identifier: GPL-3.0-or-later
"""A job as text: what an entry of the queue keeps in the .blend; knows no bpy.

The server holds a job under its identifier, and takes that identifier again for exactly the same
job only. So an entry keeps the job as it was added, whatever is changed in the panel afterwards.
"""

from __future__ import annotations

import msgspec

from ..shared.messages import TrackJob
from ..translations import iface, rpt


def job_to_text(job: TrackJob) -> str:
    """Return a job as JSON."""
    return msgspec.json.encode(job).decode()


def job_from_text(text: str) -> TrackJob:
    """Read what `job_to_text` wrote. Raises ValueError."""
    try:
        return msgspec.json.decode(text.encode(), type=TrackJob)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ValueError(
            rpt(
                "This entry of the queue cannot be read ({error}): remove it and add it again.",
                error=error,
            )
        ) from error


def describe_job(job: TrackJob, offset: int) -> str:
    """Say what of a job matters in a list. offset: of the clip's frames to the scene's."""
    if job.start is None and job.end is None:
        frames = iface("all frames")
    elif job.end is None:
        frames = iface("frames {start} to the end", start=(job.start or 0) + offset)
    else:
        start, end = (job.start or 0) + offset, job.end + offset
        frames = iface("frames {start} to {end}", start=start, end=end)
    quality = iface("preview") if job.quality == "preview" else iface("final")
    return f"{frames}, {quality}"
