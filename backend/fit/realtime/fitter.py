"""A face's frames as they come: each from the last, the person and camera learnt on the way."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from backend.errors import BadInputError
from backend.fit import start
from backend.fit.behind_lips import behind_lips
from backend.fit.posed_points import PosedPoints
from backend.fit.settings import FrameFit
from backend.geometry.cameras import focal_from_field_of_view
from backend.head import Head
from backend.head.landmarks import layout

from .compiled import compiled
from .energy import FrameEnergy, FrameState, Minimum, minimise_frame
from .person import Person, rescaled
from .points import N_POSE, FramePoints
from .settings import RealtimeSettings
from .step import INTERVAL, observe, warm_step
from .turning import exponential, logarithm

Array = NDArray[np.float64]
# Fewer of its landmarks are no face.
LEAST_SEEN = 0.2
# A start far off is still drawn in at this many deviations.
LOOSE_SIGMAS = 30.0
# Median distance of landmarks from what the last frame leads to, in deviations, that is far.
FAR_SIGMAS = 1.5
# Points that the weights of the landmark and the temporal term in `FitSettings` are for.
LANDMARKS_OF_WEIGHT, MOVING_OF_WEIGHT = 320, 80


@dataclass(frozen=True)
class LiveFit:
    """A fitted frame."""

    frame: FrameFit
    """Expressions within 0 to 1, pose and focal length."""
    pixels: Array
    """(L,2) the solved head's landmarks in the image."""
    version: int
    """Rises whenever identity or focal length have changed."""
    is_cold: bool
    """Whether it did not start from the last frame."""
    error: float
    """Median distance of landmarks and solved head, as a share of the face's size."""


@dataclass(frozen=True)
class _Solved:
    """A frame's minimum, its landmarks, and how far they are off as a share of the face."""

    state: FrameState
    cost: float
    pixels: Array
    error: float


