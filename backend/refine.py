"""Solve a tracked shot again, from where its last solve ended: nothing is detected, nothing baked.

Two solves: one of the frames about what has changed, with person and cameras held, which an artist
waits for; and one of the whole shot, in which everything may answer.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from backend.assembly import Known, assemble_track, with_frames
from backend.constraints import (
    check_constraints,
    firm,
    fit_constraints,
    from_text,
    naming_what_hides,
    neutrals,
    to_text,
)
from backend.errors import BadInputError, NoFaceError
from backend.events import FrameMotion, frame_result, model_result
from backend.fit import FitSettings, ShotFit, fit_views, fitted_head
from backend.fit.pins import ArtistConstraints
from backend.head import Head
from backend.masks import hidden_again
from backend.solved import Solved, distortion_of, rate_of, size_of
from backend.stages import LAYOUT, Reporter, focal_of
from backend.track import Track
from backend.views import camera_results
from shared.jobs import ShotConstraints
from shared.messages import FrameResult, TextureResult

REACH = 8
"""Frames on either side of a change that are solved with it."""
BLEND = 4
"""Of these, the outermost go over to what they were."""


@dataclass(frozen=True)
class Refined:
    """A shot that was solved again."""

    track: Track
    near_rows: tuple[tuple[int, int], ...] = ()
    """Rows of the shot, from and to (excluded), that were solved about the changes."""
    near_ms: float | None = None
    """Milliseconds that this took."""
    whole_ms: float | None = None
    """Milliseconds of the solve of the whole shot."""


def refine_track(
    track: Track,
    constraints: ShotConstraints | None = None,
    *,
    focal_px: float | None = None,
    focal_mode: Literal["as_before", "solve", "zoom"] = "as_before",
    hold_person: bool = False,
    near: bool = True,
    whole: bool = True,
    report: Reporter | None = None,
    device: str = "auto",
) -> Refined:
    """Solve a track again with constraints (None: those that it was solved with).

    focal_px: hold this focal length from now on (in the whole solve). focal_mode: without it, solve
    one for the shot or one that changes, whatever was done before. hold_person: the face stays.
    near, whole: which solves to do. report: told of the new frames as they come. Landmarks that a
    mask has hidden while tracking stay hidden. Visibility and texture stay, too. Raises
    `BadInputError` for constraints that do not fit the shot, `CancelledError`.
    """
    report = report or Reporter(lambda event: None, lambda: False)
    before = from_text(track.constraints)
    wanted = before if constraints is None else constraints
    check_constraints(wanted)
    solved = Solved.of(track, device)
    if solved.fit.rig is not None and focal_px is not None:
        raise BadInputError(
            "A focal length to hold is for one camera alone: those of several are in a rig file, "
            "with which the clips are tracked again."
        )
    own = fit_constraints(wanted, track.frame_index)
    own = replace(own, pins=tuple(solved.stacked.pin_to_first(pin) for pin in own.pins))
    hidden = _hidden(track, wanted.mask, before.mask)
    if hidden is not None:
        solved = solved.under(hidden)
    result = Refined(track)
    if near:
        began = time.perf_counter()
        changed = changed_frames(before, wanted) + _newly_hidden(track, before, wanted, hidden)
        spans = _spans(changed, track)
        fit = solved.fit
        for first, end in spans:
            fit = _solve_near(solved, fit, own, wanted, slice(first, end), report)
        rows = [row for first, end in spans for row in range(first, end)]
        frames = {row: _frame(solved, fit, solved.person, row) for row in rows}
        milliseconds = 1000 * (time.perf_counter() - began)
        for frame in frames.values():
            report.result(frame)
        solved = replace(solved, fit=fit)
        track = replace(with_frames(track, frames), constraints=to_text(wanted))
        result = Refined(track, tuple(spans), milliseconds if spans else 0.0)
    if whole:
        began = time.perf_counter()
        settings = firm(solved.settings, wanted)
        if focal_px is not None:
            settings = replace(settings, focal_px=focal_px, zoom=False)
        elif focal_mode != "as_before":
            if focal_mode == "zoom" and solved.fit.rig is not None:
                raise BadInputError("A focal length that changes is for one camera alone.")
            settings = replace(settings, focal_px=None, zoom=focal_mode == "zoom")
        with naming_what_hides(wanted):
            fit, head = _solve_whole(solved, own, settings, hold_person, report)
        milliseconds = 1000 * (time.perf_counter() - began)
        model = model_result(head, head.template.new_tensor(fit.identity), is_final=True)
        report.result(model)
        for camera in camera_results(solved.views, solved.stacked, fit):
            report.result(camera)
        frames = {}
        for row in range(track.n_frames):
            frames[row] = _frame(solved, fit, head, row)
            report.result(frames[row])
            report.progress("pose", (row + 1) / track.n_frames, int(track.frame_index[row]))
        track = _assembled(solved, fit, head, wanted, frames)
        result = replace(result, track=track, whole_ms=milliseconds)
    return result


def changed_frames(before: ShotConstraints, now: ShotConstraints) -> list[int]:
    """Frames whose pins differ between two sets of constraints, or which are ignored in one."""
    frames = {pin.frame for pin in before.pins if pin not in now.pins}
    frames |= {pin.frame for pin in now.pins if pin not in before.pins}
    ranges = {tuple(r) for r in before.ignore_frames} ^ {tuple(r) for r in now.ignore_frames}
    for first, last in ranges:
        frames |= set(range(first, last + 1))
    frames |= set(neutrals(before)) ^ set(neutrals(now))
    return sorted(frames)


def _hidden(track: Track, mask: str, before: str) -> NDArray[np.bool_] | None:
    """(F,L) landmarks of the first camera under a mask; None without one.

    before: the mask that the track was solved with. Where it is the same and its file has gone,
    what it hid while tracking is still known. Raises `BadInputError` for one that cannot be read.
    """
    if not mask:
        return None
    try:
        return hidden_again(track.landmarks_2d, track.frame_index, Path(mask), size_of(track))
    except BadInputError:
        if mask == before and np.isinf(track.landmark_sigma).any():
            return None
        raise


def _newly_hidden(
    track: Track, before: ShotConstraints, wanted: ShotConstraints,
    hidden: NDArray[np.bool_] | None,
) -> list[int]:  # fmt: skip
    """Frames in which another mask hides other landmarks."""
    if before.mask == wanted.mask:
        return []
    nothing = np.zeros(track.landmarks_2d.shape[:2], bool)
    try:
        old = _hidden(track, before.mask, before.mask)
    except BadInputError:
        old = None
    # What was hidden while tracking is so with any mask.
    differ = (nothing if old is None else old) != (nothing if hidden is None else hidden)
    differ &= np.isfinite(track.landmark_sigma)
    return [int(frame) for frame in track.frame_index[differ.any(1)]]


def _spans(frames: list[int], track: Track) -> list[tuple[int, int]]:
    """Ranges of rows about frames, those that meet as one."""
    rows = np.flatnonzero(np.isin(track.frame_index, frames))
    spans: list[tuple[int, int]] = []
    for row in rows:
        first, end = max(0, int(row) - REACH), min(track.n_frames, int(row) + REACH + 1)
        if spans and first <= spans[-1][1]:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((first, end))
    return spans


def _solve_near(
    solved: Solved, fit: ShotFit, own: ArtistConstraints, wanted: ShotConstraints, rows: slice,
    report: Reporter,
) -> ShotFit:  # fmt: skip
    """The fit with the frames of some rows solved again, person and cameras as they are."""
    stacked, part = solved.stacked, range(rows.start, rows.stop)
    if not stacked.found[rows].any():
        return fit
    # Frames outside stand still, so the outermost ones go over to what they were.
    local = ArtistConstraints(
        pins=tuple(replace(p, frame=p.frame - rows.start) for p in own.pins if p.frame in part),
        ignored_frames=tuple(f - rows.start for f in own.ignored_frames if f in part),
        expression_ranges=own.expression_ranges,
        identity=fit.identity,
        neutral_frames=tuple(f - rows.start for f in own.neutral_frames if f in part),
    )
    if len(local.ignored_frames) == len(part):
        return fit
    before = replace(
        fit,
        expression=fit.expression[rows],
        rotations=fit.rotations[rows],
        translation=fit.translation[rows],
        found=fit.found[rows],
        zoom=None if fit.zoom is None else fit.zoom[rows],
        correction=None,
        joint_correction=None,
    )
    settings = replace(
        firm(solved.settings, wanted), focal_px=fit.focal_px, correction_mm=0.0,
        zoom=fit.zoom is not None,
    )  # fmt: skip
    try:
        after = fit_views(
            solved.person, LAYOUT, stacked.landmarks_2d[rows], stacked.landmark_sigma[rows],
            stacked.found[rows], size_of(solved.track), settings, report.progress,
            report.cancelled, local, before, fit.rig,
        )  # fmt: skip
    except NoFaceError:
        # A mask hides the face in all of these frames: the whole shot alone can tell.
        return fit
    weight = _blend(rows, len(fit.found))
    return replace(
        fit,
        expression=_mixed(fit.expression, after.expression, rows, weight),
        rotations=_mixed(fit.rotations, _near(after.rotations, fit.rotations[rows]), rows, weight),
        translation=_mixed(fit.translation, after.translation, rows, weight),
        zoom=None
        if fit.zoom is None or after.zoom is None
        else _mixed(fit.zoom, after.zoom, rows, weight),
    )


def _blend(rows: slice, frames: int) -> NDArray[np.float32]:
    """Share of the new solve in each of the rows; the shot's own ends have no neighbours."""
    number = np.arange(rows.start, rows.stop)
    left = (number - rows.start + 1) / (BLEND + 1) if rows.start > 0 else np.ones(len(number))
    right = (rows.stop - number) / (BLEND + 1) if rows.stop < frames else np.ones(len(number))
    return np.clip(np.minimum(left, right), 0.0, 1.0).astype(np.float32)


