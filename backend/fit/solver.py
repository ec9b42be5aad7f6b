"""Levenberg-Marquardt on block-arrow normal equations; it knows nothing about faces.

Unknowns: F blocks of P parameters, neighbours of which may be coupled, and S shared parameters.
The matrix is block-tridiagonal with a border:

    [ B0  C0          E0 ]
    [ C0' B1  C1      E1 ]
    [     C1' B2 ...  E2 ]
    [ E0' E1' E2 ...  S  ]

A block Cholesky sweep eliminates the blocks one after the other, and the Schur complement of the
border gives the shared step: exact, and linear in F.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import torch
from torch import Tensor

# Damping starts low since starts are good, and gives up where no step helps any more.
FIRST_DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-4, 1e-9, 1e6
# A step under more damping than this may be small because of it: not yet a sign of a minimum.
FAIR_DAMPING = 1e-6
# By how much a rejected step raises the damping at first.
RAISE = 8.0
# Added to every diagonal entry, relative to the mean: unseen parameters stay where they are.
RIDGE = 1e-9


@dataclass
class NormalEquations:
    """Half the gradient and the Gauss-Newton half Hessian of a cost sum r^2."""

    block: Tensor
    """(F,P,P) diagonal blocks B."""
    border: Tensor
    """(F,P,S) blocks E against the shared parameters."""
    shared: Tensor
    """(S,S)"""
    block_gradient: Tensor
    """(F,P)"""
    shared_gradient: Tensor
    """(S,)"""
    coupling: Tensor | None = None
    """(F-1,P,P) blocks C of each frame against the next; None where frames are independent."""

    @classmethod
    def zeros(
        cls, frames: int, size: int, shared: int, like: Tensor, coupled: bool
    ) -> NormalEquations:
        """Empty equations on the device and in the precision of `like`."""
        return cls(
            like.new_zeros(frames, size, size), like.new_zeros(frames, size, shared),
            like.new_zeros(shared, shared), like.new_zeros(frames, size), like.new_zeros(shared),
            like.new_zeros(frames - 1, size, size) if coupled else None,
        )  # fmt: skip

    def add(
        self, rows: slice, residual: Tensor, by_block: Tensor, by_shared: Tensor | None
    ) -> None:
        """Add residuals (n,R) of the blocks in rows with Jacobians (n,R,P) and (n,R,S)."""
        transposed = by_block.transpose(-1, -2)
        self.block[rows] += transposed @ by_block
        self.block_gradient[rows] += (transposed @ residual[..., None])[..., 0]
        if by_shared is not None:
            self.border[rows] += transposed @ by_shared
            self._add_shared(residual, by_shared)

    def add_between(
        self, rows: slice, residual: Tensor, by_this: Tensor, by_next: Tensor,
        by_shared: Tensor | None,
    ) -> None:  # fmt: skip
        """Add residuals (n,R) that couple the blocks in rows with the ones after each."""
        assert self.coupling is not None
        after = slice(rows.start + 1, rows.stop + 1)
        self.add(rows, residual, by_this, None)
        self.add(after, residual, by_next, None)
        self.coupling[rows] += by_this.transpose(-1, -2) @ by_next
        if by_shared is not None:
            self.border[rows] += by_this.transpose(-1, -2) @ by_shared
            self.border[after] += by_next.transpose(-1, -2) @ by_shared
            self._add_shared(residual, by_shared)

    def add_diagonal(self, columns: slice, residual: Tensor, derivative: Tensor) -> None:
        """Add residuals (F,n) that see one parameter of their block each, with derivative (F,n)."""
        self.block.diagonal(dim1=-2, dim2=-1)[:, columns] += derivative.square()
        self.block_gradient[:, columns] += derivative * residual

    def add_change(self, columns: slice, pull: Tensor, curvature: Tensor) -> None:
        """Add a function of what blocks have more than those before: half its gradient by the later
        ones (F-1,n), and its curvature (F-1,n)."""
        assert self.coupling is not None
        diagonal = self.block.diagonal(dim1=-2, dim2=-1)
        diagonal[:-1, columns] += curvature
        diagonal[1:, columns] += curvature
        self.coupling.diagonal(dim1=-2, dim2=-1)[:, columns] -= curvature
        self.block_gradient[:-1, columns] -= pull
        self.block_gradient[1:, columns] += pull

    def _add_shared(self, residual: Tensor, by_shared: Tensor) -> None:
        for r, jacobian in zip(residual, by_shared, strict=True):
            self.shared.addmm_(jacobian.T, jacobian)
            self.shared_gradient.addmv_(jacobian.T, r)


def solve(
    equations: NormalEquations, damping: float, free_block: Tensor, free_shared: Tensor
) -> tuple[Tensor, Tensor]:
    """The damped step: blocks (F,P) and shared (S,), in double precision inside.

    (H + damping diag H) step = -gradient. Parameters that are not free (masks (P,), (S,)) do not
    move. Raises: torch.linalg.LinAlgError where the damped matrix is not positive definite.
    """
    e = equations
    b, s = free_block.nonzero()[:, 0], free_shared.nonzero()[:, 0]
    block = _damped(_pick(e.block, b, b), damping)
    shared = _damped(_pick(e.shared, s, s), damping)
    right = torch.cat([e.block_gradient[:, b, None], _pick(e.border, b, s)], dim=-1).double()
    if e.coupling is None:
        factor = torch.linalg.cholesky(block)
        reduced = torch.linalg.solve_triangular(factor, right, upper=False)
        across = None
    else:
        factor, reduced, across = _sweep(block, _pick(e.coupling, b, b), right)
    toward = reduced[..., 1:].flatten(0, 1)
    step_shared = right.new_zeros(len(s))
    if len(s) > 0:
        target = e.shared_gradient[s].double() - toward.T @ reduced[..., 0].flatten()
        schur = torch.linalg.cholesky(shared - toward.T @ toward)
        step_shared = -torch.cholesky_solve(target[:, None], schur)[:, 0]
    known = -(reduced[..., 0] + reduced[..., 1:] @ step_shared)
    step_block = e.block.new_zeros(e.block_gradient.shape)
    step_block[:, b] = _back(factor, known, across).to(step_block)
    step = e.shared.new_zeros(e.shared_gradient.shape)
    step[s] = step_shared.to(step)
    return step_block, step


def shared_deviation(
    equations: NormalEquations, free_block: Tensor, free_shared: Tensor, at: int
) -> float:
    """Deviation of the shared parameter `at` under a density exp(-cost), all others unknown, too.

    The cost is sum r^2, so that its Hessian is twice the equations' matrix. Infinite where the
    matrix has no inverse.
    """
    e = equations
    b, s = free_block.nonzero()[:, 0], free_shared.nonzero()[:, 0]
    border = _pick(e.border, b, s).double()
    block = _damped(_pick(e.block, b, b), 0.0)
    try:
        if e.coupling is None:
            reduced = torch.linalg.solve_triangular(
                torch.linalg.cholesky(block), border, upper=False
            )
        else:
            reduced = _sweep(block, _pick(e.coupling, b, b), border)[1]
        toward = reduced.flatten(0, 1)
        schur = _damped(_pick(e.shared, s, s), 0.0) - toward.T @ toward
        factor = torch.linalg.cholesky(schur)
    except torch.linalg.LinAlgError:
        return float("inf")
    unit = (s == at).double()[:, None]
    return float((0.5 * unit.T @ torch.cholesky_solve(unit, factor)).sqrt())


def _pick(matrix: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    return _along(_along(matrix, -2, rows), -1, columns)


def _along(matrix: Tensor, dim: int, index: Tensor) -> Tensor:
    """Rows or columns at rising indices: without a copy where there are no gaps."""
    count = len(index)
    if count > 0 and int(index[-1] - index[0]) == count - 1:
        return matrix.narrow(dim, int(index[0]), count)
    return matrix.index_select(dim, index)


def _damped(matrix: Tensor, damping: float) -> Tensor:
    matrix = matrix.to(torch.float64, copy=True)
    diagonal = matrix.diagonal(dim1=-2, dim2=-1)
    if diagonal.numel() > 0:
        diagonal += damping * diagonal + RIDGE * diagonal.mean() + 1e-12
    return matrix


def _sweep(block: Tensor, coupling: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Block Cholesky from first to last: factors (F,P,P), reduced right sides, and L^-1 C.

    Worked out in place: block becomes the factors.
    """
    frames, size = block.shape[:2]
    wide = block.new_zeros(frames, size, size + right.shape[-1])
    wide[:-1, :, :size] = coupling
    wide[..., size:] = right
    for f in range(frames):
        torch.linalg.cholesky(block[f], out=block[f])
        row = wide[f]
        row.copy_(torch.linalg.solve_triangular(block[f], row, upper=False))
        if f + 1 < frames:
            turned = row[:, :size].T
            block[f + 1].addmm_(turned, row[:, :size], alpha=-1)
            wide[f + 1, :, size:].addmm_(turned, row[:, size:], alpha=-1)
    return block, wide[..., size:], wide[:-1, :, :size]


