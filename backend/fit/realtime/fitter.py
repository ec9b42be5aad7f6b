"""A face's frames as they come: each from the last, the person and camera learnt on the way."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from backend.errors import BadInputError
from backend.fit import start
from backend.fit.posed_points import PosedPoints
from backend.fit.settings import FrameFit
from backend.geometry.cameras import focal_from_field_of_view
from backend.head import Head
from backend.head.landmarks import layout

from .energy import FrameEnergy, FrameState, Minimum, minimise_frame
from .person import Person, rescaled
from .points import N_POSE, FramePoints
from .settings import RealtimeSettings
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
        mean = FramePoints.of(points if rows is None else points.subset(torch.from_numpy(rows)))
        width, height = image_size
        middle = energy.principal_point or ((width - 1) / 2, (height - 1) / 2)
        self.centre = np.array(middle, np.float64)
        focal = energy.focal_px or focal_from_field_of_view(
            math.radians(energy.field_of_view_deg), width
        )
        self._weight = energy.landmark_weight * LANDMARKS_OF_WEIGHT / len(mean)
        given = None if identity is None else np.asarray(identity, np.float64)
        self.person = Person(mean, head.identity_prior, self.settings, focal, given, self._energy)
        self._rigid = mean
        self._state: FrameState | None = None
        self._focal_of_state = focal
        self._pixels: Array | None = None
        self._motion = np.zeros((len(mean), 2))
        self._size = 1.0
        self._missed = 0
        self._since_update = 0
        self._n_fitted = 0

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
        square = np.einsum("ij,ij->i", self._motion, self._motion)
        return math.sqrt(float(np.median(square))) / self._size

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
        s = self.settings
        seen, sigma, size = observe(landmarks_2d, landmark_sigma, s.energy.sigma_floor)
        if size is None:
            self.miss()
            return None
        state = self._resume(seen, sigma, size)
        is_cold = state is None
        energy = self._energy(self.person.points, self.person.focal_px, seen, sigma)
        if state is None:
            found = cold_start(energy, s.cold_iterations)
        else:
            assert self._pixels is not None
            steps = interval + self._missed
            away = seen - self._pixels - s.momentum * steps * self._motion
            linked = self._linked(energy, away, size, steps)
            state = self._aligned(energy, state, away)
            found = minimise_frame(linked, state, s.iterations, s.tolerance)
        if not math.isfinite(found.cost):
            self.forget()
            return None
        return self._take(energy, found, size, interval, is_cold)

    def warm_up(self) -> None:
        """Let the kernels be compiled, or fetched from the disk, before the first frame."""
        points = self.person.points
        middle = np.array([0.0, 0.0, 0.6]) - points.neutral.mean(0)
        state = FrameState(
            np.zeros(points.basis.shape[1]), np.repeat(np.eye(3)[None], 4, axis=0), middle
        )
        focal = self.person.focal_px
        sigma = np.ones(len(points))
        energy = self._energy(points, focal, np.zeros((len(points), 2)), sigma)
        energy = replace(energy, landmarks_2d=energy.pixels(state))
        frame_fit(minimise_frame(energy, state, 1, 0.0).state, focal, 0.0)

    def _resume(self, seen: Array, sigma: Array, size: float) -> FrameState | None:
        """The last frame's parameters where they are near enough."""
        if self._state is None or self._pixels is None:
            return None
        known = np.isfinite(sigma)
        away = np.linalg.norm(seen[known] - self._pixels[known], axis=1)
        if float(np.median(away)) > self.settings.near * size:
            return None
        return rescaled(self._state, self._focal_of_state, self.person.focal_px)

    def _energy(
        self, points: FramePoints, focal_px: float, seen: Array, sigma: Array
    ) -> FrameEnergy:
        energy = self.settings.energy
        made = FrameEnergy.of(
            points, energy, focal_px, self.centre, seen, sigma, energy.robust_sigmas
        )
        return replace(made, landmark_weight=self._weight)

    def _linked(
        self, energy: FrameEnergy, away: Array, size: float, interval: float
    ) -> FrameEnergy:
        """With what the last frame says of this one; away (L,2): landmarks less what it expects."""
        s = self.settings
        assert self._state is not None and self._pixels is not None
        count = len(self._pixels)
        unit = 0.01 * size
        # What moves need not be held still, nor may it lag: the face as a whole, or one lid.
        moved = np.sqrt(np.einsum("ij,ij->i", away, away)) / unit
        known = energy.precision > 0
        moved = np.maximum(np.where(known, moved, 0.0), float(np.median(moved[known])))
        weight = s.temporal_weight * MOVING_OF_WEIGHT / count / unit**2 / interval
        free = 1.0 / (1.0 + np.square(moved / s.moving_percent))
        return replace(
            energy, gain=weight * np.square(free),
            expected=self._pixels + s.momentum * interval * self._motion,
            last_expression=self._state.expression,
            smoothness_weight=s.smoothness_weight / interval * float(np.median(free)),
        )  # fmt: skip

    def _aligned(self, energy: FrameEnergy, state: FrameState, away: Array) -> FrameState:
        """The start moved as a whole where it is so far off that robust landmarks would let go."""
        error = np.sqrt(np.einsum("ij,ij->i", away, away)) * energy.precision
        if float(np.median(error)) < FAR_SIGMAS:
            return state
        n = len(state.expression)
        loose = replace(energy, robust=LOOSE_SIGMAS, joint_weights=1e6 * energy.joint_weights)
        return minimise_frame(loose, state, 3, 1e-2, slice(n, n + N_POSE)).state

    def _take(
        self, energy: FrameEnergy, found: Minimum, size: float, interval: float, is_cold: bool
    ) -> LiveFit:
        state = found.state
        pixels = energy.pixels(state)
        if self._pixels is not None and not is_cold:
            self._motion = (pixels - self._pixels) / (interval + self._missed)
        else:
            self._motion = np.zeros_like(pixels)
        self._state, self._pixels, self._missed = state, pixels, 0
        self._focal_of_state, self._size = energy.focal_px, size
        known = energy.precision > 0
        error = np.linalg.norm((pixels - energy.landmarks_2d)[known], axis=1)
        fit = LiveFit(
            frame_fit(state, energy.focal_px, found.cost), pixels, self.person.version, is_cold,
            float(np.median(error)) / size,
        )  # fmt: skip
        self._n_fitted += 1
        if not self.person.is_fixed:
            self._learn(energy, state, size)
        return fit

    def _learn(self, energy: FrameEnergy, state: FrameState, size: float) -> None:
        """Now and then: the person and the camera."""
        s, person = self.settings, self.person
        self._since_update += 1
        wait = s.settled_every if person.is_settled else s.update_every
        if person.keys and self._since_update < wait:
            return
        self._since_update = 0
        with np.errstate(divide="ignore"):
            sigma = 1.0 / energy.precision
        person.consider(energy.landmarks_2d, sigma, state, size)
        person.update()


