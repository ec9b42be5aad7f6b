"""The stages of the pipeline that go frame by frame: observe and pose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from backend.bake.visibility import VISIBLE, as_u8, soft_vertex_visibility
from backend.detect import FaceLandmarks, FaceTracker
from backend.detect.protocol import FaceDetector
from backend.detect.window_detector import Quality
from backend.errors import BadInputError, CancelledError
from backend.events import FrameMotion, frame_result
from backend.fit import FitSettings, FrameFit, ShotFit, fit_frame
from backend.footage import Footage, open_footage
from backend.head import Head
from backend.head.landmarks import layout as landmark_layout
from backend.settings import TrackSettings, known_focal_px
from shared.conventions import intrinsics
from shared.messages import Event, FrameResult, Progress

LAYOUT = "dense320"
"""The landmarks that the detector gives and the fit takes."""


LEARNED_FRAMES = 12
"""Frames in which the looks of a person are learned who was pointed at."""


@dataclass(frozen=True)
class Observations:
    """What was seen in F frames; rows of frames without a face are NaN."""

    landmarks_2d: NDArray[np.float32]
    """(F, L, 2) pixels."""
    landmark_sigma: NDArray[np.float32]
    """(F, L) pixels."""
    found: NDArray[np.bool_]
    """(F,) whether a face was found."""
    frame_index: NDArray[np.int64]
    """(F,) frame number in the clip."""
    timestamps: NDArray[np.float64]
    """(F,) seconds."""
    previews: tuple[FrameFit | None, ...]
    """F fits with the mean face; a frame without a face has the last one's, None before any."""


@dataclass(frozen=True)
class Reporter:
    """Where stages report to, and ask whether to go on."""

    on_event: Callable[[Event], None]
    """Told of everything."""
    cancelled: Callable[[], bool]
    """Whether to stop."""

    def check(self) -> None:
        """Raise `CancelledError` where the work is to stop."""
        if self.cancelled():
            raise CancelledError("Cancelled.")

    def progress(self, stage: str, fraction: float, frame_index: int | None = None) -> None:
        """Report how far a stage is, and stop where that is wanted."""
        self.on_event(
            Progress(stage=stage, fraction=min(max(fraction, 0.0), 1.0), frame_index=frame_index)
        )
        self.check()

    def result(self, event: Event) -> None:
        """Report a result."""
        self.check()
        self.on_event(event)


def check_settings(settings: TrackSettings) -> None:
    """Raise `BadInputError` for settings that no footage can be tracked with."""
    size = settings.texture_size
    if size != 0 and (size < 64 or size > 8192 or size & (size - 1)):
        raise BadInputError(f"A texture of {size} pixels: use 0 or a power of two, 64 to 8192.")
    known = known_focal_px(settings, (1, 1))
    if settings.distortion is not None and known is None:
        raise BadInputError(
            "Distortion is in units of the focal length: give --focal-px, or --focal-mm, too."
        )


def warn_of_lens(settings: TrackSettings, footage: Footage) -> None:
    """Have the footage warn of a distortion that no lens has over all of its picture.

    Such come from coefficients in other units: the polynomial stops rising within the picture, so
    that two places of the undistorted one would be seen at the same pixel.
    """
    focal_px = known_focal_px(settings, footage.image_size)
    if settings.distortion is None or focal_px is None:
        return
    corner = np.array(footage.image_size, np.float64) - 1
    centre = np.array(settings.principal_point or tuple(corner / 2))
    reach = float(np.linalg.norm(np.maximum(centre, corner - centre))) / focal_px
    radius = np.linspace(0.0, 4.0 * reach, 4000)
    square = radius**2
    k1, k2, k3 = settings.distortion
    seen = radius * (1.0 + square * (k1 + square * (k2 + square * k3)))
    falls = np.flatnonzero(np.diff(seen) <= 0)
    largest = seen[falls[0]] if len(falls) else seen[-1]
    if largest < reach:
        footage.warn(
            "the distortion folds the picture over itself "
            f"{largest * focal_px:.0f} pixels from the lens's axis: a face there is misplaced. "
            "K1 to K3 are in units of the focal length."
        )


