"""One frame's energy in real time against the whole energy, and its two kernels to each other."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from backend.fit import FitSettings
from backend.fit.energy import Energy
from backend.fit.posed_points import PosedPoints
from backend.fit.problem import Problem
from backend.fit.realtime import kernel
from backend.fit.realtime.compiled import IS_COMPILED
from backend.fit.realtime.energy import (
    FrameEnergy,
    FrameState,
    minimise_frame,
)
from backend.fit.realtime.points import FramePoints
from backend.fit.realtime.turning import exponential, left_inverse, logarithm
from backend.fit.state import State, one_camera
from backend.fit.views import pixels_of
from backend.geometry.rotations import (
    left_jacobian_inverse,
    rotmat_to_rotvec,
    rotvec_to_rotmat,
)
from backend.head import Head
from backend.head.landmarks import layout

FOCAL = 620.0
CENTRE = np.array([319.5, 239.5])
SETTINGS = FitSettings(
    intersection_weight=0.0, temporal_robust=math.inf, smoothness_robust=math.inf
)


@pytest.fixture(scope="module")
def head() -> Head:
    return Head.load(dtype=torch.float64)


@pytest.fixture(scope="module")
def posed(head: Head) -> PosedPoints:
    return PosedPoints.of(head, layout("dense320"))


def two_frames() -> State:
    """Two frames of the mean head: a shot may weigh expressions by its person's size."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    expression = 0.4 * draw(2, 52) + 0.3
    rotmat = rotvec_to_rotmat(0.2 * draw(2, 4, 3))
    middle = torch.tensor([0.0, 0.0, 0.6], dtype=torch.float64)
    translation = middle + 0.02 * draw(2, 3)
    log_focal = torch.tensor(math.log(FOCAL), dtype=torch.float64)
    return one_camera(expression, rotmat, translation, torch.zeros(100).double(), log_focal)


def both(head: Head, posed: PosedPoints) -> tuple[Energy, State, FrameEnergy, FrameState]:
    """The shot's energy of two frames, and the second frame's with the first one held."""
    state = two_frames()
    centre = torch.from_numpy(CENTRE)[None]
    pixels = pixels_of(posed.pose(state).points, state, centre)
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(pixels.shape, generator=generator, dtype=torch.float64)
    landmarks = pixels + 6 * noise
    sigma = 1.0 + torch.rand(pixels.shape[:-1], generator=generator, dtype=torch.float64)
    landmarks[1, 0, ::7] = torch.nan
    problem = Problem.of(
        head, "dense320", landmarks.numpy(), sigma.numpy(), np.ones(2, bool), (640, 480),
        replace(SETTINGS, focal_px=FOCAL),
    )  # fmt: skip
    whole = problem.energy(torch.ones(1).double(), 4.0, shared=False)
    whole = replace(whole, motion=torch.zeros_like(whole.motion))
    target, count = problem.target, len(posed.template)
    gain = np.zeros(count)
    unit = 0.01 * float(np.median(problem.size))
    gain[problem.moving.numpy()] = SETTINGS.temporal_weight / unit**2
    points = FramePoints.of(posed).of_person(state.identity.numpy())
    one = FrameEnergy.of(
        points, SETTINGS, FOCAL, CENTRE, target.landmarks_2d[1, 0].numpy(),
        target.precision[1, 0].numpy(), 4.0,
    )  # fmt: skip
    one = replace(
        one, gain=gain, expected=pixels[0, 0].numpy(), last_expression=state.expression[0].numpy(),
        smoothness_weight=SETTINGS.smoothness_weight,
    )  # fmt: skip
    frame = FrameState(
        state.expression[1].numpy(), state.rotmat[1].numpy(), state.translation[1].numpy()
    )
    return whole, state, one, frame


def test_a_frame_has_the_shot_s_energy(head: Head, posed: PosedPoints) -> None:
    whole, state, one, frame = both(head, posed)
    pair = whole.cost(state)
    alone = replace(
        whole, link=None, target=whole.target.frames(slice(0, 1)), seen=whole.seen[:1]
    ).cost(state.frames(slice(0, 1)))
    assert one.cost(frame) == pytest.approx(pair - alone, rel=1e-9)
    assert one.linearise(frame)[2] == pytest.approx(one.cost(frame), rel=1e-12)


def test_normal_equations_are_the_shot_s(head: Head, posed: PosedPoints) -> None:
    whole, state, one, frame = both(head, posed)
    equations = whole.linearise(state)
    matrix, vector, _ = one.linearise(frame)
    # The shot's last column is its zoom.
    scale = np.abs(vector).max()
    np.testing.assert_allclose(
        vector, equations.block_gradient[1, :67], rtol=1e-6, atol=1e-7 * scale
    )
    np.testing.assert_allclose(
        matrix, equations.block[1, :67, :67], rtol=1e-6, atol=1e-7 * np.abs(matrix).max()
    )


