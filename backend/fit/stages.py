"""The fit of a shot in stages: poses, a person from key frames, every frame, everything at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from backend.errors import BadInputError, CancelledError
from backend.geometry.rotations import rotmat_to_rotvec, rotvec_to_rotmat
from backend.head import Head
from backend.head.landmarks import layout

from . import start
from .problem import MOTION, PERSON, Free, Problem
from .settings import Constraints, FitSettings, Rig, ShotFit
from .solver import Minimisation, shared_deviation
from .state import State

ProgressCallback = Callable[[str, float], None]
# Far-off starts are pulled in from this many deviations before hands and hair are told apart.
LOOSE_SIGMAS = 30.0
# Frames that tell which Gaussian of the prior a person belongs to.
COMPONENT_KEYS, COMPONENT_ITERATIONS = 12, 12
# Share of the errors that must be fresh in every frame for all frames to tell of the person.
FRESH = 0.2
# Fewest key frames that tell a landmark's offset from its error.
OFFSET_KEYS = 8
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
    constraints: Constraints | None = None, before: ShotFit | None = None,
) -> ShotFit:  # fmt: skip
    """Fit one identity, one focal length and every frame's pose and expression to a shot.

    Args: landmarks_2d (F,L,2) and landmark_sigma (F,L) pixels of the layout's points, or their
    covariances (F,L,2,2); found (F,); image_size (width, height); progress is told (stage, 0 to 1);
    cancelled is asked before every step; before: a fit of the same shot where this one starts.
    Frames not found have no data term: their neighbours carry them. Raises: NoFaceError without
    any found frame, CancelledError, BadInputError for shapes that do not fit.
    """
    return fit_views(
        head, layout_name, np.asarray(landmarks_2d)[:, None], np.asarray(landmark_sigma)[:, None],
        found, image_size, settings, progress, cancelled, constraints, before,
    )  # fmt: skip


@torch.no_grad()
def fit_views(
    head: Head, layout_name: str, landmarks_2d: ArrayLike, landmark_sigma: ArrayLike,
    found: ArrayLike, image_size: tuple[int, int], settings: FitSettings | None = None,
    progress: ProgressCallback | None = None, cancelled: Callable[[], bool] | None = None,
    constraints: Constraints | None = None, before: ShotFit | None = None, rig: Rig | None = None,
    consecutive: bool = True,
) -> ShotFit:  # fmt: skip
    """Fit a shot that C cameras saw: as `fit_shot`, with landmarks (F,C,L,2) and sigma (F,C,L).

    found (F,C), or (F,) for all cameras; rig: the cameras where they are known, else solved with
    the face; consecutive: whether frames follow each other, or are photographs.
    """
    settings = settings or FitSettings()
    constraints = constraints or Constraints()
    problem = Problem.of(
        head, layout_name, landmarks_2d, landmark_sigma, found, image_size, settings, constraints,
        rig,
    )  # fmt: skip
    run = _Run(problem, progress or (lambda stage, fraction: None), cancelled or (lambda: False))
    robust = settings.robust_sigmas
    person = _unknown(problem, settings, constraints, rig)
    whole = MOTION | person | (Free.ZOOM if settings.zoom else Free(0))
    links = start.link_frames(
        problem.observed.landmarks_2d[:, problem.reference],
        problem.observed.found[:, problem.reference], problem.size, settings.largest_gap,
    )  # fmt: skip
    if not consecutive:
        links[:] = 0.0
    link = problem.tensor(links) if len(links) and links.any() else None
    share = start.whiteness(
        problem.observed.landmarks_2d[:, problem.reference],
        problem.observed.sigma[:, problem.reference], links,
    )  # fmt: skip
    run.problem = problem = _weighted(problem, share)
    doubt = None
    if before is None:
        state, doubt = _person_from_keys(run, problem.start(rig), person, constraints)
        run.problem = run.problem.without_teeth()
        state = _carry(run.problem, state, links)
        state = run.stage(state, MOTION, settings.iterations, robust, 0.6, link=link)
    else:
        run.problem = problem = problem.without_teeth()
        if settings.correction_mm > 0:
            run.problem = problem.with_correction()
        state = _resume(run.problem, before, constraints)
    if before is not None and before.focal_sd_percent > 0 and rig is None:
        # Lens and size that were told with offsets are not to be told again without.
        whole &= ~(Free.FOCAL | Free.IDENTITY)
        doubt = before.focal_sd_percent
    # Frames between the keys may but repeat the keys' errors, and say nothing new of the person.
    known = before is None and doubt is not None and share < FRESH
    if not known or whole & ~(MOTION | PERSON | Free.FOCAL):
        state = run.stage(state, whole, POLISH_ITERATIONS, robust, 0.85, link=link)
    if doubt is None:
        doubt = _focal_doubt(run.problem, state, link, whole)
    doubt = doubt if Free.FOCAL in person else 0.0
    if run.problem.points.held is not None:
        state = _onto_landmarks(run, state, whole | person, link)
    history = tuple(run.last.costs)

    # What leaves is within its range; the poses answer for the little that was cut off.
    state = replace(state, expression=state.expression.clamp(problem.low, problem.high))
    state = run.stage(state, Free.POSE | Free.JOINTS, CLAMP_ITERATIONS, robust, 1.0, link=link)
    state = _carry(run.problem, state, links)
    run.report("fit", 1.0)
    return _result(run.problem, state, history, doubt)


def _weighted(problem: Problem, share: float) -> Problem:
    """With the weight that landmarks deserve of whose errors a share is fresh in every frame."""
    settings = problem.settings
    low, high = settings.landmark_weight, settings.independent_weight
    weight = low + share * max(high - low, 0.0)
    return replace(problem, settings=replace(settings, landmark_weight=weight))


def _unknown(
    problem: Problem, settings: FitSettings, constraints: Constraints, rig: Rig | None
) -> Free:
    """What of the person and the cameras is to be solved."""
    free = Free(0)
    if constraints.identity is None:
        free |= PERSON
    if settings.focal_px is None and (rig is None or rig.focal_px is None):
        free |= Free.FOCAL
    if problem.observed.found.shape[1] > 1 and rig is None:
        free |= Free.CAMERAS
    return free


def _person_from_keys(
    run: _Run, state: State, person: Free, constraints: Constraints
) -> tuple[State, float | None]:
    """The person and the cameras, from frames that differ most; then every frame's pose.

    And the deviation of the focal length in per cent, where that is solved for good.
    """
    problem, settings = run.problem, run.problem.settings
    most, robust = settings.iterations, settings.robust_sigmas
    keys = _keys(problem)
    began = state = _known_person(problem, state, constraints)
    state = run.stage(state, Free.POSE, POSE_ITERATIONS, LOOSE_SIGMAS, 0.02, keys)
    if Free.CAMERAS in person:
        state = run.stage(
            state, Free.POSE | Free.CAMERAS, POSE_ITERATIONS, LOOSE_SIGMAS, 0.03, keys
        )
    state = run.stage(state, MOTION & ~Free.JOINTS, most, LOOSE_SIGMAS, 0.06, keys)
    if Free.IDENTITY in person:
        state = _choose_component(run, state, keys, person, 0.25)
    if person:
        state = run.stage(state, MOTION | person, most, robust, 0.3, keys)
    if settings.correction_mm > 0 and Free.IDENTITY in person:
        run.problem = problem = problem.with_correction()
        state = state.with_identity_size(problem.points.identity_basis.shape[-1])
        state = run.stage(state, MOTION | person, most, robust, 0.33, keys)
    doubt = None
    if settings.offset_mm > 0 and Free.FOCAL in person and len(keys) >= OFFSET_KEYS:
        state, doubt = _with_offsets(run, state, MOTION | person, keys)
        problem = run.problem
    state = _spread_from_keys(problem, began, state, keys)
    state = run.stage(
        state, Free.POSE, POSE_ITERATIONS, LOOSE_SIGMAS, 0.4, np.flatnonzero(problem.found)
    )
    return state, doubt


def _keys(problem: Problem) -> NDArray[np.int64]:
    observed, view = problem.observed, problem.reference
    return start.choose_keys(
        observed.landmarks_2d[:, view], observed.sigma[:, view], observed.found[:, view],
        problem.settings.key_frames,
    )  # fmt: skip


def _with_offsets(
    run: _Run, state: State, free: Free, keys: NDArray[np.int64]
) -> tuple[State, float]:
    """Lens and person with landmarks that may lie off the head, where they are held from then on,
    and the focal length's deviation in per cent.

    What the head cannot make of a face, and what a detector always gets wrong, looks like a lens.
    """
    settings = run.problem.settings
    run.problem = problem = run.problem.with_offsets()
    count = len(layout(problem.layout_name))
    state = replace(state, offset=state.identity.new_zeros(count, 3))
    free |= Free.OFFSETS
    state = run.stage(state, free, settings.iterations, settings.robust_sigmas, 0.38, keys)
    doubt = _focal_doubt(problem, state, None, free, keys)
    run.problem = problem.with_fixed_offsets(state.offset)
    return replace(state, offset=state.offset[:0]), doubt


def _onto_landmarks(run: _Run, state: State, free: Free, link: Tensor | None) -> State:
    """The head onto the landmarks themselves, lens and size of the person being known by now.

    A head that leaves lids and lips to offsets does not lie on them. The correction alone, which
    has no size, brings it there.
    """
    robust, most = run.problem.settings.robust_sigmas, POLISH_ITERATIONS
    run.problem = problem = run.problem.without_offsets()
    free &= ~(Free.FOCAL | Free.IDENTITY)
    keys = _keys(problem)
    state = run.stage(state, free, most, robust, 0.88, keys)
    return run.stage(state, free & ~(PERSON | Free.CAMERAS), most, robust, 0.97, link=link)


def _known_person(problem: Problem, state: State, constraints: Constraints) -> State:
    if constraints.identity is None:
        return state
    return replace(state, identity=problem.tensor(constraints.identity))


def _resume(problem: Problem, before: ShotFit, constraints: Constraints) -> State:
    """An earlier fit's parameters; raises BadInputError where it is one of another shot."""
    if len(before.expression) != len(problem.found):
        raise BadInputError(
            f"an earlier fit of {len(before.expression)} frames is none of {len(problem.found)}"
        )
    state = problem.start_from(before)
    return _known_person(problem, state, constraints) if constraints.identity is not None else state


