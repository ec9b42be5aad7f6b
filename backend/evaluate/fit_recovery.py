"""How well a fit finds back simulated heads whose identity, acting, pose and camera are known.

The heads are the model's own and the landmarks are projected, not detected: the figures are those
of the fit alone. With ``--data`` people follow whom the basis never saw (`fit_scans`), and in the
end the solver runs against L-BFGS (`fit_speed`).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from backend.device import choose_device
from backend.evaluate.acting import perform
from backend.evaluate.fit_scans import scan_figures
from backend.evaluate.fit_speed import race
from backend.evaluate.settings import BenchSettings
from backend.evaluate.truth import align
from backend.fit import FitSettings, ShotFit, fit_shot, fitted_head
from backend.geometry.cameras import focal_from_field_of_view
from backend.head import Head
from backend.head.landmarks import layout

LAYOUT = "dense320"
# Of the prior's spread: its outer reaches are caricatures.
IDENTITY_SPREAD = 0.8
# L-BFGS gets so many times our time to come as low, by the number of cameras.
MOST_TIMES = {1: 20.0, 17: 4.0}
# Frames of simulated shots whose time tells how the fit grows.
GROWTH = (50, 500, 5000)


@dataclass(frozen=True)
class Simulation:
    """What a simulated shot is like."""

    frames: int = 100
    seed: int = 0
    turn_deg: float = 25.0
    """Spread of the head's turns to the side."""
    field_of_view_deg: float = 38.0
    """Of the camera; the fit starts from 45."""
    distance: float = 0.6
    """Metres from the camera."""
    image_size: tuple[int, int] = (1280, 720)
    noise_px: float = 0.0
    """Deviation of independent errors of every landmark and frame."""
    offset_px: float = 0.0
    """Deviation of an error of every landmark that stays over the shot, as a detector's does."""
    wild_share: float = 0.0
    """Share of landmarks that are far off, though they claim to be certain."""
    lost: tuple[int, int] = (0, 0)
    """Frames without a face, from and to."""


@dataclass(frozen=True)
class SimulatedShot:
    """Truth and observations of F frames."""

    identity: NDArray[np.float32]
    expression: NDArray[np.float32]
    rotations: NDArray[np.float32]
    translation: NDArray[np.float32]
    vertices: NDArray[np.float32]
    """(F,N,3) metres, camera frame."""
    focal_px: float
    image_size: tuple[int, int]
    landmarks_2d: NDArray[np.float64]
    landmark_sigma: NDArray[np.float64]
    found: NDArray[np.bool_]


@dataclass(frozen=True)
class Recovery:
    """Errors of a fit, means over the frames that were found."""

    mesh_mm: float
    """Distance of the face's vertices after a rigid alignment. It holds the error of the head's
    size, which no single camera can see."""
    shape_mm: float
    """The same after an alignment with scale."""
    size_percent: float
    """Error of the head's size, signed."""
    reprojection_px: float
    rotation_deg: float
    focal_percent: float
    """Signed."""
    expression: float
    """Root mean square of the coefficients' errors."""


def simulate(head: Head, simulation: Simulation) -> SimulatedShot:
    """A random person who acts and turns smoothly, and landmarks with the errors asked for."""
    s = simulation
    rng = np.random.default_rng([s.seed, 1])
    generator = torch.Generator().manual_seed(s.seed)
    spread = head.identity_prior.sample(1, generator)[0].cpu().numpy()
    identity = IDENTITY_SPREAD * spread
    acted = perform(head, s.frames, s.seed, s.turn_deg, s.distance)
    expression, rotations, translation = acted.expression, acted.rotations, acted.translation
    to = head.template.new_tensor
    with torch.no_grad():
        vertices = head(to(identity), to(expression), to(rotations), to(translation))
        points = head.landmarks(vertices, layout(LAYOUT)).double().cpu().numpy()
    width, height = s.image_size
    focal = focal_from_field_of_view(math.radians(s.field_of_view_deg), width)
    truth = points[..., :2] / points[..., 2:] * focal + [(width - 1) / 2, (height - 1) / 2]
    seen = truth + rng.normal(0, 1, truth.shape) * s.noise_px
    seen += rng.normal(0, 1, truth.shape[1:]) * s.offset_px
    wild = rng.uniform(size=seen.shape[:2]) < s.wild_share
    seen += wild[..., None] * rng.normal(0, 60.0, seen.shape)
    found = np.ones(s.frames, bool)
    found[slice(*s.lost)] = False
    seen[~found] = np.nan
    sigma = np.full(seen.shape[:2], max(math.hypot(s.noise_px, s.offset_px), 0.3))
    f4 = np.float32
    return SimulatedShot(
        identity.astype(f4), expression.astype(f4), rotations.astype(f4), translation.astype(f4),
        vertices.cpu().numpy(), focal, s.image_size, seen, sigma, found,
    )  # fmt: skip