def test_half_gradient_is_a_difference_quotient(head: Head, posed: PosedPoints) -> None:
    _, _, one, frame = both(head, posed)
    vector = one.linearise(frame)[1]
    steps = 1e-6 * np.eye(67)
    for column in range(67):
        rise = one.cost(frame.step(steps[column])) - one.cost(frame.step(-steps[column]))
        assert rise / 4e-6 == pytest.approx(vector[column], rel=2e-4, abs=2e-4)


@pytest.mark.skipif(not IS_COMPILED, reason="numba is not installed")
def test_loops_and_arrays_agree(head: Head, posed: PosedPoints) -> None:
    _, _, one, frame = both(head, posed)
    p = one.points
    rotation, offset, pivot = kernel.carry(frame.rotmat, frame.translation, p.centres)
    shown = (p.neutral, p.basis, p.skin, p.columns, rotation, offset, frame.expression, FOCAL)
    pixels = kernel.project(*shown, CENTRE)
    np.testing.assert_allclose(pixels, kernel.project_arrays(*shown, CENTRE), rtol=1e-10)
    parts = (p.neutral, p.basis, p.skin, p.share, p.columns, rotation, offset, pivot)
    rest = (frame.expression, FOCAL, *one.pixel_derivatives(pixels))
    matrix, vector = kernel.accumulate(*parts, *rest)
    matrix_2, vector_2 = kernel.accumulate_arrays(*parts, *rest)
    np.testing.assert_allclose(matrix, matrix_2, rtol=1e-9, atol=1e-9 * np.abs(matrix).max())
    np.testing.assert_allclose(vector, vector_2, rtol=1e-9, atol=1e-9 * np.abs(vector).max())


SCRIPT = """
import pickle, sys
sys.modules["numba"] = None
from backend.fit.realtime.compiled import IS_COMPILED
from backend.fit.realtime.energy import minimise_frame
assert not IS_COMPILED
energy, state, free = pickle.loads(sys.stdin.buffer.read())
sys.stdout.buffer.write(pickle.dumps(minimise_frame(energy, state, 5, 1e-4, free)))
"""


@pytest.mark.skipif(not IS_COMPILED, reason="numba is not installed")
@pytest.mark.parametrize("free", [slice(0, 67), slice(52, 67)])
def test_without_numba_the_same_steps_are_taken(
    head: Head, posed: PosedPoints, free: slice
) -> None:
    _, _, one, frame = both(head, posed)
    ours = minimise_frame(one, frame, 5, 1e-4, free)
    given = pickle.dumps((one, frame, free))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], input=given, capture_output=True, check=True
    )
    other = pickle.loads(done.stdout)
    assert ours.iterations == other.iterations > 1
    assert ours.cost == pytest.approx(other.cost, rel=1e-8)
    np.testing.assert_allclose(ours.state.expression, other.state.expression, atol=1e-6)
    np.testing.assert_allclose(ours.state.rotmat, other.state.rotmat, atol=1e-6)
    np.testing.assert_allclose(ours.state.translation, other.state.translation, atol=1e-6)


def test_a_step_never_raises_the_cost(head: Head, posed: PosedPoints) -> None:
    _, _, one, frame = both(head, posed)
    before = one.cost(frame)
    for _ in range(6):
        found = minimise_frame(one, frame, 1, 0.0)
        assert found.cost <= before
        before, frame = found.cost, found.state
    assert np.abs(one.linearise(frame)[1]).max() < 0.05 * np.abs(one.linearise(frame)[0]).max()


def test_what_is_behind_the_camera_costs_everything(head: Head, posed: PosedPoints) -> None:
    _, _, one, frame = both(head, posed)
    assert one.cost(replace(frame, translation=np.array([0.0, 0.0, -1.0]))) == np.inf


@pytest.mark.parametrize("angle", [0.0, 1e-6, 1e-3, 0.7, 2.5, 3.0, 3.1415])
def test_rotations_are_those_of_the_geometry(angle: float) -> None:
    rotvec = angle * np.array([2.0, -1.0, 2.0]) / 3
    as_tensor = torch.from_numpy(rotvec)
    rotmat = rotvec_to_rotmat(as_tensor)
    np.testing.assert_allclose(exponential(rotvec), rotmat, atol=1e-12)
    np.testing.assert_allclose(logarithm(rotmat.numpy()), rotmat_to_rotvec(rotmat), atol=1e-9)
    np.testing.assert_allclose(left_inverse(rotvec), left_jacobian_inverse(as_tensor), atol=1e-9)