def _focal_doubt(
    problem: Problem, state: State, link: Tensor | None, free: Free,
    keys: NDArray[np.int64] | None = None,
) -> float:  # fmt: skip
    """Deviation of the first camera's focal length, per cent, where the energy is quadratic."""
    rows = None if keys is None else torch.as_tensor(keys, device=problem.centres.device)
    energy = problem.energy(link, problem.settings.robust_sigmas, rows=rows)
    equations = energy.linearise(state if rows is None else state.frames(rows))
    at = len(state.identity)
    return 100.0 * shared_deviation(equations, *problem.masks(state, free), at)


def _result(problem: Problem, state: State, history: tuple[float, ...], doubt: float) -> ShotFit:
    n = problem.prior.means.shape[-1]
    correction = joints = None
    if problem.correction is not None:
        moved = problem.correction.displacement(state.identity[n:])
        size = problem.points.size(state)
        correction, joints = _numpy(size * moved[0]), _numpy(size * moved[1])
    focal = state.log_focal.exp()
    rig = None
    if state.n_cameras > 1:
        rig = Rig(*(x.double().cpu().numpy() for x in (
            state.camera_rotmat, state.camera_translation, focal,
        )))  # fmt: skip
    return ShotFit(
        _numpy(state.identity[:n]), _numpy(state.expression),
        _numpy(rotmat_to_rotvec(state.rotmat)), _numpy(state.translation), float(focal[0]),
        problem.found, history, correction, joints,
        _numpy(state.zoom.exp()) if problem.settings.zoom else None, doubt, rig,
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
        problem.observed.landmarks_2d[:, problem.reference], problem.found, problem.size, links
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
        zoom=torch.lerp(state.zoom[a], state.zoom[b], w[:, 0]),
    )
    return state.with_frames(torch.as_tensor(alone, device=device), part)


def _numpy(x: Tensor) -> NDArray[np.float32]:
    return x.cpu().numpy().astype(np.float32)
