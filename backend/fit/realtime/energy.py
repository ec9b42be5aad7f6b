"""The energy of one frame with a person and a camera that are given, and its minimisation.

The terms and weights are those of `backend.fit.energy` for the second of two frames whose first is
held: a test holds cost, gradient and matrix to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from backend.fit.energy import TORSION
from backend.fit.settings import FitSettings

from . import kernel, loop
from .compiled import IS_COMPILED
from .points import N_POSE, FramePoints
from .turning import joint_terms, turn

Array = NDArray[np.float64]
_NOTHING = np.zeros((0, 0)), np.zeros(0)


@dataclass(frozen=True)
class FrameState:
    """Parameters of one frame; rotations step by left increments."""

    expression: Array
    """(E,)"""
    rotmat: Array
    """(4,3,3): the root's in the camera, the others' in their parent's frame."""
    translation: Array
    """(3,) metres."""

    def step(self, increments: Array) -> FrameState:
        """The state after increments (E+15,)."""
        n = len(self.expression)
        return FrameState(
            self.expression + increments[:n],
            turn(self.rotmat, increments[n : n + 12]),
            self.translation + increments[n + 12 :],
        )


@dataclass(frozen=True)
class FrameEnergy:
    """One frame's terms, weights and observations."""

    points: FramePoints
    settings: FitSettings
    focal_px: float
    centre: Array
    """(2,) principal point, pixels."""
    landmarks_2d: Array
    """(L,2) pixels, finite everywhere."""
    precision: Array
    """(L,) 1 / sigma, 0 where there is no observation."""
    landmark_weight: float
    robust: float
    """Deviations beyond which a landmark counts less."""
    joint_weights: Array
    """(3,3) of head and eyes by axis."""
    gain: Array
    """(L,) weight of the squared change, in pixels, from `expected`; 0 without a last frame."""
    expected: Array
    """(L,2) pixels."""
    last_expression: Array
    """(E,)"""
    smoothness_weight: float = 0.0

    @classmethod
    def of(
        cls, points: FramePoints, settings: FitSettings, focal_px: float, centre: Array,
        landmarks_2d: Array, sigma: Array, robust: float,
    ) -> FrameEnergy:  # fmt: skip
        """Without a last frame; sigma (L,) is infinite where there is no landmark."""
        eye = [settings.eye_weight, settings.eye_weight, TORSION * settings.eye_weight]
        return cls(
            points, settings, focal_px, centre, landmarks_2d, 1.0 / sigma,
            settings.landmark_weight, robust, np.array([[settings.joint_weight] * 3, eye, eye]),
            np.zeros(len(points)), landmarks_2d, np.zeros(points.basis.shape[1]),
        )  # fmt: skip

    def pixels(self, state: FrameState) -> Array:
        """(L,2) of the points; NaN where they are too near or behind the camera."""
        p = self.points
        rotation, offset, _ = kernel.carry(state.rotmat, state.translation, p.centres)
        return kernel.project(
            p.neutral, p.basis, p.skin, p.columns, rotation, offset, state.expression,
            self.focal_px, self.centre,
        )  # fmt: skip

    def cost(self, state: FrameState) -> float:
        """The energy; infinite for what no camera could see."""
        pixels = self.pixels(state)
        if np.isnan(pixels).any():
            return np.inf
        return self._pixel_cost(pixels) + self._own_terms(state, *_NOTHING)

    def linearise(self, state: FrameState) -> tuple[Array, Array, float]:
        """Matrix (E+15,E+15), half gradient (E+15,) and cost: Gauss-Newton's approximation."""
        p = self.points
        rotation, offset, pivot = kernel.carry(state.rotmat, state.translation, p.centres)
        pixels = kernel.project(
            p.neutral, p.basis, p.skin, p.columns, rotation, offset, state.expression,
            self.focal_px, self.centre,
        )  # fmt: skip
        gradient, curvature = self.pixel_derivatives(pixels)
        matrix, vector = kernel.accumulate(
            p.neutral, p.basis, p.skin, p.share, p.columns, rotation, offset, pivot,
            state.expression, self.focal_px, gradient, curvature,
        )  # fmt: skip
        cost = self._pixel_cost(pixels) + self._own_terms(state, matrix, vector)
        return matrix, vector, cost

    def pixel_derivatives(self, pixels: Array) -> tuple[Array, Array]:
        """Half the gradient (L,2) and a positive stand-in for half the curvature (L,)."""
        error = (pixels - self.landmarks_2d) * self.precision[:, None]
        limit = self.robust**2
        share = limit / (limit + np.einsum("ij,ij->i", error, error))
        weighted = 0.5 * self.landmark_weight * share * share * self.precision
        gradient = weighted[:, None] * error + self.gain[:, None] * (pixels - self.expected)
        return gradient, weighted * self.precision + self.gain

    def _pixel_cost(self, pixels: Array) -> float:
        error = (pixels - self.landmarks_2d) * self.precision[:, None]
        square = np.einsum("ij,ij->i", error, error)
        limit = self.robust**2
        cost = 0.5 * self.landmark_weight * float((limit * square / (limit + square)).sum())
        moved = pixels - self.expected
        return cost + float(self.gain @ np.einsum("ij,ij->i", moved, moved))

    def _own_terms(self, state: FrameState, matrix: Array, vector: Array) -> float:
        """Cost of what is no matter of pixels; its derivatives are added where there is room."""
        s, psi = self.settings, state.expression
        n = len(psi)
        excess = psi - psi.clip(0.0, 1.0)
        cost = s.expression_weight * float(psi @ psi) + s.range_weight * float(excess @ excess)
        change = psi - self.last_expression
        cost += self.smoothness_weight * float(change @ change)
        cost += joint_terms(state.rotmat, self.joint_weights, matrix, vector, n + 3)
        if len(vector):
            diagonal = matrix.ravel()[: n * (n + N_POSE) : n + N_POSE + 1]
            diagonal += s.expression_weight + s.range_weight * (excess != 0.0)
            diagonal += self.smoothness_weight
            vector[:n] += s.expression_weight * psi + s.range_weight * excess
            vector[:n] += self.smoothness_weight * change
        return cost


