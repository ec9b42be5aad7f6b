"""The whole way: footage to landmarks to a fitted head to a baked result."""

from __future__ import annotations

from collections.abc import Callable

import torch

from backend.assembly import assemble_track
from backend.bake_stage import bake_frames, texture_result
from backend.detect import FaceTracker
from backend.detect.choice import detector_for, load_detector
from backend.detect.window_detector import Quality
from backend.device import choose_device
from backend.errors import NoFaceError
from backend.events import model_result
from backend.fit import corrected_head, fit_shot
from backend.footage import Footage
from backend.head import Head
from backend.settings import TrackSettings
from backend.stages import (
    LAYOUT,
    Reporter,
    check_settings,
    fit_settings,
    join_previews,
    observe_frames,
    pose_frames,
)
from backend.track import Track
from shared.conventions import intrinsics
from shared.messages import Event


def run_track(
    footage: Footage,
    settings: TrackSettings | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Track:
    """Track one face through footage.

    on_event: told of progress and results as they come: a preview head and a preview of every
    frame, then the final head, every final frame, and the texture.
    cancelled: asked often; True ends the work with `CancelledError`.
    Frames without a face are marked so. Raises `NoFaceError` where no frame has one,
    `FootageError` for unusable footage, `MissingWeightsError` for an incomplete installation.
    """
    settings = settings or TrackSettings()
    check_settings(settings)
    device = choose_device(settings.device)
    head = Head.load(device=device)
    is_final = settings.quality == "final"
    looks: Quality = "final" if is_final else "fast"
    detector = load_detector(detector_for(settings.quality), device)
    tracker = FaceTracker(detector, settings.subject, looks)
    report = Reporter(on_event, cancelled)

    report.result(model_result(head, torch.zeros(head.n_identity, device=device), is_final=False))
    shot = observe_frames(footage, head, tracker, settings, report)
    if not shot.found.any():
        raise NoFaceError(
            f"{footage.path}: no face was found in any of its {len(shot.found)} frames. Check that "
            "it shows a face at least a tenth as high as the picture."
        )

    if is_final:
        fit = fit_shot(
            head,
            LAYOUT,
            shot.landmarks_2d,
            shot.landmark_sigma,
            shot.found,
            footage.image_size,
            fit_settings(settings),
            report.progress,
            cancelled,
        )
    else:
        fit = join_previews(head, shot)
    report.check()
    if fit.correction is not None and fit.joint_correction is not None:
        # From here on the head is this person's.
        head = corrected_head(
            head,
            torch.from_numpy(fit.correction),
            torch.from_numpy(fit.joint_correction),
        )

    model = model_result(head, torch.as_tensor(fit.identity).to(device), is_final=True)
    report.result(model)
    frames = pose_frames(footage, head, shot, fit, report)
    texture = None
    if is_final:
        frames, baked = bake_frames(
            footage, head, model.neutral, frames, settings.texture_size, report
        )
        texture = texture_result(baked)
        if texture is not None:
            report.result(texture)
    K = intrinsics(fit.focal_px, footage.image_size)
    return assemble_track(model, frames, texture, K, footage.image_size, footage.frame_rate)