def fit_settings(settings: TrackSettings, image_size: tuple[int, int]) -> FitSettings:
    """The part of the settings that concerns the fit of pictures of image_size (W, H)."""
    return FitSettings(
        focal_px=known_focal_px(settings, image_size),
        principal_point=settings.principal_point,
        distortion=settings.distortion or (0.0, 0.0, 0.0),
        zoom=settings.zoom,
    )


def settle_subject(settings: TrackSettings, footage: Footage) -> TrackSettings:
    """Have `subject_frame` name a frame that the footage has.

    Raises `BadInputError` where there is no subject for it, and for one outside of the picture.
    """
    (width, height), place = footage.image_size, settings.subject
    if place is not None and not (-0.5 <= place[0] < width and -0.5 <= place[1] < height):
        raise BadInputError(
            f"{footage.path}: the pixel {place[0]:.0f}, {place[1]:.0f} of the subject lies outside "
            f"of its picture of {width} x {height}."
        )
    if settings.subject_frame is None:
        return settings
    if settings.subject is None:
        raise BadInputError("--subject-frame goes with --subject, a pixel on the person there.")
    return replace(
        settings, subject_frame=open_footage(footage.path).shown_at(settings.subject_frame)
    )


def subject_tracker(
    footage: Footage, detector: FaceDetector, settings: TrackSettings, quality: Quality
) -> FaceTracker:
    """What follows the person whom the settings ask for.

    Where they were pointed at in a frame of their own, their looks are learned there first, so that
    they are found before it too. Raises `BadInputError` where nobody is there.
    """
    place, frame = settings.subject, settings.subject_frame
    if frame is None or place is None:
        return FaceTracker(detector, place, quality)
    tracker = FaceTracker(detector, None, quality)
    shown = open_footage(footage.path, start=frame, end=frame + LEARNED_FRAMES - 1)
    if not tracker.meet((picture.image for picture in shown), place):
        raise BadInputError(
            f"{footage.path}: there is no face at {place[0]:.0f}, {place[1]:.0f} in frame {frame}."
        )
    return tracker


def observe_frames(
    footage: Footage,
    head: Head,
    tracker: FaceTracker,
    settings: TrackSettings,
    report: Reporter,
    identity: NDArray[np.float32] | None = None,
) -> Observations:
    """Find the landmarks of every frame, and report a preview of each as it comes.

    The preview has the mean face, or the head's with identity (I,), and, unless the focal length is
    given, a 45 degree field of view.
    """
    count = len(landmark_layout(LAYOUT))
    none = FaceLandmarks(
        landmarks_2d=np.full((count, 2), np.nan, np.float32),
        landmark_sigma=np.full(count, np.nan, np.float32),
        score=0.0,
        layout=LAYOUT,
    )
    faces: list[FaceLandmarks] = []
    found: list[bool] = []
    index: list[int] = []
    timestamps: list[float] = []
    previous: FrameFit | None = None
    previews: list[FrameFit | None] = []
    face_shape = head.template.new_zeros(head.n_identity)
    if identity is not None:
        face_shape = head.template.new_tensor(identity)
    report.progress("detect", 0.0)
    for frame in footage:
        face = None
        if settings.subject is not None and frame.index == settings.subject_frame:
            face = tracker.pick(frame.image, settings.subject)
        face = face or tracker.step(frame.image)
        faces.append(face or none)
        found.append(face is not None)
        index.append(frame.index)
        timestamps.append(frame.timestamp)
        if face is not None:
            previous = fit_frame(
                head,
                LAYOUT,
                face.landmarks_2d,
                face.landmark_sigma,
                footage.image_size,
                fit_settings(settings, footage.image_size),
                previous,
                identity,
            )
        previews.append(previous)
        if previous is not None:
            result = frame_result(
                head,
                face_shape,
                FrameMotion(
                    _f4(previous.expression),
                    _f4(previous.rotations),
                    _f4(previous.translation),
                    float(previous.focal_px),
                ),
                frame_index=frame.index,
                timestamp=frame.timestamp,
                found=face is not None,
                landmarks_2d=faces[-1].landmarks_2d,
                landmark_sigma=faces[-1].landmark_sigma,
            )
            report.result(result)
        report.progress("detect", len(faces) / footage.n_frames, frame.index)
    return Observations(
        landmarks_2d=np.stack([face.landmarks_2d for face in faces]),
        landmark_sigma=np.stack([face.landmark_sigma for face in faces]),
        found=np.array(found, bool),
        frame_index=np.array(index, np.int64),
        timestamps=np.array(timestamps, np.float64),
        previews=tuple(previews),
    )