class RealtimeFitter:
    """Fits the frames of one face one after the other, in bounded time."""

    def __init__(
        self, head: Head, layout_name: str, image_size: tuple[int, int],
        settings: RealtimeSettings | None = None, identity: ArrayLike | None = None,
        rows: NDArray[np.int64] | None = None,
    ) -> None:  # fmt: skip
        """rows: which points of the layout the landmarks are, iBUG's 68 first; all where None.

        identity (100,): where it starts, or, if the settings solve none, what it is.
        """
        self.settings = settings or RealtimeSettings()
        energy = self.settings.energy
        if energy.focal_px is not None and not 0 < energy.focal_px < math.inf:
            raise BadInputError(f"a focal length of {energy.focal_px} px: it must be positive")
        points = PosedPoints.of(head, layout(layout_name))
        aside = behind_lips(head, layout_name)
        self._aside = aside if rows is None else aside[rows]
        mean = FramePoints.of(points if rows is None else points.subset(torch.from_numpy(rows)))
        width, height = image_size
        middle = energy.principal_point or ((width - 1) / 2, (height - 1) / 2)
        self.centre = np.array(middle, np.float64)
        focal = energy.focal_px or focal_from_field_of_view(
            math.radians(energy.field_of_view_deg), width
        )
        self._weight = energy.landmark_weight * LANDMARKS_OF_WEIGHT / len(mean)
        given = None if identity is None else np.asarray(identity, np.float64)
        self.person = Person(mean, head, self.settings, focal, given, self._energy)
        blank = self._energy(mean, focal, np.zeros((len(mean), 2)), np.ones(len(mean)))
        self._numbers, self._joint_weights = blank.numbers(), blank.joint_weights
        s = self.settings
        self._values = np.array([
            s.temporal_weight * MOVING_OF_WEIGHT / len(mean), s.smoothness_weight, s.momentum,
            s.moving_percent, s.near, 1.0, energy.sigma_floor, LEAST_SEEN, LOOSE_SIGMAS, FAR_SIGMAS,
        ])  # fmt: skip
        self._state: FrameState | None = None
        self._focal_of_state = focal
        self._pixels: Array | None = None
        self._motion = np.zeros((len(mean), 2))
        self._speed = math.inf
        self._missed = 0
        self._since_update = 0

    @property
    def identity(self) -> NDArray[np.float32]:
        """(100,) of the person, as far as it is known."""
        return self.person.identity.astype(np.float32)

    def foreseen(self) -> Array | None:
        """Where the landmarks (L,2) should be in the next frame; None where nobody is followed."""
        if self._state is None or self._pixels is None:
            return None
        return self._pixels + self.settings.momentum * self._motion

    def speed(self) -> float:
        """Median motion of the landmarks in the last frame, as a share of the face's size."""
        return self._speed

    def miss(self) -> None:
        """A frame went by without the face."""
        self._missed += 1
        self._motion[:] = 0.0
        if self._missed > self.settings.energy.largest_gap:
            self._state = self._pixels = None

    def forget(self) -> None:
        """Someone else, or another place: nothing of before counts."""
        self._state = self._pixels = None
        self._missed = 0

    def step(
        self, landmarks_2d: ArrayLike, landmark_sigma: ArrayLike, interval: float = 1.0
    ) -> LiveFit | None:
        """Fit the next frame from landmarks (L,2) and sigma (L,), pixels; None with too few.

        interval: frames since the last one: more where some were dropped.
        """
        seen, precision, size = observe(
            np.asarray(landmarks_2d, np.float64),
            np.where(self._aside, np.inf, np.asarray(landmark_sigma, np.float64)),
            self.settings.energy.sigma_floor, LEAST_SEEN,
        )  # fmt: skip
        if size < 0:
            self.miss()
            return None
        steps = interval + self._missed
        solved = self._warm(seen, precision, size, steps)
        is_cold = solved is None
        if solved is None:
            solved = self._cold(seen, precision, size)
        if solved is None:
            self.forget()
            return None
        return self._take(solved, seen, precision, size, steps, is_cold)

    def warm_up(self) -> None:
        """Let the kernels be compiled, or fetched from the disk, before the first frame."""
        points, focal = self.person.points, self.person.focal_px
        middle = np.array([0.0, 0.0, 0.6]) - points.neutral.mean(0)
        still = np.zeros(points.basis.shape[1]), np.repeat(np.eye(3)[None], 4, axis=0), middle
        energy = self._energy(points, focal, np.zeros((len(points), 2)), np.ones(len(points)))
        self._state = FrameState(*still)
        self._pixels = energy.pixels(self._state)
        observe(self._pixels, np.ones(len(points)), 0.006, LEAST_SEEN)
        self._warm(self._pixels, np.ones(len(points)), float(np.ptp(self._pixels)), 1.0)
        frame_fit(self._state, focal, 0.0)
        self.forget()

    def _warm(self, seen: Array, precision: Array, size: float, steps: float) -> _Solved | None:
        """From the last frame, `steps` frames ago; None where it is not near enough."""
        if self._state is None or self._pixels is None:
            return None
        s, p, focal = self.settings, self.person.points, self.person.focal_px
        state = self._state
        if focal != self._focal_of_state:
            state = rescaled(state, self._focal_of_state, focal)
        numbers, values = self._numbers.copy(), self._values
        numbers[0], values[INTERVAL] = focal, steps
        found = warm_step(
            p.neutral, p.basis, p.skin, p.share, p.columns, p.centres, seen, precision, size,
            self._pixels, self._motion, self._joint_weights, numbers, values, state.expression,
            state.rotmat, state.translation, s.iterations, s.tolerance,
        )  # fmt: skip
        is_near, expression, rotmat, translation, cost, _, pixels, error, speed = found
        if not is_near or not math.isfinite(cost):
            return None
        self._speed = speed
        return _Solved(FrameState(expression, rotmat, translation), cost, pixels, error)

    def _cold(self, seen: Array, precision: Array, size: float) -> _Solved | None:
        """By PnP; None where nothing comes of it."""
        person = self.person
        energy = self._energy(person.points, person.focal_px, seen, precision)
        found = cold_start(energy, self.settings.cold_iterations)
        if not math.isfinite(found.cost):
            return None
        pixels = energy.pixels(found.state)
        error = np.linalg.norm((pixels - seen)[precision > 0], axis=1)
        self._speed = math.inf
        return _Solved(found.state, found.cost, pixels, float(np.median(error)) / size)

    def _energy(
        self, points: FramePoints, focal_px: float, seen: Array, precision: Array
    ) -> FrameEnergy:
        energy = self.settings.energy
        made = FrameEnergy.of(
            points, energy, focal_px, self.centre, seen, precision, energy.robust_sigmas
        )
        return replace(made, landmark_weight=self._weight)

    def _take(
        self, solved: _Solved, seen: Array, precision: Array, size: float, steps: float,
        is_cold: bool,
    ) -> LiveFit:  # fmt: skip
        if self._pixels is not None and not is_cold:
            self._motion = (solved.pixels - self._pixels) / steps
        else:
            self._motion = np.zeros_like(solved.pixels)
        self._state, self._pixels, self._missed = solved.state, solved.pixels, 0
        focal = self._focal_of_state = self.person.focal_px
        fit = LiveFit(
            frame_fit(solved.state, focal, solved.cost), solved.pixels, self.person.version,
            is_cold, solved.error,
        )  # fmt: skip
        if not self.person.is_fixed:
            self._learn(seen, precision, solved.state, size)
        return fit

    def _learn(self, seen: Array, precision: Array, state: FrameState, size: float) -> None:
        """Now and then: the person and the camera."""
        s, person = self.settings, self.person
        self._since_update += 1
        wait = s.settled_every if person.is_settled else s.update_every
        if person.keys and self._since_update < wait:
            return
        self._since_update = 0
        person.consider(seen, precision, state, size)
        person.update()


