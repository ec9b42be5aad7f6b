"""The energy of one frame with a person and a camera that are given, and its minimisation.

The terms and weights are those of `backend.fit.energy` for the second of two frames whose first is
held: a test holds cost, gradient and matrix to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backend.fit.energy import TORSION
from backend.fit.settings import FitSettings

from . import kernel, loop
from .points import N_POSE, FramePoints
from .turning import turn

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
        landmarks_2d: Array, precision: Array, robust: float,
    ) -> FrameEnergy:  # fmt: skip
        """Without a last frame; precision (L,) is 1 / sigma, 0 where there is no landmark."""
        eye = [settings.eye_weight, settings.eye_weight, TORSION * settings.eye_weight]
        return cls(
            points, settings, focal_px, centre, landmarks_2d, precision,
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
        return self._cost(pixels, state, *_NOTHING)

    def linearise(self, state: FrameState) -> tuple[Array, Array, float]:
        """Matrix (E+15,E+15), half gradient (E+15,) and cost: Gauss-Newton's approximation."""
        p = self.points
        rotation, offset, pivot = kernel.carry(state.rotmat, state.translation, p.centres)
        pixels = self.pixels(state)
        gradient, curvature = self.pixel_derivatives(pixels)
        matrix, vector = kernel.accumulate(
            p.neutral, p.basis, p.skin, p.share, p.columns, rotation, offset, pivot,
            state.expression, self.focal_px, gradient, curvature,
        )  # fmt: skip
        return matrix, vector, self._cost(pixels, state, matrix, vector)

    def pixel_derivatives(self, pixels: Array) -> tuple[Array, Array]:
        """Half the gradient (L,2) and a positive stand-in for half the curvature (L,)."""
        gradient, curvature = np.empty_like(pixels), np.empty(len(pixels))
        self._pixel_cost(pixels, gradient, curvature)
        return gradient, curvature

    def numbers(self) -> Array:
        """The scalars, as `loop` takes them."""
        s = self.settings
        return np.array([
            self.focal_px, *self.centre, self.landmark_weight, self.robust, s.expression_weight,
            s.range_weight, self.smoothness_weight,
        ])  # fmt: skip

    def _cost(self, pixels: Array, state: FrameState, matrix: Array, vector: Array) -> float:
        own = loop.own_terms(
            state.expression, self.last_expression, state.rotmat, self.joint_weights,
            self.numbers(), matrix, vector,
        )  # fmt: skip
        return float(own + self._pixel_cost(pixels, np.empty((0, 2)), np.empty(0)))

    def _pixel_cost(self, pixels: Array, gradient: Array, curvature: Array) -> float:
        cost: float = loop.pixel_terms(
            pixels, self.landmarks_2d, self.precision, self.gain, self.expected, self.numbers(),
            gradient, curvature,
        )  # fmt: skip
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
    """Levenberg-Marquardt (`loop.minimise_loop`); free: columns that may move, all where None.

    The cost is infinite where no camera could see the start.
    """
    p = energy.points
    free = free or slice(0, len(state.expression) + N_POSE)
    expression, rotmat, translation, cost, done = loop.minimise_loop(
        p.neutral, p.basis, p.skin, p.share, p.columns, p.centres, energy.landmarks_2d,
        energy.precision, energy.gain, energy.expected, energy.last_expression,
        energy.joint_weights, energy.numbers(), state.expression, state.rotmat,
        state.translation, iterations, tolerance, free.start, free.stop,
    )  # fmt: skip
    return Minimum(FrameState(expression, rotmat, translation), float(cost), done)
