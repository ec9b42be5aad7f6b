"""Both solvers race over the same energy and come to the same cost."""

from __future__ import annotations

from backend.evaluate.fit_speed import race
from backend.head import Head


def test_both_come_as_low() -> None:
    result = race(Head.load(), 6, "dense320", 1, 0, 400.0)
    assert result.cost_own < 0.2 * result.cost_start
    assert result.reached
    assert result.cost_lbfgs <= 1.001 * result.cost_own
    assert result.seconds_lbfgs > result.seconds_own