def _mixed(
    old: NDArray[np.float32], new: NDArray[np.float32], rows: slice, weight: NDArray[np.float32]
) -> NDArray[np.float32]:
    result = old.copy()
    w = weight.reshape(-1, *[1] * (old.ndim - 1))
    result[rows] = (1 - w) * old[rows] + w * new
    return result


def _near(rotvec: NDArray[np.float32], old: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rotation vectors (...,3) of the same rotations, on the side of pi where the old ones lie."""
    angle = np.linalg.norm(rotvec, axis=-1, keepdims=True)
    other = rotvec * (1 - 2 * np.pi / np.maximum(angle, 1e-9))
    is_nearer = np.linalg.norm(other - old, axis=-1) < np.linalg.norm(rotvec - old, axis=-1)
    return np.where(is_nearer[..., None], other, rotvec).astype(np.float32)


def _solve_whole(
    solved: Solved, own: ArtistConstraints, settings: FitSettings, hold_person: bool,
    report: Reporter,
) -> tuple[ShotFit, Head]:  # fmt: skip
    """A fit of the whole shot from the earlier one, and the head with the person's correction."""
    track, stacked, before = solved.track, solved.stacked, solved.fit
    head = solved.head
    if track.person or hold_person:
        # The person is not to be solved: his correction is the head's.
        head, own = solved.person, replace(own, identity=track.identity)
        before = replace(before, correction=None, joint_correction=None)
        settings = replace(settings, correction_mm=0.0)
    if not settings.zoom:
        before = replace(before, zoom=None)
    fit = fit_views(
        head, LAYOUT, stacked.landmarks_2d, stacked.landmark_sigma, stacked.found, size_of(track),
        settings, report.progress, report.cancelled, own, before, stacked.rig,
    )  # fmt: skip
    return fit, fitted_head(head, fit)


def _frame(solved: Solved, fit: ShotFit, head: Head, row: int) -> FrameResult:
    """One frame as a message, with the visibility that the track had."""
    track = solved.track
    motion = FrameMotion(
        np.ascontiguousarray(fit.expression[row], np.float32),
        np.ascontiguousarray(fit.rotations[row], np.float32),
        np.ascontiguousarray(fit.translation[row], np.float32),
        focal_of(fit, row),
    )
    identity = head.template.new_tensor(fit.identity)
    with torch.no_grad():
        vertices = head(
            identity,
            head.template.new_tensor(motion.expression),
            head.template.new_tensor(motion.joint_rotations),
            head.template.new_tensor(motion.translation),
        )
    return frame_result(
        head,
        identity,
        motion,
        frame_index=int(track.frame_index[row]),
        timestamp=float(track.timestamps[row]),
        found=bool(track.found[row]),
        landmarks_2d=track.landmarks_2d[row],
        landmark_sigma=track.landmark_sigma[row],
        vertices=vertices.cpu().numpy().astype(np.float32),
        visibility=track.visibility[row],
        soft_visibility=track.soft_visibility[row] if track.soft_visibility.size else None,
    )


def _assembled(
    solved: Solved, fit: ShotFit, head: Head, wanted: ShotConstraints,
    frames: dict[int, FrameResult],
) -> Track:  # fmt: skip
    """The track of a whole solve."""
    track = solved.track
    identity = head.template.new_tensor(fit.identity)
    texture = TextureResult(
        texture=track.texture,
        albedo=track.albedo if track.albedo.size else None,
        lighting=track.lighting if track.lighting.size else None,
    )
    doubt = fit.focal_sd_percent
    return assemble_track(
        model_result(head, identity, is_final=True), list(frames.values()), texture, track.K[0],
        size_of(track),
        rate_of(track), camera_results(solved.views, solved.stacked, fit),
        Known(doubt if doubt > 0 else None, distortion_of(track), to_text(wanted), track.person),
    )  # fmt: skip
