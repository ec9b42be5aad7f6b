"""The whole way: footage to landmarks to a fitted head to a baked result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from backend.assembly import Known, assemble_track
from backend.bake_stage import bake_frames, texture_result
from backend.cameras import FurtherCamera, observe_cameras
from backend.constraints import (
    check_constraints,
    check_for_shot,
    firm,
    fit_constraints,
    naming_what_hides,
    to_text,
)
from backend.detect import FaceTracker
from backend.detect.choice import detector_for, load_detector
from backend.detect.window_detector import Quality
from backend.device import choose_device
from backend.errors import BadInputError, NoFaceError
from backend.events import model_result
from backend.fit import FitSettings, ShotFit, fit_views, fitted_head
from backend.footage import Footage
from backend.footage.undistorted import UndistortedFootage
from backend.head import Head
from backend.lens import lens_from_skin
from backend.masks import masked_sigma
from backend.person import Person
from backend.settings import TrackSettings, known_focal_px
from backend.stages import (
    LAYOUT,
    Observations,
    Reporter,
    check_settings,
    fit_settings,
    join_previews,
    observe_frames,
    pose_frames,
    settle_subject,
    subject_tracker,
    warn_of_lens,
)
from backend.track import Track
from backend.views import Stacked, View, camera_results, known_focals, stack
from shared.conventions import intrinsics
from shared.jobs import ShotConstraints
from shared.messages import Event

Progressed = Callable[[str, float], None]
"""Told of a stage and how much of it is done, 0 to 1."""


def run_track(
    footage: Footage,
    settings: TrackSettings | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
    cancelled: Callable[[], bool] = lambda: False,
    constraints: ShotConstraints | None = None,
    cameras: Sequence[FurtherCamera] = (),
) -> Track:
    """Track one face through footage, and through that of further cameras.

    on_event: told of progress and results as they come: a preview head and a preview of every
    frame, then the final head, every final frame, the cameras of a rig, and the texture.
    cancelled: asked often; True ends the work with `CancelledError`.
    constraints: what the fit shall keep to.
    Frames without a face are marked so. Raises `NoFaceError` where no frame has one,
    `FootageError` for unusable footage, `MissingWeightsError` for an incomplete installation.
    """
    settings, constraints = settings or TrackSettings(), constraints or ShotConstraints()
    check_settings(settings)
    _check_together(settings, constraints, cameras)
    device = choose_device(settings.device)
    head = Head.load(device=device)
    person = None if settings.person is None else Person.load(settings.person)
    if person is not None:
        head = person.head(head)
    identity = None if person is None else person.identity
    check_for_shot(constraints, footage, head, 1 + len(cameras))
    warn_of_lens(settings, footage)
    is_final = settings.quality == "final"
    looks: Quality = "final" if is_final else "fast"
    detector = load_detector(detector_for(settings.quality), device)
    report = Reporter(on_event, cancelled)

    start = torch.zeros(head.n_identity) if identity is None else torch.from_numpy(identity)
    report.result(model_result(head, start.to(device), is_final=False))
    settings = settle_subject(settings, footage)
    tracker = subject_tracker(footage, detector, settings, looks)
    shot = observe_frames(footage, head, tracker, settings, report, identity)
    if not shot.found.any():
        raise NoFaceError(
            f"{footage.path}: no face was found in any of its {len(shot.found)} frames. Check that "
            "it shows a face at least a tenth as high as the picture."
        )
    if constraints.mask:
        sigma = masked_sigma(
            shot.landmarks_2d, shot.landmark_sigma, shot.frame_index, Path(constraints.mask),
            footage.image_size,
        )  # fmt: skip
        shot = replace(shot, landmark_sigma=sigma)

    focal = known_focal_px(settings, footage.image_size)
    views = [_first_view(footage, shot, settings, focal, bool(cameras))]
    if is_final:
        views += observe_cameras(
            shot, footage, cameras, head, lambda: FaceTracker(detector, None, looks), report
        )
        stacked = stack(views)
        wanted = fit_settings(settings, footage.image_size)

        def solve(how: FitSettings, before: ShotFit | None, told: Progressed) -> ShotFit:
            return _fit(
                head, shot, stacked, footage, how, constraints, identity, report, told, before
            )

        fit = solve(wanted, None, report.progress)
        if not cameras:
            fit = lens_from_skin(
                head, shot, footage, fit, wanted,
                lambda how, before: solve(how, before, lambda stage, fraction: report.check()),
                report,
            )  # fmt: skip
    else:
        stacked, fit = stack(views), join_previews(head, shot, identity)
    report.check()
    # From here on the head is this person's.
    head = fitted_head(head, fit)
    model = model_result(head, torch.as_tensor(fit.identity).to(device), is_final=True)
    report.result(model)
    centre = settings.principal_point
    frames = pose_frames(footage, head, shot, fit, report, centre)
    results = camera_results(views, stacked, fit)
    for result in results:
        report.result(result)
    K = intrinsics(fit.focal_px, footage.image_size, centre)
    texture = None
    if is_final:
        seen = footage
        if settings.distortion is not None:
            seen = UndistortedFootage(footage, K, settings.distortion)
        frames, baked = bake_frames(
            seen, head, model.neutral, frames, settings.texture_size, report, centre,
            [(camera.footage, result) for camera, result in zip(cameras, results[1:], strict=True)],
        )  # fmt: skip
        texture = texture_result(baked)
        if texture is not None:
            report.result(texture)
    known = Known(
        fit.focal_sd_percent if is_final and fit.focal_sd_percent > 0 else None,
        settings.distortion or (0.0, 0.0, 0.0),
        to_text(constraints),
        "" if settings.person is None else settings.person.name,
    )
    return assemble_track(
        model, frames, texture, K, footage.image_size, footage.frame_rate, results, known
    )


def _check_together(
    settings: TrackSettings, constraints: ShotConstraints, cameras: Sequence[FurtherCamera]
) -> None:
    """Raise `BadInputError` for what cannot be asked for at once."""
    check_constraints(constraints)
    if settings.quality == "preview" and (cameras or constraints != ShotConstraints()):
        raise BadInputError("Several cameras and constraints need the final quality.")
    if cameras and settings.zoom:
        raise BadInputError("A zoom is solved for one camera, not for several.")
    if cameras and settings.distortion is not None:
        raise BadInputError("Distortion is known to one camera only: undistort the clips first.")
    known_focals([known_focal_px(settings, (1, 1)), *(camera.focal_px for camera in cameras)])


def _first_view(
    footage: Footage, shot: Observations, settings: TrackSettings, focal_px: float | None,
    is_rig: bool,
) -> View:  # fmt: skip
    eye, zero = np.eye(3), np.zeros(3)
    return View(
        str(footage.path.absolute()), 0.0, footage.image_size, shot.landmarks_2d,
        shot.landmark_sigma, shot.found, settings.principal_point, eye if is_rig else None,
        zero if is_rig else None, focal_px,
    )  # fmt: skip


def _fit(
    head: Head, shot: Observations, stacked: Stacked, footage: Footage, settings: FitSettings,
    constraints: ShotConstraints, identity: NDArray[np.float32] | None, report: Reporter,
    progress: Progressed, before: ShotFit | None,
) -> ShotFit:  # fmt: skip
    fit = firm(settings, constraints)
    if identity is not None:
        # The person's own correction is part of the head.
        fit = replace(fit, correction_mm=0.0)
    limits = fit_constraints(constraints, shot.frame_index, identity)
    pins = tuple(stacked.pin_to_first(pin) for pin in limits.pins)
    with naming_what_hides(constraints):
        return fit_views(
            head,
            LAYOUT,
            stacked.landmarks_2d,
            stacked.landmark_sigma,
            stacked.found,
            footage.image_size,
            fit,
            progress,
            report.cancelled,
            replace(limits, pins=pins),
            before,
            rig=stacked.rig,
        )
