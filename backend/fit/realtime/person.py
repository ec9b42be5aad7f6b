"""Identity and focal length of whoever is followed, from a window of key frames.

Each key frame is linearised once in a while about its own minimum; its own parameters are then
eliminated (Schur complement), which leaves a quadratic in identity and focal length. The sum over
the window, with their priors, is minimised. An update linearises one key frame: bounded cost.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from backend.head import Head

from . import kernel
from .energy import FrameEnergy, FrameState, minimise_frame
from .points import FramePoints
from .prior import PersonPrior
from .settings import RealtimeSettings

Array = NDArray[np.float64]
# Most that an update may change: what is linear only nearby must not be believed further.
MOST_DEVIATIONS, MOST_LOG_FOCAL = 2.0, 0.05
# Root mean square change of the coefficients, and of the log focal length, that is small.
SMALL_CHANGE = 0.02
# A frame this much less certain than the keys are is none.
DOUBTFUL = 1.5


@dataclass
class Key:
    """A frame of the window."""

    landmarks_2d: Array
    precision: Array
    """(L,) 1 / sigma in 1/pixel, 0 where there is no landmark."""
    state: FrameState
    shape: Array
    """(L,2) landmarks about their mean over the face's size."""
    doubt: float
    """Median sigma over the face's size."""
    focal_px: float
    """That `state` goes with."""
    at: Array
    """(K+1,) identity and log focal length about which it was linearised."""
    matrix: Array | None = None
    """(K+1,K+1) what is left of its normal equations; None until it is linearised."""
    vector: Array | None = None


class Person:
    """What is known of a person and their camera so far."""

    def __init__(
        self, points: FramePoints, head: Head, settings: RealtimeSettings, focal_px: float,
        identity: Array | None, energy: Callable[..., FrameEnergy],
    ) -> None:  # fmt: skip
        """energy: makes a frame's energy of points, focal length, landmarks and precision."""
        self.settings = settings
        self.prior = PersonPrior(head)
        self._energy = energy
        self._mean = points
        self._size = self.prior.size
        start = np.zeros(self._size) if identity is None else np.asarray(identity, np.float64)
        self._start_log_focal = math.log(focal_px)
        self.values = np.append(start, self._start_log_focal)
        self.points = points.of_person(start)
        self.keys: list[Key] = []
        self.version = 0
        """Rises with every update."""
        self.is_settled = False
        self._turn = 0

    @property
    def identity(self) -> Array:
        """(K,) coefficients."""
        return self.values[:-1]

    @property
    def focal_px(self) -> float:
        return float(math.exp(self.values[-1]))

    @property
    def is_fixed(self) -> bool:
        """Whether there is nothing to solve."""
        return not self.settings.solve_identity and self.settings.energy.focal_px is not None

    def consider(
        self, landmarks_2d: Array, precision: Array, state: FrameState, size: float
    ) -> bool:
        """Take a fitted frame into the window where it says something new; size in pixels."""
        seen = precision > 0
        doubt = 1.0 / (float(np.median(precision[seen])) * size)
        shape = (landmarks_2d - landmarks_2d[seen].mean(0)) / size
        shape[~seen] = 0.0
        if self.keys and doubt > DOUBTFUL * float(np.median([key.doubt for key in self.keys])):
            return False
        key = Key(landmarks_2d, precision, state, shape, doubt, self.focal_px, self.values.copy())
        distance = [_distance(shape, other.shape) for other in self.keys]
        if len(self.keys) < self.settings.key_frames:
            if distance and min(distance) < self.settings.novelty:
                return False
            self.keys.append(key)
        else:
            first, least = self._closest_pair()
            if min(distance) <= least:
                return False
            self.keys[first] = key
        self.is_settled = False
        return True

    def update(self) -> None:
        """Linearise one key frame anew, and solve for identity and focal length."""
        fresh = [number for number, key in enumerate(self.keys) if key.matrix is None]
        number = fresh[0] if fresh else self._turn % len(self.keys)
        self._turn = number + 1
        self._linearise(self.keys[number])
        before = self.values
        values = before.copy()
        # The mixture is not quadratic: a few steps on the window's quadratic, which are cheap.
        for _ in range(3):
            values = values + self._step(values)
        change = values - before
        change[:-1] *= min(1.0, MOST_DEVIATIONS / max(float(np.abs(change[:-1]).max()), 1e-9))
        change[-1] = np.clip(change[-1], -MOST_LOG_FOCAL, MOST_LOG_FOCAL)
        self.values = before + change
        self.points = self._mean.of_person(self.identity)
        self.version += 1
        rms = math.sqrt(float(np.mean(change[:-1] ** 2)))
        self.is_settled = not fresh and rms < SMALL_CHANGE and abs(change[-1]) < SMALL_CHANGE

    def _closest_pair(self) -> tuple[int, float]:
        """The older key of the two that differ least, and how much they do."""
        least, first = np.inf, 0
        for a, key in enumerate(self.keys):
            for other in self.keys[a + 1 :]:
                distance = _distance(key.shape, other.shape)
                if distance < least:
                    least, first = distance, a
        return first, least

    def _linearise(self, key: Key) -> None:
        energy = self._energy(self.points, self.focal_px, key.landmarks_2d, key.precision)
        state = rescaled(key.state, key.focal_px, self.focal_px)
        key.state = minimise_frame(energy, state, 2, 1e-3).state
        key.focal_px = self.focal_px
        key.at = self.values.copy()
        key.matrix, key.vector = marginal(energy, key.state)

    def _step(self, values: Array) -> Array:
        """Gauss-Newton's step on the window's quadratic and the priors."""
        s = self.settings.energy
        size = self._size
        gradient, hessian = self.prior.derivatives(values[:-1])
        matrix, vector = np.zeros((size + 1, size + 1)), np.zeros(size + 1)
        # Half of gradient and Hessian, as everywhere.
        matrix[:size, :size] = 0.5 * s.identity_weight * hessian
        vector[:size] = 0.5 * s.identity_weight * gradient
        matrix[size, size] = s.focal_weight
        vector[size] = s.focal_weight * (values[-1] - self._start_log_focal)
        for key in self.keys:
            if key.matrix is not None and key.vector is not None:
                matrix += key.matrix
                vector += key.vector + key.matrix @ (values - key.at)
        free = np.ones(size + 1, bool)
        free[:size] = self.settings.solve_identity
        free[size] = s.focal_px is None and len(self.keys) >= self.settings.focal_keys
        step = np.zeros(size + 1)
        chosen = matrix[np.ix_(free, free)]
        _, solution, info = lapack.dposv(chosen, vector[free], lower=True)
        if info == 0:
            step[free] = -solution
        return step