def join_previews(
    head: Head, shot: Observations, identity: NDArray[np.float32] | None = None
) -> ShotFit:
    """The previews of all frames as the fit of a shot; at least one frame must have a face.

    Frames before the first face take that one's pose.
    """
    first = next(preview for preview in shot.previews if preview is not None)
    previews = [preview or first for preview in shot.previews]
    return ShotFit(
        identity=np.zeros(head.n_identity, np.float32) if identity is None else identity,
        expression=np.stack([_f4(preview.expression) for preview in previews]),
        rotations=np.stack([_f4(preview.rotations) for preview in previews]),
        translation=np.stack([_f4(preview.translation) for preview in previews]),
        focal_px=float(first.focal_px),
        found=shot.found,
        cost_history=(),
    )


def pose_frames(
    footage: Footage,
    head: Head,
    shot: Observations,
    fit: ShotFit,
    report: Reporter,
    principal_point: tuple[float, float] | None = None,
) -> list[FrameResult]:
    """Pose the head in every frame, and say how far head and border let each vertex be seen.

    principal_point: pixels; the middle of the picture where None.
    """
    identity = torch.as_tensor(fit.identity).to(head.template)
    faces = head.faces.cpu()
    # Lashes are far thinner than their cards: they must not hide the lids and eyes behind.
    lashes = torch.zeros(head.n_vertices, dtype=torch.bool)
    lashes[torch.as_tensor(head.regions["lashes"])] = True
    occluders = ~lashes[faces].all(1)
    results: list[FrameResult] = []
    for number in range(len(shot.found)):
        motion = FrameMotion(
            _f4(fit.expression[number]),
            _f4(fit.rotations[number]),
            _f4(fit.translation[number]),
            focal_of(fit, number),
        )
        K = intrinsics(motion.focal_px, footage.image_size, principal_point)
        with torch.no_grad():
            vertices = head(
                identity,
                torch.as_tensor(motion.expression).to(head.template),
                torch.as_tensor(motion.joint_rotations).to(head.template),
                torch.as_tensor(motion.translation).to(head.template),
            )
        posed = _f4(vertices)
        index = int(shot.frame_index[number])
        soft = soft_vertex_visibility(
            posed[None], faces, K, footage.image_size, occluders=occluders
        )[0]
        result = frame_result(
            head,
            identity,
            motion,
            frame_index=index,
            timestamp=float(shot.timestamps[number]),
            found=bool(shot.found[number]),
            landmarks_2d=shot.landmarks_2d[number],
            landmark_sigma=shot.landmark_sigma[number],
            vertices=posed,
            visibility=(soft >= VISIBLE).astype(np.uint8),
            soft_visibility=as_u8(soft),
        )
        results.append(result)
        report.result(result)
        report.progress("pose", (number + 1) / len(shot.found), index)
    return results


def focal_of(fit: ShotFit, row: int) -> float:
    """Focal length of a row of the shot in pixels."""
    return float(fit.focal_px) * (1.0 if fit.zoom is None else float(fit.zoom[row]))


def _f4(values: torch.Tensor | NDArray[np.floating]) -> NDArray[np.float32]:
    array = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else values
    return np.ascontiguousarray(array, dtype=np.float32)
