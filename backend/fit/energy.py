"""The whole energy of a shot: its cost, and its normal equations from the terms' Jacobians."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from backend.head.prior import GaussianMixture

from . import terms
from .posed_points import PixelJacobian, PosedPoints, State
from .settings import FitSettings
from .solver import NormalEquations

# Frames whose Jacobians are held at once: they stay in the cache, and memory does not grow.
CHUNK = 16
# Landmarks of the temporal term, every so many: neighbours move alike.
TEMPORAL_STRIDE = 4
# Rotation about the gaze cannot be seen: held a hundred times harder than the gaze itself.
TORSION = 100.0
# What is left of the priors where there is nothing to see: enough that no frame is undetermined.
UNSEEN = 1e-3


@dataclass(frozen=True)
class Energy:
    """Terms, weights and observations; a pure function of the state."""

    points: PosedPoints
    centre: Tensor
    """(2,) principal point, pixels."""
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
    robust: float
    """Deviations beyond which a landmark counts less."""
    shared: bool = True
    """Whether derivatives by identity and focal length are wanted."""

    def cost(self, state: State) -> float:
        """The energy."""
        return float(self.value(state))

    def value(self, state: State) -> Tensor:
        """The energy, in double precision, as a function that autodiff can follow."""
        s = self.settings
        pixels = self.points.pixels(state, self.centre)
        parts = [
            terms.landmark_cost(pixels, self.target, s.landmark_weight, self.robust).double().sum(),
            s.identity_weight * terms.identity_cost(state.identity, self.prior).double(),
            s.focal_weight * (state.log_focal - self.start_log_focal).double().square(),
        ]
        parts += [r.double().square().sum() for r, _ in self._expression_terms(state)]
        parts.append(self._joint_term(state)[0].double().square().sum())
        if self.link is not None:
            moved = terms.temporal_residual(pixels[:, ::TEMPORAL_STRIDE], self._temporal_gain())
            changed = terms.change_residual(state.expression, self._change_gain())
            parts += [moved.double().square().sum(), changed.double().square().sum()]
        return torch.stack(parts).sum()

    def linearise(self, state: State) -> NormalEquations:
        """Normal equations at a state, by the Gauss-Newton approximation."""
        frames, k = state.expression.shape
        size = k + state.rotmat[0, ..., 0].numel() + 3
        equations = NormalEquations.zeros(
            frames, size, len(state.identity) + 1, state.expression, self.link is not None
        )
        self._add_landmarks(equations, state)
        for residual, derivative in self._expression_terms(state):
            equations.add_diagonal(slice(0, k), residual, derivative)
        residual, turn = self._joint_term(state)
        jacobian = residual.new_zeros(frames, residual.shape[-1], size)
        jacobian[:, :, k + 3 : size - 3] = turn
        equations.add(slice(0, frames), residual, jacobian, None)
        if self.link is not None:
            gain = self._change_gain()
            equations.add_change(slice(0, k), terms.change_residual(state.expression, gain), gain)
        if self.shared:
            self._add_shared(equations, state)
        return equations

    def _expression_terms(self, state: State) -> list[tuple[Tensor, Tensor]]:
        s = self.settings
        return [
            terms.expression_residual(state.expression, self._held() * s.expression_weight),
            terms.range_residual(state.expression, s.range_weight),
        ]

    def _joint_term(self, state: State) -> tuple[Tensor, Tensor]:
        s = self.settings
        eye = [s.eye_weight, s.eye_weight, TORSION * s.eye_weight]
        weights = self.face_size.new_tensor([[s.joint_weight] * 3, eye, eye])
        return terms.joint_residual(state.rotmat[:, 1:], self._held()[:, None, None] * weights)

    def _held(self) -> Tensor:
        return self.seen.clamp_min(UNSEEN)

    def _temporal_gain(self) -> Tensor:
        assert self.link is not None
        return self.link.sqrt() * (self.settings.temporal_weight**0.5 / (0.01 * self.face_size))

    def _change_gain(self) -> Tensor:
        assert self.link is not None
        return (self.settings.smoothness_weight * self.link).sqrt()

    def _add_landmarks(self, equations: NormalEquations, state: State) -> None:
        """The landmark and temporal terms, some frames at a time."""
        s = self.settings
        frames = len(state.expression)
        last: _Sparse | None = None
        for start in range(0, frames, CHUNK):
            rows = slice(start, min(start + CHUNK, frames))
            pixels, jacobian = self.points.pixels_jacobian(
                state.frames(rows), self.centre, self.shared
            )
            if self.link is not None:
                here = _Sparse.of(pixels, jacobian)
                both = here if last is None else here.after(last)
                self._add_temporal(equations, slice(max(start - 1, 0), rows.stop - 1), both)
                last = here.last()
            target = terms.Target(self.target.landmarks_2d[rows], self.target.precision[rows])
            residual, factor = terms.landmark_residual(
                pixels, target, s.landmark_weight, self.robust
            )
            by_shared = jacobian.by_shared
            equations.add(
                rows,
                residual,
                jacobian.by_frame.mul_(factor[..., None]).flatten(1, 2),
                None if by_shared is None else by_shared.mul_(factor[..., None]).flatten(1, 2),
            )

    def _add_temporal(self, equations: NormalEquations, rows: slice, sparse: _Sparse) -> None:
        if rows.stop <= rows.start:
            return
        gain = self._temporal_gain()[rows]
        residual = terms.temporal_residual(sparse.pixels, gain)
        by_frame = sparse.by_frame
        scale = gain[:, None, None]
        equations.add_between(
            rows, residual, -scale * by_frame[:-1], scale * by_frame[1:],
            None if sparse.by_shared is None else scale * sparse.by_shared.diff(dim=0),
        )  # fmt: skip

    def _add_shared(self, equations: NormalEquations, state: State) -> None:
        s = self.settings
        gradient, hessian = terms.identity_derivatives(state.identity, self.prior)
        # Half of gradient and Hessian: the equations are those of sum r^2.
        equations.shared[:-1, :-1] += 0.5 * s.identity_weight * hessian
        equations.shared_gradient[:-1] += 0.5 * s.identity_weight * gradient
        equations.shared[-1, -1] += s.focal_weight
        equations.shared_gradient[-1] += s.focal_weight * (state.log_focal - self.start_log_focal)


@dataclass(frozen=True)
class _Sparse:
    """The temporal term's landmarks of some frames, with their Jacobians (n,R,...)."""

    pixels: Tensor
    by_frame: Tensor
    by_shared: Tensor | None

    @classmethod
    def of(cls, pixels: Tensor, jacobian: PixelJacobian) -> _Sparse:
        """Every so many of the landmarks, copied."""
        shared = jacobian.by_shared
        return cls(
            pixels[:, ::TEMPORAL_STRIDE],
            jacobian.by_frame[:, ::TEMPORAL_STRIDE].flatten(1, 2).clone(),
            None if shared is None else shared[:, ::TEMPORAL_STRIDE].flatten(1, 2).clone(),
        )

    def last(self) -> _Sparse:
        """The last frame alone."""
        shared = self.by_shared
        return _Sparse(
            self.pixels[-1:], self.by_frame[-1:], None if shared is None else shared[-1:]
        )

    def after(self, other: _Sparse) -> _Sparse:
        """These frames with `other` before them."""
        shared = None
        if self.by_shared is not None and other.by_shared is not None:
            shared = torch.cat([other.by_shared, self.by_shared])
        return _Sparse(
            torch.cat([other.pixels, self.pixels]),
            torch.cat([other.by_frame, self.by_frame]),
            shared,
        )
