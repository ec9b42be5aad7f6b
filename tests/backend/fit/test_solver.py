"""The block-arrow solve against a dense one, and a minimiser that never goes uphill."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from backend.fit.solver import NormalEquations, minimise, solve

F, P, S, R = 6, 5, 4, 30
ALL_BLOCK, ALL_SHARED = torch.ones(P, dtype=torch.bool), torch.ones(S, dtype=torch.bool)


def draw(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def random_equations(coupled: bool) -> tuple[NormalEquations, Tensor, Tensor]:
    """Equations, with the dense Jacobian (rows, F P + S) and residual that they stand for."""
    equations = NormalEquations.zeros(F, P, S, torch.zeros(1, dtype=torch.float64), coupled)
    residual, own, shared = draw(F, R), draw(F, R, P, seed=1), draw(F, R, S, seed=2)
    equations.add(slice(0, F), residual, own, shared)
    rows, values = [], [residual.flatten()]
    for f in range(F):
        row = torch.zeros(R, F * P + S, dtype=torch.float64)
        row[:, f * P : (f + 1) * P], row[:, F * P :] = own[f], shared[f]
        rows.append(row)
    if coupled:
        between = draw(F - 1, R, seed=3)
        this, after = draw(F - 1, R, P, seed=4), draw(F - 1, R, P, seed=5)
        both = draw(F - 1, R, S, seed=6)
        # In two parts, as a long shot is added.
        equations.add_between(slice(0, 2), between[:2], this[:2], after[:2], both[:2])
        equations.add_between(slice(2, F - 1), between[2:], this[2:], after[2:], both[2:])
        values.append(between.flatten())
        for f in range(F - 1):
            row = torch.zeros(R, F * P + S, dtype=torch.float64)
            row[:, f * P : (f + 1) * P], row[:, (f + 1) * P : (f + 2) * P] = this[f], after[f]
            row[:, F * P :] = both[f]
            rows.append(row)
        gain = draw(F - 1, seed=7).abs()
        state = draw(F, 2, seed=8)
        curvature = gain.square()[:, None].expand(-1, 2)
        equations.add_change(slice(1, 3), curvature * state.diff(dim=0), curvature)
        values.append((gain[:, None] * state.diff(dim=0)).flatten())
        for f in range(F - 1):
            row = torch.zeros(2, F * P + S, dtype=torch.float64)
            row[[0, 1], [f * P + 1, f * P + 2]] = -gain[f]
            row[[0, 1], [(f + 1) * P + 1, (f + 1) * P + 2]] = gain[f]
            rows.append(row)
    derivative, simple = draw(F, 3, seed=9), draw(F, 3, seed=10)
    equations.add_diagonal(slice(0, 3), simple, derivative)
    values.append(simple.flatten())
    for f in range(F):
        row = torch.zeros(3, F * P + S, dtype=torch.float64)
        row[[0, 1, 2], [f * P, f * P + 1, f * P + 2]] = derivative[f]
        rows.append(row)
    return equations, torch.cat(rows), torch.cat(values)


@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("damping", [0.0, 0.3])
@pytest.mark.parametrize("held", ["none", "some", "shared"])
def test_step_is_that_of_a_dense_solve(coupled: bool, damping: float, held: str) -> None:
    equations, jacobian, residual = random_equations(coupled)
    free_block, free_shared = ALL_BLOCK.clone(), ALL_SHARED.clone()
    if held == "some":
        free_block[3], free_shared[:2] = False, False
    if held == "shared":
        free_shared[:] = False
    block, shared = solve(equations, damping, free_block, free_shared)
    free = torch.cat([free_block.repeat(F), free_shared])
    hessian = jacobian[:, free].T @ jacobian[:, free]
    hessian += damping * torch.diag(hessian.diagonal())
    dense = torch.zeros(F * P + S, dtype=torch.float64)
    dense[free] = -torch.linalg.solve(hessian, jacobian[:, free].T @ residual)
    torch.testing.assert_close(torch.cat([block.flatten(), shared]), dense, rtol=1e-5, atol=1e-8)


@dataclass(frozen=True)
class Point:
    """A state of one block of two parameters and one shared parameter."""

    block: Tensor
    shared: Tensor

    def step(self, frame: Tensor, shared: Tensor) -> Point:
        return Point(self.block + frame, self.shared + shared)


def rosenbrock(point: Point) -> tuple[Tensor, Tensor, Tensor]:
    """Residual (1,3), Jacobians (1,3,2), (1,3,1) of a curved valley whose floor is 1, 1, 1."""
    x, y = point.block[0]
    z = point.shared[0]
    residual = torch.stack([1 - x, 10 * (y - x * x), 3 * (z - x * y)])[None]
    zero = torch.zeros_like(x)
    own = torch.stack(
        [-1 + zero, zero, -20 * x, 10 + zero, -3 * y, -3 * x]
    ).reshape(1, 3, 2)  # fmt: skip
    return residual, own, torch.tensor([[[0.0], [0.0], [3.0]]], dtype=torch.float64)


def cost(point: Point) -> float:
    return float(rosenbrock(point)[0].square().sum())


def linearise(point: Point) -> NormalEquations:
    equations = NormalEquations.zeros(1, 2, 1, point.block, False)
    equations.add(slice(0, 1), *rosenbrock(point))
    return equations


START = Point(torch.tensor([[-1.2, 1.0]], dtype=torch.float64), torch.zeros(1, dtype=torch.float64))
FREE = torch.ones(2, dtype=torch.bool), torch.ones(1, dtype=torch.bool)


def test_reaches_the_minimum_and_never_rises() -> None:
    end, report = minimise(START, linearise, cost, *FREE, 100, 1e-12)
    torch.testing.assert_close(end.block, torch.ones(1, 2, dtype=torch.float64), rtol=0, atol=1e-5)
    assert report.costs == sorted(report.costs, reverse=True)
    assert report.costs[-1] == cost(end) < 1e-9
    assert report.rejected > 0, "this valley makes a bare Gauss-Newton step overshoot"


def test_steps_that_raise_the_cost_are_rejected() -> None:
    """With derivatives of the wrong sign every step goes uphill: nothing may move."""

    def wrong(point: Point) -> NormalEquations:
        equations = linearise(point)
        equations.block_gradient *= -1
        equations.shared_gradient *= -1
        return equations

    end, report = minimise(START, wrong, cost, *FREE, 10, 1e-12)
    assert end is START and report.costs == [cost(START)] and report.rejected > 5


def test_not_a_number_is_not_an_improvement() -> None:
    def broken(point: Point) -> float:
        return cost(point) if point is START else float("nan")

    end, _ = minimise(START, linearise, broken, *FREE, 10, 1e-12)
    assert end is START


def test_what_is_held_does_not_move() -> None:
    held = torch.tensor([True, False]), torch.tensor([False])
    end, _ = minimise(START, linearise, cost, *held, 20, 1e-12)
    assert float(end.block[0, 1]) == 1.0 and float(end.shared[0]) == 0.0
    assert float(end.block[0, 0]) != -1.2


def test_a_callback_can_stop_it() -> None:
    def stop(iteration: int) -> None:
        if iteration == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        minimise(START, linearise, cost, *FREE, 100, 1e-12, stop)
