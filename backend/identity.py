"""One person from any photographs and clips of theirs: one identity, a focal length per source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backend.detect import FaceTracker
from backend.detect.choice import detector_for, load_detector
from backend.device import choose_device
from backend.errors import BadInputError, NoFaceError
from backend.fit import Constraints, FitSettings, Rig, ShotFit, fit_views, fitted_head
from backend.fit.start import choose_keys
from backend.footage import Footage, open_footage
from backend.geometry.cameras import focal_from_field_of_view
from backend.head import Head
from backend.landmarks import list_pictures
from backend.person import Person, Source
from backend.stages import LAYOUT, Reporter

Array = NDArray[np.float64]
MOST_FRAMES = 24
"""Frames of a clip that tell who it is: those that differ most."""
LEAST_FRAMES = 6
"""A source with fewer does not tell its focal length before the others say who it is."""
SPREAD = 300
"""Frames of a clip that are looked at, evenly spaced."""


@dataclass(frozen=True)
class Seen:
    """What was found in F frames of one source."""

    path: Path
    image_size: tuple[int, int]
    landmarks_2d: Array
    """(F,L,2) pixels."""
    landmark_sigma: Array
    """(F,L)"""
    focal_px: float | None
    """Where it is known."""

    @property
    def centre(self) -> Array:
        """(2,) middle of the picture."""
        return (np.array(self.image_size) - 1) / 2


def build_person(
    paths: Sequence[Path],
    *,
    focal_px: dict[int, float] | None = None,
    device: str = "auto",
    report: Reporter | None = None,
    on_skip: Callable[[str], None] = lambda text: None,
) -> Person:
    """Solve one person from sources: pictures, clips, image sequences, folders of pictures.

    paths: a folder counts as so many photographs. focal_px: of sources whose focal length is known,
    by their number in paths. on_skip: told of sources without a face. Raises: NoFaceError where no
    source has one, BadInputError.
    """
    report = report or Reporter(lambda event: None, lambda: False)
    known = focal_px or {}
    sources = [
        (open_footage(file), known.get(number))
        for number, path in enumerate(paths)
        for file in list_pictures([path])
    ]
    if not sources:
        raise BadInputError("Name photographs or clips of the person.")
    torch_device = choose_device(device)
    head = Head.load(device=torch_device)
    detector = load_detector(detector_for("final"), torch_device)
    seen = []
    for number, (footage, focal) in enumerate(sources):
        report.progress("detect", number / len(sources))
        found = _look(footage, FaceTracker(detector, None, "final"), focal, report)
        if found is None:
            on_skip(f"{footage.path.name}: no face was found, left out")
        else:
            seen.append(found)
    report.progress("detect", 1.0)
    if not seen:
        raise NoFaceError(
            f"{paths[0]}: no face was found in any of {len(sources)} photographs and clips."
        )
    return solve_person(head, seen, report)


def solve_person(head: Head, sources: Sequence[Seen], report: Reporter) -> Person:
    """One identity over sources, of which each has a focal length of its own."""
    focal = np.array([_first_focal(head, source, report) for source in sources])
    joint, scale = _together(head, sources, focal, report)
    fit = _apart(head, sources, joint, scale, report)
    assert fit.rig is not None and fit.rig.focal_px is not None
    assert fit.correction is not None and fit.joint_correction is not None
    solved = fit.rig.focal_px / scale
    return Person(
        fit.identity,
        fit.correction,
        fit.joint_correction,
        tuple(
            Source(source.path.name, len(source.landmarks_2d), float(f), source.image_size)
            for source, f in zip(sources, solved, strict=True)
        ),
    )


def _first_focal(head: Head, source: Seen, report: Reporter) -> float:
    """A focal length to begin with: solved where a clip can tell, else of a usual lens."""
    if source.focal_px is not None:
        return source.focal_px
    usual = focal_from_field_of_view(np.radians(45.0), source.image_size[0])
    if len(source.landmarks_2d) < LEAST_FRAMES:
        return usual
    fit = fit_views(
        head, LAYOUT, source.landmarks_2d[:, None], source.landmark_sigma[:, None],
        np.ones(len(source.landmarks_2d), bool), source.image_size,
        FitSettings(correction_mm=0.0, intersection_weight=0.0), None, report.cancelled,
        consecutive=False,
    )  # fmt: skip
    return fit.focal_px


def _together(
    head: Head, sources: Sequence[Seen], focal: Array, report: Reporter
) -> tuple[ShotFit, Array]:
    """All frames in one camera: pictures scaled until all have the first one's focal length."""
    scale = focal[0] / focal
    landmarks, sigma = _scaled(sources, scale)
    fit = fit_views(
        head, LAYOUT, landmarks[:, None], sigma[:, None], np.ones(len(landmarks), bool),
        sources[0].image_size, FitSettings(focal_px=float(focal[0]), key_frames=80),
        report.progress, report.cancelled, consecutive=False,
    )  # fmt: skip
    return fit, scale


