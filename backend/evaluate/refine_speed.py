"""`mien bench refine`: how long an artist waits after setting a pin, in a shot that is solved."""

from __future__ import annotations

import time
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray

from backend.assembly import Known, assemble_track
from backend.evaluate.fit_recovery import LAYOUT, Simulation, simulate
from backend.evaluate.settings import BenchSettings
from backend.events import FrameMotion, frame_result, model_result
from backend.fit import fit_shot, fitted_head
from backend.head import Head
from backend.head.landmarks import layout
from backend.refine import refine_track
from backend.track import Track
from shared.conventions import intrinsics
from shared.jobs import PinnedPoint, ShotConstraints

POINT = 30
"""The tip of the nose among iBUG's landmarks."""
SHIFT_PX = (8.0, -5.0)


def simulated_track(head: Head, simulation: Simulation, first: int = 0) -> Track:
    """A simulated shot, fitted, as a track whose frames are counted from `first`."""
    shot = simulate(head, simulation)
    fit = fit_shot(
        head, LAYOUT, shot.landmarks_2d, shot.landmark_sigma, shot.found, shot.image_size
    )
    own = fitted_head(head, fit)
    identity = torch.tensor(fit.identity)
    frames = []
    for row in range(simulation.frames):
        motion = FrameMotion(
            fit.expression[row], fit.rotations[row], fit.translation[row], fit.focal_px
        )
        with torch.no_grad():
            vertices = own(
                identity, torch.tensor(motion.expression), torch.tensor(motion.joint_rotations),
                torch.tensor(motion.translation),
            )  # fmt: skip
        frames.append(
            frame_result(
                own,
                identity,
                motion,
                frame_index=first + row,
                timestamp=row / 25,
                found=True,
                landmarks_2d=shot.landmarks_2d[row].astype(np.float32),
                landmark_sigma=shot.landmark_sigma[row].astype(np.float32),
                vertices=vertices.numpy(),
                visibility=np.ones(head.n_vertices, np.uint8),
            )
        )
    return assemble_track(
        model_result(own, identity, is_final=True),
        frames,
        np.full((8, 8, 4), 9, np.uint8),
        intrinsics(fit.focal_px, shot.image_size),
        shot.image_size,
        Fraction(25),
        known=Known(focal_sd_percent=fit.focal_sd_percent),
    )


def point_in_picture(head: Head, track: Track, row: int) -> NDArray[np.float64]:
    """(2,) pixels of the tip of the nose in a row of the track."""
    vertices = torch.from_numpy(track.vertices[row])
    point = head.landmarks(vertices, layout("ibug68"))[POINT].double().numpy()
    seen = track.K[row] @ point
    return seen[:2] / seen[2]


def run(settings: BenchSettings) -> dict[str, float]:
    """Pins one after the other near, then the whole shot; milliseconds, medians.

    They are of the wall clock, which an artist waits for, and `cpu` of the processor, which does
    not depend on what else runs. `refine_left_percent` is how much of a pin's distance is left
    after the near solve.
    """
    head = Head.load()
    frames, pins = (60, 2) if settings.quick else (300, 7)
    track = simulated_track(head, Simulation(frames=frames, seed=settings.seed, noise_px=1.0))
    rows = np.linspace(20, frames - 20, pins).round().astype(int)
    near, cpu, left, wanted = [], [], [], ShotConstraints()
    # The first one meets cold caches, as after opening a shot.
    cold = 0.0
    for number, row in enumerate(rows):
        start = point_in_picture(head, track, int(row))
        x, y = start + SHIFT_PX
        pin = PinnedPoint(frame=int(row), point=f"ibug68/{POINT}", x=float(x), y=float(y))
        wanted = ShotConstraints(pins=[*wanted.pins, pin])
        began = time.process_time()
        result = refine_track(track, wanted, whole=False, device="cpu")
        spent = 1000 * (time.process_time() - began)
        assert result.near_ms is not None
        if number == 0:
            cold = result.near_ms
        else:
            near.append(result.near_ms)
            cpu.append(spent)
        track = result.track
        gap = np.linalg.norm(point_in_picture(head, track, int(row)) - [x, y])
        left.append(float(gap / np.hypot(*SHIFT_PX)))
    began = time.process_time()
    whole = refine_track(track, near=False, device="cpu")
    spent = 1000 * (time.process_time() - began)
    assert whole.whole_ms is not None
    return {
        "refine_ms": float(np.median(near)),
        "refine_cpu_ms": float(np.median(cpu)),
        "refine_first_ms": cold,
        f"refine_whole_{frames}_ms": whole.whole_ms,
        f"refine_whole_{frames}_cpu_ms": spent,
        "refine_left_percent": 100 * float(np.median(left)),
    }