@dataclass(frozen=True)
class Minimum:
    """Where a minimisation has ended."""

    state: FrameState
    cost: float
    iterations: int


def minimise_frame(
    energy: FrameEnergy, state: FrameState, iterations: int, tolerance: float,
    free: slice | None = None,
) -> Minimum:  # fmt: skip
    """Levenberg-Marquardt: a step that raises the cost is rejected and the damping raised.

    free: columns that may move; all where None. Ends when an iteration lowers the cost by less
    than the share `tolerance` of it. The cost is infinite where no camera could see the start.
    """
    minimise = _minimise_compiled if IS_COMPILED else minimise_interpreted
    size = len(state.expression) + N_POSE
    return minimise(energy, state, iterations, tolerance, free or slice(0, size))


def _minimise_compiled(
    energy: FrameEnergy, state: FrameState, iterations: int, tolerance: float, free: slice
) -> Minimum:
    p, s = energy.points, energy.settings
    numbers = np.array([
        energy.focal_px, *energy.centre, energy.landmark_weight, energy.robust,
        s.expression_weight, s.range_weight, energy.smoothness_weight,
    ])  # fmt: skip
    expression, rotmat, translation, cost, done = loop.minimise_loop(
        p.neutral, p.basis, p.skin, p.share, p.columns, p.centres, energy.landmarks_2d,
        energy.precision, energy.gain, energy.expected, energy.last_expression,
        energy.joint_weights, numbers, state.expression, state.rotmat, state.translation,
        iterations, tolerance, free.start, free.stop,
    )  # fmt: skip
    return Minimum(FrameState(expression, rotmat, translation), float(cost), done)


def minimise_interpreted(
    energy: FrameEnergy, state: FrameState, iterations: int, tolerance: float, free: slice
) -> Minimum:
    """The same without compilation."""
    cost, damping, done = np.inf, loop.FIRST_DAMPING, 0
    equations: tuple[Array, Array] | None = None
    while done < iterations:
        if equations is None:
            if not np.isfinite(energy.cost(state)):
                return Minimum(state, np.inf, done)
            matrix, vector, cost = energy.linearise(state)
            equations = matrix, vector
        done += 1
        step = _step(*equations, damping, free)
        trial = None if step is None else state.step(step)
        trial_cost = np.inf if trial is None else energy.cost(trial)
        if trial is None or not trial_cost < cost:
            damping *= 10.0
            if damping > loop.MOST_DAMPING:
                break
            continue
        won = (cost - trial_cost) / max(cost, 1e-12)
        state, cost, equations = trial, trial_cost, None
        damping = max(damping / 10.0, loop.LEAST_DAMPING)
        if won < tolerance:
            break
    return Minimum(state, cost, done)


def _step(matrix: Array, vector: Array, damping: float, free: slice) -> Array | None:
    """-(H + damping diag H)^-1 g; None where the matrix is not positive definite."""
    held = matrix[free, free].copy()
    diagonal = held.ravel()[:: len(held) + 1]
    diagonal += damping * diagonal + loop.RIDGE
    _, solution, info = lapack.dposv(held, vector[free], lower=True)
    if info != 0:
        return None
    step = np.zeros(len(vector))
    step[free] = -solution
    return step
