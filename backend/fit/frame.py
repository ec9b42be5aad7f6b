"""One frame at a time, identity and focal length given: previews while a shot streams in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import ArrayLike

from backend.geometry.rotations import rotmat_to_rotvec, rotvec_to_rotmat
from backend.head import Head

from .problem import MOTION, Free, Problem
from .settings import FitSettings, FrameFit
from .stages import LOOSE_SIGMAS
from .state import State, one_camera
from .views import pixels_of

COLD_ITERATIONS, FRAME_ITERATIONS = 4, 5
# The last frame's fit is a good start while it lies within this share of the face's size.
NEAR_ENOUGH = 0.15
# A preview does not need the last per mille.
TOLERANCE = 3e-3


@torch.no_grad()
def fit_frame(
    head: Head, layout_name: str, landmarks_2d: ArrayLike, landmark_sigma: ArrayLike,
    image_size: tuple[int, int], settings: FitSettings | None = None,
    previous: FrameFit | None = None, identity: ArrayLike | None = None,
) -> FrameFit:  # fmt: skip
    """Fit pose and expression of one frame, with landmarks (L,2) and their sigma (L,) in pixels.

    previous: the last frame's fit, where this one starts unless the face has jumped; identity
    (100,), the mean where None. The focal length is the settings', or that of the starting field
    of view. Raises: NoFaceError where too few landmarks are finite, BadInputError.
    """
    # Nor need lids and lips be kept out of what they touch.
    settings = replace(settings or FitSettings(), tolerance=TOLERANCE, intersection_weight=0.0)
    problem = Problem.of(
        head, layout_name, np.asarray(landmarks_2d)[None, None],
        np.asarray(landmark_sigma)[None, None], np.ones(1, bool), image_size, settings,
    )  # fmt: skip
    state = None if previous is None else _resume(problem, previous, identity)
    if state is None:
        state = _with_identity(problem, problem.start(), identity)
        state, _ = problem.minimise(state, Free.POSE, COLD_ITERATIONS, LOOSE_SIGMAS)
    state, result = problem.minimise(state, MOTION, FRAME_ITERATIONS, settings.robust_sigmas)
    return FrameFit(
        state.expression[0].clamp(0, 1).cpu().numpy().astype(np.float32),
        rotmat_to_rotvec(state.rotmat)[0].cpu().numpy().astype(np.float32),
        state.translation[0].cpu().numpy().astype(np.float32),
        float(state.log_focal[0].exp()),
        result.costs[-1],
    )


def _resume(problem: Problem, previous: FrameFit, identity: ArrayLike | None) -> State | None:
    """The last frame's parameters as a start; None where they are too far off."""
    template = problem.points.template
    state = one_camera(
        problem.tensor(previous.expression)[None],
        rotvec_to_rotmat(problem.tensor(previous.rotations))[None],
        problem.tensor(previous.translation)[None],
        template.new_zeros(problem.points.identity_basis.shape[-1]),
        problem.tensor(problem.focal_start).log()[0],
    )
    state = _with_identity(problem, state, identity)
    pixels = pixels_of(problem.points.pose(state).points, state, problem.centres)
    error = (pixels - problem.target.landmarks_2d).norm(dim=-1)
    near = float(error[problem.target.seen()].median()) < NEAR_ENOUGH * problem.size[0]
    return state if near else None


def _with_identity(problem: Problem, state: State, identity: ArrayLike | None) -> State:
    return state if identity is None else replace(state, identity=problem.tensor(identity))
