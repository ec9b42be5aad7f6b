"""The whole energy of a shot: its cost, and its normal equations from the terms' Jacobians."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from backend.head.prior import GaussianMixture

from . import terms
from .posed_points import PosedPoints, State
from .settings import FitSettings
from .solver import NormalEquations

# Frames whose Jacobians are held at once: memory does not grow with the shot.
CHUNK = 24
# Landmarks of the temporal term, every so many: neighbours move alike.
TEMPORAL_STRIDE = 4
# Rotation about the gaze cannot be seen: held a hundred times harder than the gaze itself.
TORSION = 100.0


@dataclass(frozen=True)
class Energy:
    """Terms, weights and observations; a pure function of the state."""

    points: PosedPoints
    target: terms.Target
    settings: FitSettings
    prior: GaussianMixture
    face_size: Tensor
    """() pixels: what deviations of 1 % refer to."""
    link: Tensor | None
    """(F-1,) 1 where neighbouring frames belong together, 0 at cuts; None for loose frames."""
    start_log_focal: Tensor
    robust: float

    def _joint_weights(self) -> Tensor:
        s = self.settings
        eye = [s.eye_weight, s.eye_weight, TORSION * s.eye_weight]
        return self.face_size.new_tensor([[s.joint_weight] * 3, eye, eye])

    def _temporal_gain(self) -> Tensor:
        assert self.link is not None
        return self.link.sqrt() * (self.settings.temporal_weight**0.5 / (0.01 * self.face_size))

    def _temporal_rows(self) -> Tensor:
        return torch.arange(0, self.target.precision.shape[1], TEMPORAL_STRIDE, device=self.face_size.device)

    def cost(self, state: State) -> float:
        """The energy."""
        s = self.settings
        pixels = self.points.pixels(state)
        total = terms.landmark_cost(pixels, self.target, s.landmark_weight, self.robust).double().sum()
        for residual, _ in self._frame_terms(state):
            total = total + residual.double().square().sum()
        if self.link is not None:
            between = terms.temporal_residual(pixels[:, self._temporal_rows()], self._temporal_gain())
            change = (s.smoothness_weight * self.link).sqrt()[:, None] * state.expression.diff(dim=0)
            total = total + between.double().square().sum() + change.double().square().sum()
        identity, _, _ = terms.identity_cost(state.identity, self.prior)
        focal = s.focal_weight * (state.log_focal - self.start_log_focal).square()
        return float(total + s.identity_weight * identity + focal)

    def _frame_terms(self, state: State) -> list[tuple[Tensor, Tensor]]:
        """Residuals (F,R) with Jacobians (F,R,67) of the terms that see one frame only."""
        s = self.settings
        frames, k = state.expression.shape
        out = []
        for residual, diagonal in (
            terms.expression_residual(state.expression, s.expression_weight),
            terms.range_residual(state.expression, s.range_weight),
        ):
            jacobian = residual.new_zeros(frames, k, k + 15)
            jacobian[:, :, :k] = torch.diag_embed(diagonal)
            out.append((residual, jacobian))
        residual, turn = terms.joint_residual(state.rotmat[:, 1:], self._joint_weights())
        jacobian = residual.new_zeros(frames, 9, k + 15)
        jacobian[:, :, k + 3 : k + 12] = turn
        out.append((residual, jacobian))
        return out

    def linearise(self, state: State) -> NormalEquations:
        """Normal equations and cost at a state."""
        s = self.settings
        frames, k = state.expression.shape
        n_shared = len(state.identity) + 1
        equations = NormalEquations.zeros(frames, k + 15, n_shared, state.expression, self.link is not None)
        rows = self._temporal_rows()
        last: tuple[Tensor, Tensor, Tensor] | None = None
        for start in range(0, frames, CHUNK):
            part = slice(start, min(start + CHUNK, frames))
            pixels, by_frame, by_shared = self.points.pixels_jacobian(state.frames(part))
            target = terms.Target(self.target.landmarks_2d[part], self.target.precision[part])
            residual, factor = terms.landmark_residual(pixels, target, s.landmark_weight, self.robust)
            equations.add(
                part, residual, (factor[..., None] * by_frame).flatten(1, 2), (factor[..., None] * by_shared).flatten(1, 2)
            )
            if self.link is not None:
                here = tuple(x[:, rows].flatten(1, 2) for x in (pixels[..., None], by_frame, by_shared))
                if last is not None:
                    here = tuple(torch.cat([a, b]) for a, b in zip(last, here, strict=True))
                    self._add_temporal(equations, slice(start - 1, part.stop - 1), here)
                else:
                    self._add_temporal(equations, slice(start, part.stop - 1), here)
                last = tuple(x[-1:] for x in here)  # type: ignore[assignment]
        for residual, jacobian in self._frame_terms(state):
            equations.add(slice(0, frames), residual, jacobian, None)
        if self.link is not None:
            gain = (s.smoothness_weight * self.link).sqrt()
            residual = gain[:, None] * state.expression.diff(dim=0)
            jacobian = residual.new_zeros(frames - 1, k, k + 15)
            jacobian[:, :, :k] = gain[:, None, None] * torch.eye(k, dtype=gain.dtype, device=gain.device)
            equations.add_between(slice(0, frames - 1), residual, -jacobian, jacobian, None)
        self._add_shared(equations, state)
        equations.cost = self.cost(state)
        return equations

    def _add_temporal(self, equations: NormalEquations, rows: slice, parts: tuple[Tensor, ...]) -> None:
        if rows.stop <= rows.start:
            return
        pixels, by_frame, by_shared = parts
        gain = self._temporal_gain()[rows][:, None]
        residual = gain * (pixels[1:, :, 0] - pixels[:-1, :, 0])
        gain = gain[..., None]
        equations.add_between(
            rows, residual, -gain * by_frame[:-1], gain * by_frame[1:], gain * (by_shared[1:] - by_shared[:-1])
        )

    def _add_shared(self, equations: NormalEquations, state: State) -> None:
        s = self.settings
        _, gradient, hessian = terms.identity_cost(state.identity, self.prior)
        # Half of gradient and Hessian: the equations are those of sum r^2.
        equations.shared[:-1, :-1] += 0.5 * s.identity_weight * hessian
        equations.shared_gradient[:-1] += 0.5 * s.identity_weight * gradient
        equations.shared[-1, -1] += s.focal_weight
        equations.shared_gradient[-1] += s.focal_weight * (state.log_focal - self.start_log_focal)
