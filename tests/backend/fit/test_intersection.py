"""Lids stay out of eyeballs and lips out of teeth: depths and their derivatives."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from backend.fit.correction import correction_basis
from backend.fit.intersection import Intersection
from backend.fit.solver import NormalEquations
from backend.fit.state import State, one_camera
from backend.head import Head
from backend.head.landmarks import layout


@pytest.fixture(scope="module")
def head() -> Head:
    return Head.load(dtype=torch.float64)


@pytest.fixture(scope="module")
def meeting(head: Head) -> Intersection:
    return Intersection.of(head)


def acting(head: Head, size: int = 100, **coefficients: float) -> State:
    expression = torch.zeros(1, 52, dtype=torch.float64)
    for name, value in coefficients.items():
        expression[0, head.expression_names.index(name)] = value
    eye = torch.eye(3, dtype=torch.float64).expand(1, 4, 3, 3)
    zero = torch.zeros(1, 3, dtype=torch.float64)
    return one_camera(expression, eye, zero, torch.zeros(size).double(), zero[0, 0])


def test_the_mean_head_at_rest_meets_nothing(head: Head, meeting: Intersection) -> None:
    lids, lips = meeting.depths(acting(head))
    assert float(lids.max()) < 1e-4 and float(lips.max()) == 0.0


def test_an_upper_lip_that_rolls_far_in_meets_the_teeth(head: Head, meeting: Intersection) -> None:
    lips = meeting.depths(acting(head, mouthRollUpper=2.5))[1]
    assert float(lips.max()) > 5e-4


def test_depth_in_a_hull_is_the_distance_to_its_nearest_plane(
    head: Head, meeting: Intersection
) -> None:
    """A lip put into the middle of the teeth is as deep as the nearest facet's plane is far."""
    facets = meeting.facets[0]
    template = meeting.points.template.clone()
    middle = template[facets.unique()].mean(0)
    template[meeting.lips.start] = middle
    inside = replace(meeting, points=replace(meeting.points, template=template))
    depth = inside.depths(acting(head))[1][0, 0]
    a, b, c = (template[facets[:, i]] for i in range(3))
    normal = torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=-1)
    # All corners lie behind every facet: the normals point out of a convex hull.
    behind = ((template[facets.unique()][:, None] - a) * normal).sum(-1)
    assert float(behind.max()) < 1e-6
    torch.testing.assert_close(depth, -((middle - a) * normal).sum(-1).max())


@pytest.mark.parametrize("corrected", [False, True])
def test_derivatives_against_autodiff(head: Head, meeting: Intersection, corrected: bool) -> None:
    size = 100
    if corrected:
        basis = correction_basis(head, layout("dense320"), 0.001)
        meeting, size = meeting.with_correction(basis), 100 + basis.size
    generator = torch.Generator().manual_seed(2)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    eye = torch.eye(3, dtype=torch.float64).expand(3, 4, 3, 3)
    zero = torch.zeros(3, 3, dtype=torch.float64)
    state = one_camera(0.8 * draw(3, 52), eye, zero, 0.7 * draw(size), zero[0, 0])
    lids, lips = meeting.depths(state)
    assert int((lids > 0).sum()) > 10 and int((lips > 0).sum()) > 10

    def rows(frame: Tensor, shared: Tensor) -> Tensor:
        moved = replace(
            state, expression=state.expression + frame, identity=state.identity + shared
        )
        return 1e3 * 2.0**0.5 * torch.cat(meeting.depths(moved), 1)

    at = torch.zeros(3, 52).double(), torch.zeros(size).double()
    by_frame, by_shared = torch.autograd.functional.jacobian(rows, at)
    residual = rows(*at)
    equations = NormalEquations.zeros(3, 68, size + 7, residual, False)
    meeting.add(equations, state, 2.0, True)
    own = torch.stack([by_frame[f, :, f] for f in range(3)])
    turned = own.transpose(-1, -2)
    close = torch.testing.assert_close
    close(equations.block[:, :52, :52], turned @ own)
    close(equations.border[:, :52, :size], turned @ by_shared)
    close(equations.block_gradient[:, :52], (turned @ residual[..., None])[..., 0])
    flat = by_shared.flatten(0, 1)
    close(equations.shared[:size, :size], flat.T @ flat)
    close(equations.shared_gradient[:size], flat.T @ residual.flatten())
    close(meeting.cost(state, 2.0), residual.square().sum(1))