def cold_start(energy: FrameEnergy, iterations: int) -> Minimum:
    """A frame without a last one: PnP, the pose alone, then everything."""
    p = energy.points
    (cx, cy), f = energy.centre, energy.focal_px
    with np.errstate(divide="ignore"):
        sigma = 1.0 / energy.precision  # infinite where there is none: last of all
    K = np.array([[f, 0, cx], [0, f, cy], [0, 0, 1.0]])
    rotvec, translation = start.solve_pose(p.neutral, energy.landmarks_2d, sigma, K)
    rotmat = np.repeat(np.eye(3)[None], 4, axis=0)
    rotmat[0] = exponential(rotvec)
    # The root turns about the neck joint: R (x - c) + c + t = R x + t_pnp.
    translation = translation + rotmat[0] @ p.centres[0] - p.centres[0]
    n = p.basis.shape[1]
    state = FrameState(np.zeros(n), rotmat, translation)
    # Neck and translation alone: the columns of head and eyes between them stay.
    loose = replace(energy, robust=LOOSE_SIGMAS, joint_weights=1e6 * energy.joint_weights)
    state = minimise_frame(loose, state, 4, 1e-2, slice(n, n + N_POSE)).state
    return minimise_frame(energy, state, iterations, 1e-3)


def frame_fit(state: FrameState, focal_px: float, cost: float) -> FrameFit:
    """The parameters as they are handed out, expressions within 0 to 1."""
    return FrameFit(*_handed_out(state.expression, state.rotmat, state.translation), focal_px, cost)


@compiled
def _handed_out(expression: Array, rotmat: Array, translation: Array) -> tuple[
    NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]
]:  # fmt: skip
    """Expression within 0 to 1, rotation vectors (4,3) and translation."""
    rotations = np.empty((4, 3), np.float32)
    for j in range(4):
        rotations[j] = logarithm(rotmat[j])
    within = np.empty(len(expression), np.float32)
    for e in range(len(expression)):
        within[e] = min(max(expression[e], 0.0), 1.0)
    return within, rotations, translation.astype(np.float32)
