# SPDX-License-Identifier: GPL-3.0-or-later
"""From what is set by hand to a job, and from a job's constraints back."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import bpy
import msgspec
import numpy as np

from ..scene.camera import clip_focal_px
from ..scene.footage import index_to_frame
from ..shared.conventions import focal_mm_to_px
from ..shared.messages import ExpressionLimit, PinnedPoint, RefineJob, ShotConstraints
from ..shot import Shot
from ..translations import rpt

Scope = Literal["near", "whole"]


def constraints_of(refine: Any) -> ShotConstraints:
    """Return what a result's settings (collection.mien_refine) ask for.

    Raises ValueError for what no shot can keep to.
    """
    offset = refine.offset

    def index(frame: int, what: str) -> int:
        if frame < offset:
            raise ValueError(
                rpt(
                    "{what} frame {frame}: the clip starts at frame {offset}.",
                    what=what,
                    frame=frame,
                    offset=offset,
                )
            )
        return frame - offset

    ranges = []
    for frames in refine.ignored:
        if frames.end < frames.start:
            raise ValueError(
                rpt(
                    "Ignored frames {start} to {end} end before they start",
                    start=frames.start,
                    end=frames.end,
                )
            )
        if frames.end >= offset:
            ranges.append((max(frames.start - offset, 0), frames.end - offset))
    limits = []
    for limit in refine.limits:
        low, high = (limit.value, limit.value) if limit.lock else (limit.low, limit.high)
        if not (limit.lock or limit.use):
            continue
        if high < low:
            raise ValueError(
                rpt(
                    "{name} is limited to {low:g} at least and {high:g} at most.",
                    name=limit.name,
                    low=low,
                    high=high,
                )
            )
        limits.append(ExpressionLimit(name=limit.name, low=round(low, 5), high=round(high, 5)))
    neutrals = sorted({index(n.start, rpt("The neutral")) for n in refine.neutrals})
    return ShotConstraints(
        pins=[
            PinnedPoint(
                frame=index(pin.frame, rpt("A pin of {landmark} on", landmark=pin.title)),
                point=pin.landmark,
                # Two digits: all pins travel in one header.
                x=round(pin.x, 2),
                y=round(pin.y, 2),
                camera=pin.camera,
                sigma_px=round(pin.sigma, 3),
            )
            for pin in refine.pins
        ],
        ignore_frames=ranges,
        limits=limits,
        mask=refine.mask_path,
        neutral=neutrals[0] if neutrals else None,
        further_neutrals=neutrals[1:],
    )


def refine_job(refine: Any, clip: bpy.types.MovieClip | None, scope: Scope, size: tuple[int, int]
) -> RefineJob:  # fmt: skip
    """Return the job that solves a result again. size (W, H): of the picture.

    Raises ValueError where there is nothing to start from.
    """
    if not refine.has_source:
        raise ValueError(
            "This result does not say where it was solved: track the clip again, or import its "
            "track file again."
        )
    focal_px, mode = None, {"SOLVE": "solve", "ZOOM": "zoom"}.get(refine.focal_mode, "as_before")
    if refine.focal_mode == "FIXED":
        focal_px = focal_mm_to_px(refine.focal_mm, size, refine.sensor_mm, "HORIZONTAL")
    elif refine.focal_mode == "CLIP":
        if clip is None:
            raise ValueError("There is no clip to take the focal length from.")
        focal_px = clip_focal_px(clip) * size[0] / max(clip.size[0], 1)
    return RefineJob(
        track="" if refine.job else refine.track,
        job=refine.job or None,
        constraints=constraints_of(refine),
        scope=scope,
        focal_px=focal_px,
        focal_mode=mode,
        hold_person=refine.hold_person,
    )


def as_text(constraints: ShotConstraints) -> str:
    """Return constraints as a text, for storing and comparing."""
    return msgspec.json.encode(constraints).decode()


def is_solved(refine: Any) -> bool:
    """Whether the result was solved with what is set now."""
    try:
        wanted = as_text(constraints_of(refine))
    except ValueError:
        return False
    return wanted == (refine.solved or as_text(ShotConstraints()))


def remember_source(
    collection: bpy.types.Collection, clip: bpy.types.MovieClip | None, shot: Shot, job: str = "",
    track: str = "",
) -> None:  # fmt: skip
    """Note where a result was solved: a job of the backend, or a track file.

    Pins and the like of an earlier solve of this result stay, to be solved with again; those that a
    track file was solved with come in.
    """
    refine = collection.mien_refine
    refine.job, refine.track = job, track
    refine.offset = index_to_frame(clip)
    refine.distortion = (*shot.distortion, 0.0, 0.0, 0.0)[:3]
    refine.solved = ""
    refine.ensure_limits()
    if track:
        known = _constraints_in(Path(track))
        if known != ShotConstraints():
            show_constraints(refine, known)
            refine.solved = as_text(constraints_of(refine))


def _constraints_in(track: Path) -> ShotConstraints:
    try:
        with np.load(track, allow_pickle=False) as file:
            text = str(file["constraints"]) if "constraints" in file.files else ""
        return msgspec.json.decode(text, type=ShotConstraints) if text else ShotConstraints()
    except (OSError, ValueError, EOFError, msgspec.MsgspecError):
        return ShotConstraints()


def show_constraints(refine: Any, constraints: ShotConstraints) -> None:
    """Set a result's settings to these constraints."""
    offset = refine.offset
    for list_ in (refine.pins, refine.ignored, refine.neutrals):
        list_.clear()
    for point in constraints.pins:
        pin = refine.pins.add()
        pin.landmark, pin.frame, pin.camera = point.point, point.frame + offset, point.camera
        pin.x, pin.y, pin.sigma = point.x, point.y, point.sigma_px
    for start, end in constraints.ignore_frames:
        frames = refine.ignored.add()
        frames.start, frames.end = start + offset, end + offset
    first = [] if constraints.neutral is None else [constraints.neutral]
    for index in [*first, *constraints.further_neutrals]:
        frames = refine.neutrals.add()
        frames.start = frames.end = index + offset
    refine.ensure_limits()
    for limit in constraints.limits:
        if limit.name in refine.limits:
            item = refine.limits[limit.name]
            item.use, item.low, item.high = True, limit.low, limit.high
    refine.mask_path = constraints.mask
