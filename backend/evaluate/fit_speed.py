"""The block-arrow solver against L-BFGS, which Wood et al. use, to the same cost of one energy."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from backend.evaluate.acting import perform
from backend.fit.energy import Energy
from backend.fit.problem import MOTION, PERSON, Free, Problem
from backend.fit.settings import FitSettings, Rig
from backend.fit.solver import minimise
from backend.fit.state import State
from backend.geometry.cameras import focal_from_field_of_view
from backend.geometry.rotations import rotvec_to_rotmat
from backend.head import Head
from backend.head.landmarks import layout

# Both start here: poses near the truth, no expression, the mean face, a wrong focal length.
OFF_RADIANS, OFF_METRES, OFF_FOCAL = 0.05, 0.01, 1.15
IMAGE_SIZE = (1280, 720)
# L-BFGS has come as low as the other when its cost is higher by less than this share.
SAME = 1e-3
EVALUATIONS_A_ROUND = 25


@dataclass(frozen=True)
class Race:
    """How both solvers went."""

    seconds_own: float
    """Of the processor."""
    seconds_lbfgs: float
    """To the same cost, or as long as it was given."""
    reached: bool
    """Whether L-BFGS came as low."""
    cost_start: float
    cost_own: float
    cost_lbfgs: float


def race(
    head: Head, frames: int, layout_name: str, cameras: int, seed: int, most_times: float
) -> Race:
    """Fit one simulated shot with both; L-BFGS ends when it has had `most_times` our time."""
    problem, state = simulated_problem(head, frames, layout_name, cameras, seed)
    link = torch.ones(frames - 1).to(head.template)
    energy = problem.energy(link, problem.settings.robust_sigmas)
    free = MOTION | PERSON | Free.FOCAL | (Free.CAMERAS if cameras > 1 else Free(0))
    frame, shared = problem.masks(state, free)
    began = time.process_time()
    passed: list[tuple[float, float]] = []

    def timed(at: State) -> float:
        value = energy.cost(at)
        passed.append((time.process_time() - began, value))
        return value

    with torch.no_grad():
        _, report = minimise(state, energy.linearise, timed, frame, shared, 30, 1e-5)
    start, goal = report.costs[0], report.costs[-1]
    enough = goal + SAME * abs(goal)
    # Both are timed to the same cost, not to where each thinks that it has arrived.
    own = next(seconds for seconds, value in passed if value <= enough)
    began = time.process_time()
    lowest = lbfgs(
        energy, state, frame, shared, enough, lambda: time.process_time() - began > most_times * own
    )
    return Race(own, time.process_time() - began, lowest <= enough, start, goal, lowest)


def lbfgs(  # type: ignore[no-untyped-def]
    energy: Energy, state: State, free_frame: Tensor, free_shared: Tensor, enough: float, expired
) -> float:
    """Torch's L-BFGS with strong Wolfe conditions over all parameters at once; the lowest cost.

    Parameters are scaled by the diagonal of the Gauss-Newton matrix at the start, without which it
    takes many times as long; gradients are the analytic ones.
    """
    with torch.no_grad():
        equations = energy.linearise(state)
    diagonal = equations.block.diagonal(dim1=-2, dim2=-1)
    scale_frame = free_frame / (diagonal + 1e-6 * diagonal.mean()).sqrt()
    diagonal = equations.shared.diagonal()
    scale_shared = free_shared / (diagonal + 1e-6 * diagonal.mean()).sqrt()
    frame = torch.zeros_like(scale_frame, requires_grad=True)
    shared = torch.zeros_like(scale_shared, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [frame, shared], max_iter=EVALUATIONS_A_ROUND, max_eval=EVALUATIONS_A_ROUND,
        history_size=20, line_search_fn="strong_wolfe", tolerance_grad=0.0, tolerance_change=0.0,
    )  # fmt: skip
    lowest = math.inf

    def closure() -> Tensor:
        nonlocal lowest
        optimiser.zero_grad()
        value = energy.value(state.step(scale_frame * frame, scale_shared * shared))
        value.backward()
        lowest = min(lowest, float(value.detach()))
        return value

    while not expired() and lowest > enough:
        before = lowest
        optimiser.step(closure)
        if before - lowest <= 0.0:
            break
    return lowest


def simulated_problem(
    head: Head, frames: int, layout_name: str, cameras: int, seed: int
) -> tuple[Problem, State]:
    """A shot of the model's own making with noise of half a per cent, and where solvers start."""
    rng = np.random.default_rng([seed, 22])
    acted = perform(head, frames, seed, 20.0, 0.6)
    to = head.template.new_tensor
    identity = 0.8 * head.identity_prior.sample(1, torch.Generator().manual_seed(seed))[0]
    points = []
    lay = layout(layout_name)
    with torch.no_grad():
        for start in range(0, frames, 64):
            rows = slice(start, start + 64)
            vertices = head(
                identity, to(acted.expression[rows]), to(acted.rotations[rows]),
                to(acted.translation[rows]),
            )  # fmt: skip
            points.append(head.landmarks(vertices, lay).double().cpu().numpy())
    world = np.concatenate(points)
    width, height = IMAGE_SIZE
    focal = focal_from_field_of_view(math.radians(38.0), width)
    angles = np.radians(np.linspace(-60, 60, cameras)) if cameras > 1 else np.zeros(1)
    angles = angles - angles[0]
    rotmat = Rotation.from_rotvec([[0.0, angle, 0.0] for angle in angles]).as_matrix()
    middle = np.array([0, 0, 0.6])
    offset = middle - rotmat @ middle
    seen = []
    for R, t in zip(rotmat, offset, strict=True):
        local = world @ R.T + t
        seen.append(local[..., :2] / local[..., 2:] * focal + [(width - 1) / 2, (height - 1) / 2])
    landmarks = np.stack(seen, 1)
    landmarks += rng.normal(0, 2.5, landmarks.shape)
    off = np.full(cameras, OFF_FOCAL * focal)
    rig = Rig(rotmat, offset, off)
    problem = Problem.of(
        head, layout_name, landmarks, np.full(landmarks.shape[:-1], 2.5), np.ones(frames, bool),
        IMAGE_SIZE, FitSettings(), rig=rig,
    )  # fmt: skip
    turns = acted.rotations.copy()
    turns[:, 1:] = 0.0
    turns[:, 0] += rng.normal(0, OFF_RADIANS, (frames, 3))
    moved = acted.translation + rng.normal(0, OFF_METRES, (frames, 3))
    state = State(
        to(np.zeros((frames, head.n_expression))), rotvec_to_rotmat(to(turns)), to(moved),
        to(np.zeros(frames)), to(np.zeros(head.n_identity)), to(np.log(off)),
        to(rotmat), to(offset), to(np.zeros((0, 3))),
    )  # fmt: skip
    return problem, state