def rescaled(state: FrameState, focal_px: float, new_focal_px: float) -> FrameState:
    """A frame's parameters as they look about the same with another focal length."""
    depth = state.translation * np.array([1.0, 1.0, new_focal_px / focal_px])
    return replace(state, translation=depth)


def marginal(energy: FrameEnergy, state: FrameState) -> tuple[Array, Array]:
    """Normal equations (K+1,K+1), (K+1,) by identity and log focal length, the frame eliminated."""
    p = energy.points
    rotation, offset, pivot = kernel.carry(state.rotmat, state.translation, p.centres)
    pixels = energy.pixels(state)
    gradient, curvature = energy.pixel_derivatives(pixels)
    root = np.sqrt(curvature)[:, None, None]
    by_frame = kernel.jacobian(
        p.neutral, p.basis, p.skin, p.share, rotation, offset, pivot, state.expression,
        energy.focal_px,
    )  # fmt: skip
    by_shared = shared_jacobian(energy, state, pixels)
    own, own_vector, _ = energy.linearise(state)
    rows_f = (root * by_frame).reshape(-1, by_frame.shape[-1])
    rows_s = (root * by_shared).reshape(-1, by_shared.shape[-1])
    border = rows_f.T @ rows_s
    matrix = rows_s.T @ rows_s
    vector = gradient.ravel() @ by_shared.reshape(-1, by_shared.shape[-1])
    _, solved, info = lapack.dposv(
        own + 1e-9 * np.eye(len(own)), np.column_stack([border, own_vector]), lower=True
    )
    if info != 0:
        return np.zeros_like(matrix), np.zeros_like(vector)
    return matrix - border.T @ solved[:, :-1], vector - border.T @ solved[:, -1]


def shared_jacobian(energy: FrameEnergy, state: FrameState, pixels: Array) -> Array:
    """(L,2,K+1) derivative of the pixels by identity and log focal length."""
    p = energy.points
    rotation, offset, _ = kernel.carry(state.rotmat, state.translation, p.centres)
    camera, blend = kernel.camera_rows(
        p.neutral, p.basis, p.skin, rotation, offset, state.expression, energy.focal_px
    )
    k = p.identity_basis.shape[-1]
    result = np.empty((len(p), 2, k + 1))
    result[..., :k] = (camera @ blend) @ p.identity_basis
    for j, parent in enumerate(kernel.PARENTS):
        hold = np.eye(3) - state.rotmat[j]
        if parent >= 0:
            hold = rotation[parent] @ hold
        by_joint = camera @ (hold @ p.joints_basis[j])
        result[..., :k] += p.share[:, j, None, None] * by_joint
    result[..., k] = pixels - energy.centre
    return result


def _distance(a: Array, b: Array) -> float:
    return float(np.sqrt(np.mean((a - b) ** 2)))