def _back(factor: Tensor, known: Tensor, across: Tensor | None) -> Tensor:
    """Steps (F,P) from reduced right sides (F,P): each block answers the one after it."""
    transposed = factor.transpose(-1, -2)
    if across is None:
        return torch.linalg.solve_triangular(transposed, known[..., None], upper=True)[..., 0]
    steps = [known[-1]] * len(known)
    for f in range(len(known) - 1, -1, -1):
        row = known[f] if f + 1 == len(known) else known[f] - across[f] @ steps[f + 1]
        steps[f] = torch.linalg.solve_triangular(transposed[f], row[:, None], upper=True)[:, 0]
    return torch.stack(steps)


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

    linearise gives the normal equations at a state; cost evaluates a state. It ends when a lightly
    damped step lowers the cost, or promises to, by less than the share `tolerance` of the cost (of
    one a block where that is more, since a cost may come near 0 or below), or when none lowers it.
    on_iteration is called before each trial and may raise to stop.
    """
    report = Minimisation([cost(state)])
    damping = FIRST_DAMPING
    for i in range(iterations):
        equations = linearise(state)
        before = report.costs[-1]
        little = tolerance * max(abs(before), len(equations.block))
        rejected, raised = False, RAISE
        while damping <= MOST_DAMPING:
            on_iteration(i)
            try:
                step = solve(equations, damping, free_block, free_shared)
            except torch.linalg.LinAlgError:
                damping *= 10.0
                continue
            if (rejected or damping <= FAIR_DAMPING) and _promise(equations, step) < little:
                return state, report
            trial: StateT = state.step(*step)  # type: ignore[assignment]
            value = cost(trial)
            if value < before:
                state = trial
                report.costs.append(value)
                break
            rejected = True
            report.rejected += 1
            # Ever faster (Nielsen 1999): at a minimum no damping helps, and that is soon known.
            damping *= raised
            raised *= 2.0
        gained = before - report.costs[-1]
        if gained == 0.0 or (gained < little and damping <= FAIR_DAMPING):
            break
        damping = max(damping / 10.0, LEAST_DAMPING)
    return state, report


def _promise(equations: NormalEquations, step: tuple[Tensor, Tensor]) -> float:
    """By how much a step lowers the linearised cost, at least: -gradient . step."""
    block = (equations.block_gradient * step[0]).double().sum()
    return -float(block + (equations.shared_gradient * step[1]).double().sum())