def _apart(
    head: Head, sources: Sequence[Seen], joint: ShotFit, scale: Array, report: Reporter
) -> ShotFit:
    """Each source in a camera of its own, which the others do not see through."""
    count = len(sources)
    landmarks, sigma = _scaled(sources, scale)
    owner = np.repeat(np.arange(count), [len(source.landmarks_2d) for source in sources])
    known = np.array([source.focal_px is not None for source in sources])
    # Pictures are scaled until all have this one, so that it is what known ones have.
    focals = np.full(count, joint.focal_px)
    fit = replace(joint, rig=_beside(focals))
    if known.all() or not known.any():
        for _ in range(2):
            fit = _solve(
                head, sources, fit, owner, landmarks, sigma, bool(known.all()), None, report
            )
        return fit
    # The fit holds all focal lengths or none: what is known tells who it is, and that the others.
    others = np.flatnonzero(~known)
    rows = np.isin(owner, others)
    for _ in range(2):
        fit = _solve(head, sources, fit, owner, landmarks, sigma, True, None, report)
        part = replace(
            fit, expression=fit.expression[rows], rotations=fit.rotations[rows],
            translation=fit.translation[rows], found=fit.found[rows], correction=None,
            joint_correction=None, focal_px=float(focals[others[0]]), rig=_beside(focals[others]),
        )  # fmt: skip
        mine = np.searchsorted(others, owner[rows])
        part = _solve(
            fitted_head(head, fit), [sources[i] for i in others], part, mine, landmarks[rows],
            sigma[rows], False, fit.identity, report,
        )  # fmt: skip
        assert part.rig is not None and part.rig.focal_px is not None
        focals[others] = part.rig.focal_px
        fit = replace(fit, rig=_beside(focals))
    return _solve(head, sources, fit, owner, landmarks, sigma, True, None, report)


def _beside(focals: Array) -> Rig:
    """Cameras (C,) in one place: each has frames of its own."""
    count = len(focals)
    return Rig(np.tile(np.eye(3), (count, 1, 1)), np.zeros((count, 3)), focals.copy())


def _solve(
    head: Head, sources: Sequence[Seen], before: ShotFit, owner: NDArray[np.int64],
    landmarks: Array, sigma: Array, held: bool, identity: NDArray[np.float32] | None,
    report: Reporter,
) -> ShotFit:  # fmt: skip
    """The fit of frames (F,) that each belong to one of the sources, from an earlier one.

    owner (F,): their sources. held: whether the focal lengths stay; else they are solved. identity
    (I,): of a person who stays, whose correction is the head's.
    """
    count, rows = len(sources), np.arange(len(owner))
    spread = np.full((len(rows), count, *landmarks.shape[1:]), np.nan)
    doubt = np.full((len(rows), count, landmarks.shape[1]), np.nan)
    spread[rows, owner], doubt[rows, owner] = landmarks, sigma
    assert before.rig is not None
    rig = before.rig if held else replace(before.rig, focal_px=None)
    settings = FitSettings() if identity is None else FitSettings(correction_mm=0.0)
    fit = fit_views(
        head, LAYOUT, spread, doubt, owner[:, None] == np.arange(count), sources[0].image_size,
        settings, report.progress, report.cancelled, Constraints(identity=identity), before, rig,
        consecutive=False,
    )  # fmt: skip
    # A single source has no rig of its own.
    return fit if fit.rig is not None else replace(fit, rig=_beside(np.array([fit.focal_px])))


def _scaled(sources: Sequence[Seen], scale: Array) -> tuple[Array, Array]:
    """Landmarks and deviations of all frames, one after the other, in the first one's pictures."""
    landmarks = [
        (source.landmarks_2d - source.centre) * s + sources[0].centre
        for source, s in zip(sources, scale, strict=True)
    ]
    sigma = [source.landmark_sigma * s for source, s in zip(sources, scale, strict=True)]
    return np.concatenate(landmarks), np.concatenate(sigma)


def _look(
    footage: Footage, tracker: FaceTracker, focal_px: float | None, report: Reporter
) -> Seen | None:
    """The frames of a source that differ most; None without any face."""
    every = max(1, footage.n_frames // SPREAD)
    landmarks, sigma = [], []
    for number, frame in enumerate(footage):
        report.check()
        if number % every:
            continue
        face = tracker.step(frame.image)
        if face is not None:
            landmarks.append(face.landmarks_2d.astype(np.float64))
            sigma.append(face.landmark_sigma.astype(np.float64))
    if not landmarks:
        return None
    points, doubt = np.stack(landmarks), np.stack(sigma)
    keys = choose_keys(points, doubt, np.ones(len(points), bool), MOST_FRAMES)
    return Seen(footage.path, footage.image_size, points[keys], doubt[keys], focal_px)
