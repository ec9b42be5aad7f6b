"""How well scanned people are found back: frames, cameras, landmarks, with and without sigma."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from backend.evaluate.scan_errors import ScanError, scan_error
from backend.evaluate.scan_pictures import track_pictures
from backend.evaluate.scans import RecordedShot, Recording, ScannedPeople, record
from backend.fit import FitSettings, Rig, ShotFit, fit_views
from backend.head import Head


@dataclass(frozen=True)
class ScanCase:
    """A kind of shot and how it is fitted."""

    recording: Recording
    settings: FitSettings = field(default_factory=FitSettings)
    with_sigma: bool = True
    """Whether the fit is told how certain each landmark is."""
    known_rig: bool = False
    """Whether it is told where the cameras stand, and their focal lengths."""
    pictures: bool = False
    """Whether frames are rendered and tracked the whole way, in place of simulated landmarks."""
    persons: int = 8
    """At most so many are measured."""


FIT_CASES: dict[str, ScanCase] = {
    "noise_100": ScanCase(Recording()),
    "noise_10": ScanCase(Recording(frames=10)),
    "noise_1": ScanCase(Recording(frames=1)),
    "noise_100_sigma_none": ScanCase(Recording(), with_sigma=False),
    "noise_100_68": ScanCase(Recording(layout_name="ibug68")),
    "noise_100_703": ScanCase(Recording(layout_name="dense703")),
    "noise_100_uncorrected": ScanCase(Recording(), FitSettings(correction_mm=0.0)),
    "noise_10_2_cameras": ScanCase(Recording(frames=10, cameras=2)),
    "noise_10_4_cameras": ScanCase(Recording(frames=10, cameras=4)),
    "detector_100": ScanCase(Recording(), pictures=True, persons=2),
    "noise_10_4_cameras_known": ScanCase(Recording(frames=10, cameras=4), known_rig=True),
}
"""Shots by name; the face is about 550 pixels high, and landmarks err by half a per cent of it."""
QUICK = ("noise_10", "noise_10_2_cameras")


def fit_recording(head: Head, shot: RecordedShot, case: ScanCase, seed: int) -> ShotFit:
    """The fit of a recorded shot as a case has it."""
    if case.pictures:
        return track_pictures(head, shot, seed)
    sigma = shot.landmark_sigma
    if not case.with_sigma:
        sigma = np.full_like(sigma, np.median(sigma))
    rig = None
    if case.known_rig:
        focal = np.full(len(shot.camera_rotmat), shot.focal_px)
        rig = Rig(shot.camera_rotmat, shot.camera_translation, focal)
    return fit_views(
        head, shot.layout_name, shot.landmarks_2d, sigma, np.ones(len(shot.vertices), bool),
        shot.image_size, case.settings, rig=rig,
    )  # fmt: skip


def scan_figures(head: Head, data: Path, persons: int, seed: int, quick: bool) -> dict[str, float]:
    """Means over persons of every case's errors, as magnitudes; prints a row for each case."""
    people = ScannedPeople(data, head)
    names = list(ScanError.__dataclass_fields__)
    print(f"{'scanned people':<26}" + "".join(f"{name:>17}" for name in names) + f"{'s':>8}")
    figures: dict[str, float] = {}
    for name, case in FIT_CASES.items():
        if quick and name not in QUICK:
            continue
        rows, seconds = [], 0.0
        for person in range(min(persons, case.persons)):
            values = {**vars(case.recording), "seed": seed + person}
            shot = record(people.person(seed + person), Recording(**values))
            began = time.process_time()
            fit = fit_recording(head, shot, case, seed + person)
            seconds += time.process_time() - began
            rows.append([abs(value) for value in vars(scan_error(head, shot, fit)).values()])
        means = np.mean(rows, axis=0)
        figures |= {f"{n}_{name}": float(v) for n, v in zip(names, means, strict=True)}
        row = "".join(f"{value:>17.2f}" for value in means)
        print(f"{name:<26}{row}{seconds / len(rows):>8.1f}", flush=True)
    if "focal_percent_noise_100" in figures:
        figures["focal_error_percent"] = figures["focal_percent_noise_100"]
    return figures
