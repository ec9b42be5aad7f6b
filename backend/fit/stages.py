"""The fit of a shot in stages: poses, a person from key frames, every frame, everything at once."""

from __future__ import annotations

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
    state = problem.start()
    keys = start.choose_keys(
        problem.landmarks_2d, problem.sigma, problem.found, settings.key_frames
    )
    state = run.stage(state, Free.POSE, POSE_ITERATIONS, LOOSE_SIGMAS, 0.05, keys)
    state = run.stage(state, MOTION & ~Free.JOINTS, most, LOOSE_SIGMAS, 0.1, keys)
    state = run.stage(state, MOTION & ~Free.JOINTS | Free.IDENTITY, most, LOOSE_SIGMAS, 0.2, keys)
    state = run.stage(state, MOTION | person, most, robust, 0.35, keys)

    # Every frame with that person, then all parameters of all frames at once.
    state = _spread_from_keys(problem, state, keys)
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


def _spread_from_keys(problem: Problem, state: State, keys: NDArray[np.int64]) -> State:
    """Expressions and depths of the frames between keys, interpolated from the keys' fit.

    The keys have moved to the solved focal length and size of the head; the others still sit at
    the first one's depth.
    """
    frames = np.arange(len(problem.found))
    expression = state.expression.double().cpu().numpy()
    between = np.stack(
        [np.interp(frames, keys, expression[keys, k]) for k in range(expression.shape[1])], axis=1
    )
    moved = problem.start().translation[keys, 2] / state.translation[keys, 2]
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
