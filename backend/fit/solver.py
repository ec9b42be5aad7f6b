"""Levenberg-Marquardt on block-arrow normal equations; it knows nothing about faces.

Unknowns: F blocks of P parameters, neighbours of which may be coupled, and S shared parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import torch
from torch import Tensor

# Damping starts low since the start is a good one, and gives up where no step helps any more.
FIRST_DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-3, 1e-7, 1e6
# Added to every diagonal entry, relative to the mean, so that unseen parameters stay where they are.
RIDGE = 1e-7


@dataclass
class NormalEquations:
    """Half the gradient and the Gauss-Newton half Hessian of a cost sum r^2."""

    block: Tensor
    """(F,P,P) diagonal blocks."""
    border: Tensor
    """(F,P,S) blocks against the shared parameters."""
    shared: Tensor
    """(S,S)"""
    block_gradient: Tensor
    """(F,P)"""
    shared_gradient: Tensor
    """(S,)"""
    coupling: Tensor | None = None
    """(F-1,P,P) blocks of each frame against the next; None where frames are independent."""
    cost: float = 0.0

    @classmethod
    def zeros(cls, frames: int, size: int, shared: int, like: Tensor, coupled: bool) -> NormalEquations:
        """Empty equations on the device and in the precision of `like`."""
        return cls(
            like.new_zeros(frames, size, size), like.new_zeros(frames, size, shared),
            like.new_zeros(shared, shared), like.new_zeros(frames, size), like.new_zeros(shared),
            like.new_zeros(frames - 1, size, size) if coupled else None,
        )  # fmt: skip

    def add(self, rows: slice, residual: Tensor, by_block: Tensor, by_shared: Tensor | None) -> None:
        """Add residuals (n,R) of the frames in rows with Jacobians (n,R,P) and (n,R,S)."""
        transposed = by_block.transpose(-1, -2)
        self.block[rows] += transposed @ by_block
        self.block_gradient[rows] += (transposed @ residual[..., None])[..., 0]
        if by_shared is not None:
            self.border[rows] += transposed @ by_shared
            flat = by_shared.reshape(-1, by_shared.shape[-1])
            self.shared += flat.T @ flat
            self.shared_gradient += flat.T @ residual.reshape(-1)
        self.cost += float(residual.double().square().sum())

    def add_between(self, row: slice, residual: Tensor, by_this: Tensor, by_next: Tensor, by_shared: Tensor | None) -> None:
        """Add residuals (n,R) that couple frames in row with the ones after each."""
        assert self.coupling is not None
        after = slice(row.start + 1, row.stop + 1)
        cost = self.cost
        self.add(row, residual, by_this, by_shared)
        self.cost = cost
        shared, gradient = self.shared.clone(), self.shared_gradient.clone()
        self.add(after, residual, by_next, by_shared)
        # The shared part belongs to the residual once, not once for each of its two frames.
        self.shared, self.shared_gradient = shared, gradient
        self.coupling[row] += by_this.transpose(-1, -2) @ by_next


def solve(equations: NormalEquations, damping: float, free_block: Tensor, free_shared: Tensor) -> tuple[Tensor, Tensor]:
    """The damped step: blocks (F,P) and shared (S,), by block elimination of the arrow.

    (H + damping diag H) step = -gradient; parameters that are not free (masks (P,), (S,)) stay.
    The coupled blocks are eliminated from first to last: block-tridiagonal Cholesky, linear in F.
    """
    e = equations
    mask_b, mask_s = free_block.to(e.block.dtype), free_shared.to(e.block.dtype)
    block = e.block.double() * mask_b[:, None] * mask_b
    border = e.border.double() * mask_b[:, None] * mask_s
    shared = e.shared.double() * mask_s[:, None] * mask_s
    gradient = e.block_gradient.double() * mask_b
    for matrix, mask in ((block, mask_b), (shared, mask_s)):
        diagonal = matrix.diagonal(dim1=-2, dim2=-1)
        ridge = RIDGE * diagonal.mean() + 1e-12
        diagonal += damping * diagonal + ridge + (1.0 - mask.double()) * (1.0 + diagonal.mean())
    right = torch.cat([gradient[..., None], border], dim=-1)
    if e.coupling is None:
        factor = torch.linalg.cholesky(block)
        solved = torch.cholesky_solve(right, factor)
        inner = solved
    else:
        coupling = e.coupling.double() * mask_b[:, None] * mask_b
        factors, reduced, inner_rows = [], [], []
        diagonal_block, row = block[0], right[0]
        for f in range(len(block)):
            factors.append(torch.linalg.cholesky(diagonal_block))
            reduced.append(row)
            inner_rows.append(torch.cholesky_solve(row, factors[f]))
            if f + 1 < len(block):
                across = torch.cholesky_solve(coupling[f], factors[f])
                diagonal_block = block[f + 1] - coupling[f].T @ across
                row = right[f + 1] - coupling[f].T @ inner_rows[f]
        right, inner = torch.stack(reduced), torch.stack(inner_rows)
    schur = shared - torch.einsum("fps,fpt->st", right[..., 1:], inner[..., 1:])
    target = e.shared_gradient.double() * mask_s - torch.einsum("fps,fp->s", right[..., 1:], inner[..., 0])
    step_shared = -torch.cholesky_solve(target[:, None], torch.linalg.cholesky(schur))[:, 0]
    step_block = -(inner[..., 0] + inner[..., 1:] @ step_shared)
    if e.coupling is not None:
        # Back substitution: each frame answers the one after it.
        for f in range(len(block) - 2, -1, -1):
            back = torch.cholesky_solve(coupling[f] @ step_block[f + 1][:, None], factors[f])
            step_block[f] -= back[:, 0]
    return step_block.to(e.block.dtype), step_shared.to(e.block.dtype)


class Steppable(Protocol):
    """A state that increments can be applied to."""

    def step(self, frame: Tensor, shared: Tensor, /) -> Steppable: ...


StateT = TypeVar("StateT", bound=Steppable)


@dataclass
class Minimisation:
    """How a minimisation went."""

    costs: list[float] = field(default_factory=list)
    """Cost at the start and after every accepted step; it never rises."""
    rejected: int = 0
    """Steps that would have raised the cost and were not taken."""


def minimise(
    state: StateT, linearise: Callable[[StateT], NormalEquations], cost: Callable[[StateT], float],
    free_block: Tensor, free_shared: Tensor, iterations: int, tolerance: float,
    on_iteration: Callable[[int], None] = lambda i: None,
) -> tuple[StateT, Minimisation]:  # fmt: skip
    """Levenberg-Marquardt: a step that raises the cost is rejected and the damping raised.

    linearise gives the normal equations (with the cost) at a state; cost evaluates a trial.
    on_iteration is called before each iteration and may raise to stop.
    """
    report = Minimisation()
    damping = FIRST_DAMPING
    equations = linearise(state)
    report.costs.append(equations.cost)
    for i in range(iterations):
        on_iteration(i)
        improved = False
        while damping <= MOST_DAMPING:
            try:
                step = solve(equations, damping, free_block, free_shared)
            except torch.linalg.LinAlgError:
                damping *= 10.0
                continue
            trial: StateT = state.step(*step)  # type: ignore[assignment]
            value = cost(trial)
            if value < report.costs[-1]:
                improved = True
                break
            report.rejected += 1
            damping *= 6.0
        if not improved:
            break
        state = trial
        damping = max(damping / 4.0, LEAST_DAMPING)
        before = report.costs[-1]
        report.costs.append(value)
        if before - value < tolerance * before or i == iterations - 1:
            break
        equations = linearise(state)
    return state, report