def recovery(head: Head, shot: SimulatedShot, fit: ShotFit) -> Recovery:
    """Compare a fit with the truth, on the face's vertices."""
    rows, face = np.flatnonzero(shot.found), head.regions["face"]
    to = head.template.new_tensor
    with torch.no_grad():
        posed = fitted_head(head, fit)(
            to(fit.identity), to(fit.expression), to(fit.rotations), to(fit.translation)
        ).cpu()
    own = posed.numpy()[rows][:, face].astype(np.float64)
    true = shot.vertices[rows][:, face].astype(np.float64)
    mesh = [np.linalg.norm(align(a, b) - b, axis=-1).mean() for a, b in zip(own, true, strict=True)]
    spread = [np.sqrt(np.square(x - x.mean(1, keepdims=True)).sum((1, 2))) for x in (own, true)]
    size = float(np.mean(spread[0] / spread[1]))
    shape = [
        np.linalg.norm(align(a / size, b) - b, axis=-1).mean()
        for a, b in zip(own, true, strict=True)
    ]
    pixels = fit.focal_px * own[..., :2] / own[..., 2:] - (
        shot.focal_px * true[..., :2] / true[..., 2:]
    )
    turn = _head_rotation(fit.rotations[rows]) * _head_rotation(shot.rotations[rows]).inv()
    return Recovery(
        mesh_mm=1000 * float(np.mean(mesh)),
        shape_mm=1000 * float(np.mean(shape)),
        size_percent=100 * (size - 1),
        reprojection_px=float(np.linalg.norm(pixels, axis=-1).mean()),
        rotation_deg=float(np.degrees(turn.magnitude().mean())),
        focal_percent=100 * (fit.focal_px / shot.focal_px - 1),
        expression=float(np.sqrt(np.square(fit.expression[rows] - shot.expression[rows]).mean())),
    )


def _head_rotation(rotations: NDArray[np.float32]) -> Rotation:
    return Rotation.from_rotvec(rotations[:, 0]) * Rotation.from_rotvec(rotations[:, 1])


CASES: dict[str, Simulation] = {
    "exact": Simulation(),
    "noise": Simulation(noise_px=1.0),
    "offset": Simulation(noise_px=1.0, offset_px=2.0),
    "wild": Simulation(noise_px=1.0, wild_share=0.1),
    "still": Simulation(noise_px=1.0, turn_deg=3.0),
    "one_frame": Simulation(noise_px=1.0, frames=1),
}
"""Shots by name. The face is about 550 pixels high."""


def run(settings: BenchSettings) -> dict[str, float]:
    """Fit simulated shots back; prints a row for each kind and returns the figures by name.

    Figures are means over persons, of magnitudes where they have a sign.
    """
    head = Head.load(device=choose_device(settings.device))
    frames, persons = (20, 1) if settings.quick else (100, 4)
    figures: dict[str, float] = {}
    names = list(Recovery.__dataclass_fields__)
    print(f"{'case':<12}" + "".join(f"{name:>17}" for name in names) + f"{'s/100 frames':>14}")
    for case, simulation in CASES.items():
        rows, seconds, count = [], 0.0, 0
        for person in range(persons):
            values = {**vars(simulation), "seed": settings.seed + person}
            values["frames"] = min(frames, simulation.frames)
            shot = simulate(head, Simulation(**values))
            fit, taken = _fit(head, shot)
            seconds, count = seconds + taken, count + len(shot.found)
            result = recovery(head, shot, fit)
            rows.append([abs(getattr(result, name)) for name in names])
        means = np.mean(rows, axis=0)
        figures |= {f"{case}_{name}": float(v) for name, v in zip(names, means, strict=True)}
        figures[f"{case}_seconds_100_frames"] = 100 * seconds / count
        row = "".join(f"{value:>17.3f}" for value in means)
        print(f"{case:<12}{row}{100 * seconds / count:>14.2f}", flush=True)
    if not settings.quick:
        long = simulate(head, Simulation(frames=300, seed=settings.seed, noise_px=1.0))
        figures["seconds_300_frames"] = _fit(head, long)[1]
        figures |= _growth(head, settings.seed)
    if settings.data is not None:
        figures |= scan_figures(head, settings.data, persons, settings.seed, settings.quick)
    return figures | _races(head, settings)


def _growth(head: Head, seed: int) -> dict[str, float]:
    """Processor seconds of ever longer shots, and how much a frame takes longer in long ones."""
    figures: dict[str, float] = {}
    for frames in GROWTH:
        shot = simulate(head, Simulation(frames=frames, seed=seed, noise_px=1.0))
        figures[f"seconds_{frames}_frames"] = _fit(head, shot)[1]
    few, many = GROWTH[1:]
    share = figures[f"seconds_{many}_frames"] / figures[f"seconds_{few}_frames"]
    figures["growth_500_5000"] = share * few / many
    return figures


def _races(head: Head, settings: BenchSettings) -> dict[str, float]:
    """The solver against L-BFGS: how many times as long that takes, or at least."""
    figures: dict[str, float] = {}
    frames, points, cameras = (
        (20, "dense320", [1]) if settings.quick else (520, "dense703", [1, 17])
    )
    for count in cameras:
        result = race(head, frames, points, count, settings.seed, MOST_TIMES[count])
        name = f"lbfgs_{frames}" + ("" if count == 1 else f"_{count}_cameras")
        figures[f"speedup_{name}"] = result.seconds_lbfgs / result.seconds_own
        figures[f"seconds_own_{name}"] = result.seconds_own
        figures[f"reached_{name}"] = float(result.reached)
        print(f"{name}: {result}", flush=True)
    return figures


def _fit(head: Head, shot: SimulatedShot) -> tuple[ShotFit, float]:
    """The fit and the processor seconds it took (wall seconds depend on what else runs)."""
    began = time.process_time()
    fit = fit_shot(
        head, LAYOUT, shot.landmarks_2d, shot.landmark_sigma, shot.found, shot.image_size,
        FitSettings(),
    )  # fmt: skip
    return fit, time.process_time() - began
