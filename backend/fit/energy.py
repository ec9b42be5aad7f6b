"""The whole energy of a shot: its cost, and its normal equations from the terms' Jacobians."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from backend.head.prior import GaussianMixture

from . import terms
from .intersection import Intersection
from .linearise import add_motion, add_pixels
from .posed_points import PosedPoints
from .settings import FitSettings
from .size import SizeSplit
from .solver import NormalEquations
from .state import CAMERA_SIZE, POSE_SIZE, State
from .views import pixels_of

# Rotation about the gaze cannot be seen: held a hundred times harder than the gaze itself.
TORSION = 100.0
# What is left of the priors where there is nothing to see: enough that no frame is undetermined.
UNSEEN = 1e-3


@dataclass(frozen=True)
class Energy:
    """Terms, weights and observations; a pure function of the state."""

    points: PosedPoints
    centres: Tensor
    """(C,2) principal points, pixels."""
    target: terms.Target
    seen: Tensor
    """(F,) 1 for frames with landmarks. The others have no prior of their own, lest it draw them
    to rest: their neighbours carry them."""
    settings: FitSettings
    prior: GaussianMixture
    face_size: Tensor
    """() pixels: what the temporal term's per cents refer to."""
    link: Tensor | None
    """(F-1,) 1 where neighbouring frames belong together, 0 at cuts; None for loose frames."""
    start_log_focal: Tensor
    """(C,)"""
    moving: Tensor
    """(n,) points of the temporal term."""
    motion: Tensor
    """(F-1,C,n,2) pixels by which they go on with the face; empty for loose frames."""
    low: Tensor
    """(E,) and `high` (E,): ranges of the expressions."""
    high: Tensor
    size_split: SizeSplit
    intersection: Intersection | None = None
    shared: bool = True
    """Whether derivatives by identity and cameras are wanted."""

    def cost(self, state: State) -> float:
        """The energy."""
        return float(self.value(state))

    def value(self, state: State) -> Tensor:
        """The energy, in double precision, as a function that autodiff can follow."""
        s = self.settings
        points = self.points.at_size(state)
        pixels = pixels_of(points.pose(state).points, state, self.centres)
        identity, correction = self._split(state)
        parts = [
            terms.landmark_cost(pixels, self.target, s.landmark_weight).double().sum(),
            s.identity_weight * self._identity_cost(identity),
            0.5 * s.identity_weight * correction.double().square().sum(),
            0.5 * s.identity_weight * state.offset.double().square().sum(),
            s.focal_weight * (state.log_focal - self.start_log_focal).double().square().sum(),
            s.zoom_weight * state.zoom.double().square().sum(),
        ]
        parts += [r.double().square().sum() for r, _ in self._expression_terms(state)]
        parts.append(self._joint_term(state)[0].double().square().sum())
        if self.intersection is not None:
            meeting = self.intersection.at_size(state)
            parts.append(meeting.cost(state, s.intersection_weight).double().sum())
        if self.link is not None:
            parts.append(self._temporal().cost(pixels[:, :, self.moving]).double().sum())
            for _, values, change in self._changes(state):
                parts.append(change.cost(values).double())
        return torch.stack(parts).sum()

    def linearise(self, state: State) -> NormalEquations:
        """Normal equations at a state, by the Gauss-Newton approximation."""
        s = self.settings
        frames, e = state.expression.shape
        size, shared = e + POSE_SIZE, state.n_shared
        equations = NormalEquations.zeros(
            frames, size, shared, state.expression, self.link is not None
        )
        temporal = None if self.link is None else self._temporal()
        points, moving = self.points.at_size(state), self.moving
        add_pixels(
            equations, points, state, self.centres, self.target, s.landmark_weight, moving,
            temporal, self.shared,
        )  # fmt: skip
        if temporal is not None:
            part = points.subset(moving)
            add_motion(equations, part, state, self.centres, temporal, self.shared)
            for columns, values, change in self._changes(state):
                equations.add_change(columns, *change.derivatives(values))
        for residual, derivative in self._expression_terms(state):
            equations.add_diagonal(slice(0, e), residual, derivative)
        if self.shared:
            self._add_expression_by_size(equations, state)
        residual, turn = self._joint_term(state)
        jacobian = residual.new_zeros(frames, residual.shape[-1], size)
        jacobian[:, :, e + 3 : e + 12] = turn
        equations.add(slice(0, frames), residual, jacobian, None)
        zoom = s.zoom_weight**0.5
        equations.add_diagonal(
            slice(size - 1, size), zoom * state.zoom[:, None],
            torch.full_like(state.zoom[:, None], zoom),
        )  # fmt: skip
        if self.intersection is not None:
            meeting = self.intersection.at_size(state)
            meeting.add(equations, state, s.intersection_weight, self.shared)
        if self.shared:
            self._add_shared(equations, state)
        return equations

    def _split(self, state: State) -> tuple[Tensor, Tensor]:
        """Coefficients of the head, and those of its free-form correction."""
        count = self.prior.means.shape[-1]
        return state.identity[:count], state.identity[count:]

    def _identity_cost(self, identity: Tensor) -> Tensor:
        return terms.identity_cost(self.size_split.at_mean_size(identity), self.prior).double()

    def _expression_terms(self, state: State) -> list[tuple[Tensor, Tensor]]:
        s = self.settings
        return [
            terms.expression_residual(state.expression, self._expression_weight(state)),
            terms.range_residual(state.expression, s.range_weight, self.low, self.high),
        ]

    def _expression_weight(self, state: State) -> Tensor:
        """(F,) Expressions are metres on every head: on a small one less of them shows as much.

        Their prior is on what shows, lest it shrink the head; see `size.py`.
        """
        size = self.size_split.size(self._split(state)[0])
        return self._held() * self.settings.expression_weight / size.square()

    def _add_expression_by_size(self, equations: NormalEquations, state: State) -> None:
        """The expression term's rows sqrt(w) psi / size by identity, by way of the size."""
        residual, by_own = terms.expression_residual(
            state.expression, self._expression_weight(state)
        )
        identity, _ = self._split(state)
        growth, e, n = self.size_split.growth, state.expression.shape[-1], len(identity)
        by_size = -residual / self.size_split.size(identity)
        equations.border[:, :e, :n] += (by_own * by_size)[..., None] * growth
        equations.shared[:n, :n] += by_size.square().sum() * growth[:, None] * growth
        equations.shared_gradient[:n] += (by_size * residual).sum() * growth

    def _joint_term(self, state: State) -> tuple[Tensor, Tensor]:
        s = self.settings
        eye = [s.eye_weight, s.eye_weight, TORSION * s.eye_weight]
        weights = self.face_size.new_tensor([[s.joint_weight] * 3, eye, eye])
        return terms.joint_residual(state.rotmat[:, 1:], self._held()[:, None, None] * weights)

    def _held(self) -> Tensor:
        return self.seen.clamp_min(UNSEEN)

    def _temporal(self) -> terms.Temporal:
        assert self.link is not None
        s, unit = self.settings, 0.01 * self.face_size
        gain = self.link.sqrt() * (s.temporal_weight**0.5 / unit)
        return terms.Temporal(gain, self.motion, s.temporal_robust * unit)

    def _changes(self, state: State) -> list[tuple[slice, Tensor, terms.Change]]:
        """What is smooth from frame to frame: columns, values (F,n) and how smooth."""
        assert self.link is not None
        s, (_, e) = self.settings, state.expression.shape
        zoom = slice(e + POSE_SIZE - 1, e + POSE_SIZE)
        quick = terms.Change(s.smoothness_weight * self.link, s.smoothness_robust)
        slow = terms.Change(s.zoom_smoothness * self.link, math.inf)
        return [(slice(0, e), state.expression, quick), (zoom, state.zoom[:, None], slow)]

    def _add_shared(self, equations: NormalEquations, state: State) -> None:
        s = self.settings
        identity, correction = self._split(state)
        n, k = len(identity), len(state.identity)
        turn = self.size_split.derivative(identity)
        gradient, hessian = terms.identity_derivatives(
            self.size_split.at_mean_size(identity), self.prior
        )
        gradient, hessian = turn.T @ gradient, turn.T @ hessian @ turn
        # Half of gradient and Hessian: the equations are those of sum r^2.
        equations.shared[:n, :n] += 0.5 * s.identity_weight * hessian
        equations.shared_gradient[:n] += 0.5 * s.identity_weight * gradient
        diagonal = equations.shared.diagonal()
        diagonal[n:k] += 0.5 * s.identity_weight
        equations.shared_gradient[n:k] += 0.5 * s.identity_weight * correction
        cameras = state.camera_columns
        focal = slice(k, cameras.stop, CAMERA_SIZE)
        diagonal[focal] += s.focal_weight
        off = state.log_focal - self.start_log_focal
        equations.shared_gradient[focal] += s.focal_weight * off
        diagonal[cameras.stop :] += 0.5 * s.identity_weight
        equations.shared_gradient[cameras.stop :] += (
            0.5 * s.identity_weight * state.offset.flatten()
        )

    def with_shared(self, shared: bool) -> Energy:
        """With derivatives by identity and cameras, or without."""
        return replace(self, shared=shared)
