"""The fit of a shot in stages: poses, a person from key frames, every frame, everything at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from backend.errors import CancelledError
from backend.geometry.rotations import rotmat_to_rotvec, rotvec_to_rotmat
from backend.head import Head

from . import start
from .posed_points import State
from .problem import MOTION, Free, Problem
from .settings import FitSettings, ShotFit
from .solver import Minimisation

ProgressCallback = Callable[[str, float], None]
# Far-off starts are pulled in from this many deviations before hands and hair are told apart.
LOOSE_SIGMAS = 30.0
# Frames that tell which Gaussian of the prior a person belongs to.
COMPONENT_KEYS, COMPONENT_ITERATIONS = 12, 12
POSE_ITERATIONS, POLISH_ITERATIONS, CLAMP_ITERATIONS = 6, 8, 2


@dataclass
class _Run:
    """Minimisations one after the other, with progress told and cancelling asked for."""

    problem: Problem
    report: ProgressCallback
    cancelled: Callable[[], bool]
    began: float = 0.0
    """Share of the whole fit that is done."""
    last: Minimisation = field(default_factory=Minimisation)

    def stage(
        self, state: State, free: Free, iterations: int, robust: float, until: float,
        rows: NDArray[np.int64] | None = None, link: Tensor | None = None,
    ) -> State:  # fmt: skip
        """Minimise; `until` is the share of the whole fit that is done afterwards."""

        def tick(i: int) -> None:
            if self.cancelled():
                raise CancelledError("the fit was cancelled")
            self.report("fit", self.began + (until - self.began) * i / iterations)

        state, self.last = self.problem.minimise(state, free, iterations, robust, rows, link, tick)
        self.began = until
        return state


@torch.no_grad()
def fit_shot(
    head: Head, layout_name: str, landmarks_2d: ArrayLike, landmark_sigma: ArrayLike,
    found: ArrayLike, image_size: tuple[int, int], settings: FitSettings | None = None,
    progress: ProgressCallback | None = None, cancelled: Callable[[], bool] | None = None,
) -> ShotFit:  # fmt: skip
    """Fit one identity, one focal length and every frame's pose and expression to a shot.

    Args: landmarks_2d (F,L,2) and landmark_sigma (F,L) pixels of the layout's points; found (F,);
    image_size (width, height); progress is told (stage, 0 to 1); cancelled is asked before every
    step. Frames not found have no data term: their neighbours carry them. Raises: NoFaceError
    without any found frame, CancelledError, BadInputError for shapes that do not fit.
    """
    settings = settings or FitSettings()
    run = _Run(
        Problem.of(head, layout_name, landmarks_2d, landmark_sigma, found, image_size, settings),
        progress or (lambda stage, fraction: None),
        cancelled or (lambda: False),
    )
    problem, most, robust = run.problem, settings.iterations, settings.robust_sigmas
    camera = Free.FOCAL if settings.focal_px is None else Free(0)
    person = Free.IDENTITY | camera

    # The person and the camera, from frames that differ most.
    began = state = problem.start()
    keys = start.choose_keys(
        problem.landmarks_2d, problem.sigma, problem.found, settings.key_frames
    )
    state = run.stage(state, Free.POSE, POSE_ITERATIONS, LOOSE_SIGMAS, 0.02, keys)
    state = run.stage(state, MOTION & ~Free.JOINTS, most, LOOSE_SIGMAS, 0.06, keys)
    state = _choose_component(run, state, keys, person, 0.25)
    state = run.stage(state, MOTION | person, most, robust, 0.35, keys)

    # Every frame with that person, then all parameters of all frames at once.
    state = _spread_from_keys(problem, began, state, keys)
    state = run.stage(
        state, Free.POSE, POSE_ITERATIONS, LOOSE_SIGMAS, 0.4, np.flatnonzero(problem.found)
    )
    links = start.link_frames(
        problem.landmarks_2d, problem.found, problem.size, settings.largest_gap
    )
    link = problem.tensor(links) if len(links) else None
    state = _carry(problem, state, links)
    state = run.stage(state, MOTION, most, robust, 0.6, link=link)
    state = run.stage(state, MOTION | person, POLISH_ITERATIONS, robust, 0.95, link=link)
    history = tuple(run.last.costs)

    # What leaves is within 0 to 1; the poses answer for the little that was cut off.
    state = replace(state, expression=state.expression.clamp(0, 1))
    state = run.stage(state, Free.POSE | Free.JOINTS, CLAMP_ITERATIONS, robust, 1.0, link=link)
    state = _carry(problem, state, links)
    run.report("fit", 1.0)
    return ShotFit(
        _numpy(state.identity), _numpy(state.expression), _numpy(rotmat_to_rotvec(state.rotmat)),
        _numpy(state.translation), float(state.log_focal.exp()), problem.found, history,
    )  # fmt: skip


def _choose_component(
    run: _Run, state: State, keys: NDArray[np.int64], person: Free, until: float
) -> State:
    """The person under each Gaussian of the prior, and the best of them.

    A mixture has valleys of its own, and a fit ends in that which it starts in: the head's shape
    would hardly tell, but its size, which only the prior knows, would be off by a tenth.
    """
    few = keys[:: max(1, len(keys) // COMPONENT_KEYS)]
    components, began = run.problem.components(), run.began
    best, least = state, math.inf
    for g, problem in enumerate(components):
        trial = _Run(problem, run.report, run.cancelled, run.began)
        middle = replace(state, identity=problem.prior.means[0])
        share = began + (until - began) * (g + 1) / len(components)
        middle = trial.stage(middle, Free.POSE, POSE_ITERATIONS, LOOSE_SIGMAS, run.began, few)
        fitted = trial.stage(
            middle, MOTION | person, COMPONENT_ITERATIONS, LOOSE_SIGMAS, share, few
        )
        run.began = share
        if trial.last.costs[-1] < least:
            best, least = fitted, trial.last.costs[-1]
    return best


def _spread_from_keys(
    problem: Problem, began: State, state: State, keys: NDArray[np.int64]
) -> State:
    """Expressions and depths of the frames between keys, interpolated from the keys' fit.

    The keys have moved to the solved focal length and size of the head; the others still sit at
    the depth where the fit began.
    """
    frames = np.arange(len(problem.found))
    expression = state.expression.double().cpu().numpy()
    between = np.stack(
        [np.interp(frames, keys, expression[keys, k]) for k in range(expression.shape[1])], axis=1
    )
    moved = began.translation[keys, 2] / state.translation[keys, 2]
    other = torch.as_tensor(np.setdiff1d(frames, keys), device=moved.device)
    translation = state.translation.clone()
    translation[other] /= moved.median()
    return replace(state, expression=problem.tensor(between), translation=translation)


def _carry(problem: Problem, state: State, links: NDArray[np.float64]) -> State:
    """Fill the frames that no temporal term reaches, after `start.carried_from`."""
    source_a, source_b, share = start.carried_from(
        problem.landmarks_2d, problem.found, problem.size, links
    )
    alone = np.flatnonzero(source_a >= 0)
    if len(alone) == 0:
        return state
    device = state.expression.device
    a, b = (torch.as_tensor(x[alone], device=device) for x in (source_a, source_b))
    w = torch.as_tensor(share[alone]).to(state.expression)[:, None]
    turn = rotmat_to_rotvec(state.rotmat[b] @ state.rotmat[a].transpose(-1, -2))
    part = replace(
        state,
        expression=torch.lerp(state.expression[a], state.expression[b], w),
        rotmat=rotvec_to_rotmat(w[..., None] * turn) @ state.rotmat[a],
        translation=torch.lerp(state.translation[a], state.translation[b], w),
    )
    return state.with_frames(torch.as_tensor(alone, device=device), part)


def _numpy(x: Tensor) -> NDArray[np.float32]:
    return x.cpu().numpy().astype(np.float32)