def observe(
    landmarks_2d: ArrayLike, landmark_sigma: ArrayLike, floor: float
) -> tuple[Array, Array, float | None]:
    """Landmarks (L,2) without NaN, sigma (L,) infinite where there is none, the face's size.

    floor: least sigma as a share of the size. The size is None with too few landmarks.
    """
    seen = np.array(landmarks_2d, np.float64)
    sigma = np.array(landmark_sigma, np.float64)
    usable = np.isfinite(seen).all(1) & np.isfinite(sigma) & (sigma > 0)
    if usable.mean() < LEAST_SEEN:
        return seen, sigma, None
    middle = seen[usable].mean(0)
    seen[~usable] = middle
    size = 3.0 * math.sqrt(float(((seen[usable] - middle) ** 2).sum(1).mean()))
    sigma = np.where(usable, np.maximum(sigma, floor * size), np.inf)
    return seen, sigma, size


def cold_start(energy: FrameEnergy, iterations: int) -> Minimum:
    """A frame without a last one: PnP, the pose alone, then everything."""
    p = energy.points
    (cx, cy), f = energy.centre, energy.focal_px
    with np.errstate(divide="ignore"):
        sigma = 1.0 / energy.precision
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
    rotations = np.stack([logarithm(rotmat) for rotmat in state.rotmat])
    return FrameFit(
        state.expression.clip(0.0, 1.0).astype(np.float32), rotations.astype(np.float32),
        state.translation.astype(np.float32), focal_px, cost,
    )  # fmt: skip
