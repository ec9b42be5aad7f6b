"""The fit of a shot in stages: poses, a person from key frames, every frame, everything at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from backend.errors import BadInputError, CancelledError, NoFaceError
from backend.geometry.cameras import focal_from_field_of_view
from backend.geometry.rotations import rotmat_to_rotvec, rotvec_to_rotmat
from backend.head import Head
from backend.head.landmarks import layout

from . import start
from .energy import Energy
from .posed_points import PosedPoints, State
from .settings import FitSettings, FrameFit, ShotFit
from .solver import Minimisation, minimise
from .terms import Target

Progress = Callable[[str, float], None]
# Far-off starts are pulled in from this many deviations before hands and hair are told apart.
LOOSE = 30.0
FRAME_ITERATIONS = 6
POLISH_ITERATIONS = 6


def _check(landmarks_2d: NDArray, sigma: NDArray, count: int, settings: FitSettings) -> None:
    if landmarks_2d.shape[1:] != (count, 2) or sigma.shape != landmarks_2d.shape[:2]:
        raise BadInputError(
            f"landmarks {landmarks_2d.shape} and sigma {sigma.shape} do not fit a layout of {count} points"
        )
    if settings.focal_px is not None and settings.focal_px <= 0:
        raise BadInputError(f"a focal length of {settings.focal_px} px: it must be positive")


class _Fitter:
    """One shot's observations on the head's device, and minimisations over parts of it."""

    def __init__(
        self, head: Head, layout_name: str, landmarks_2d: NDArray, sigma: NDArray,
        found: NDArray[np.bool_], image_size: tuple[int, int], settings: FitSettings,
    ) -> None:  # fmt: skip
        self.settings, self.found = settings, found
        lay = layout(layout_name)
        _check(landmarks_2d, sigma, len(lay), settings)
        self.like = head.template
        self.prior = head.identity_prior
        width, height = image_size
        self.centre = np.array([(width - 1) / 2, (height - 1) / 2])
        self.points = PosedPoints.of(head, lay)
        self.size = start.face_size(landmarks_2d)
        self.typical = float(np.median(self.size[found]))
        usable = found[:, None] & np.isfinite(sigma) & np.isfinite(landmarks_2d).all(-1)
        floor = settings.sigma_floor * np.where(found, self.size, 1.0)[:, None]
        precision = np.where(usable, 1.0 / np.maximum(np.where(usable, sigma, 1.0), floor), 0.0)
        self.landmarks_2d = np.where(usable[..., None], landmarks_2d, 0.0).astype(np.float64)
        self.sigma = np.where(usable, sigma, np.inf)
        self.target = Target(self._tensor(self.landmarks_2d), self._tensor(precision))
        self.focal_start = settings.focal_px or focal_from_field_of_view(
            np.radians(settings.field_of_view_deg), width
        )

    def _tensor(self, x: ArrayLike) -> Tensor:
        return torch.as_tensor(np.asarray(x)).to(self.like)

    def start(self) -> State:
        """Poses by PnP of the mean face; frames without a face between their neighbours."""
        rigid = self.points.template.double().cpu().numpy()
        focal = self.focal_start
        K = np.array([[focal, 0, self.centre[0]], [0, focal, self.centre[1]], [0, 0, 1]])
        frames = len(self.found)
        rotvec, translation = np.zeros((frames, 3)), np.zeros((frames, 3))
        for f in np.flatnonzero(self.found):
            rotvec[f], translation[f] = start.solve_pose(rigid, self.landmarks_2d[f], self.sigma[f], K)
        rotvec, translation = start.fill_poses(rotvec, translation, self.found)
        rotmat = torch.eye(3).to(self.like).expand(frames, 4, 3, 3).clone()
        rotmat[:, 0] = rotvec_to_rotmat(self._tensor(rotvec))
        neck = self.points.joints_template[0]
        # The root turns about the neck joint: R (x - c) + c + t = R x + t_pnp.
        moved = self._tensor(translation) + (rotmat[:, 0] @ neck) - neck
        zeros = self.like.new_zeros
        return State(zeros(frames, 52), rotmat, moved, zeros(100), self.like.new_tensor(np.log(focal)))

    def minimise(
        self, state: State, rows: NDArray[np.int64] | None, link: Tensor | None, robust: float,
        what: str, iterations: int, on_iteration: Callable[[int], None] = lambda i: None,
    ) -> tuple[State, Minimisation]:  # fmt: skip
        """Minimise over the frames `rows` (all where None).

        what: letters of the free parameters: p pose, e expression, j joints and eyes, i identity,
        f focal length.
        """
        target = self.target
        part = state
        if rows is not None:
            index = torch.as_tensor(rows, device=self.like.device)
            target = Target(target.landmarks_2d[index], target.precision[index])
            part = state.frames(index)
        energy = Energy(
            self.points, self._tensor(self.centre), target, self.settings, self.prior,
            self.like.new_tensor(self.typical), link, self.like.new_tensor(np.log(self.focal_start)),
            robust, "i" in what or "f" in what,
        )  # fmt: skip
        free_block = torch.zeros(67, dtype=torch.bool, device=self.like.device)
        free_block[:52] = "e" in what
        free_block[52:55] = free_block[64:] = "p" in what
        free_block[55:64] = "j" in what
        free_shared = torch.zeros(101, dtype=torch.bool, device=self.like.device)
        free_shared[:100] = "i" in what
        free_shared[100] = "f" in what
        part, report = minimise(
            part, energy.linearise, energy.cost, free_block, free_shared, iterations,
            self.settings.tolerance, on_iteration,
        )  # fmt: skip
        if rows is None:
            return part, report
        whole = replace(
            state, expression=state.expression.clone(), rotmat=state.rotmat.clone(),
            translation=state.translation.clone(), identity=part.identity, log_focal=part.log_focal,
        )  # fmt: skip
        whole.expression[index], whole.rotmat[index] = part.expression, part.rotmat
        whole.translation[index] = part.translation
        return whole, report


@torch.no_grad()
def fit_shot(
    head: Head, layout_name: str, landmarks_2d: NDArray, landmark_sigma: NDArray,
    found: NDArray[np.bool_], image_size: tuple[int, int], settings: FitSettings | None = None,
    progress: Progress | None = None, cancelled: Callable[[], bool] | None = None,
) -> ShotFit:  # fmt: skip
    """Fit one identity, one focal length and every frame's pose and expression to a shot.

    Args: landmarks_2d (F,L,2) and landmark_sigma (F,L) pixels of the layout's points; found (F,);
    image_size (width, height); progress is told (stage, 0 to 1); cancelled is polled.
    Frames not found have no data term: neighbours carry them. Raises: NoFaceError without any
    found frame, CancelledError, BadInputError for shapes that do not fit.
    """
    settings = settings or FitSettings()
    found = np.asarray(found, bool)
    if not found.any():
        raise NoFaceError("no frame has a face to fit")
    report = progress or (lambda stage, fraction: None)
    fitter = _Fitter(
        head, layout_name, np.asarray(landmarks_2d, np.float64), np.asarray(landmark_sigma, np.float64),
        found, image_size, settings,
    )  # fmt: skip
    done, planned = [0], [1]

    def tick(_: int) -> None:
        if cancelled is not None and cancelled():
            raise CancelledError("the fit was cancelled")
        done[0] += 1
        report("fit", min(done[0] / planned[0], 1.0))

    f = "" if settings.focal_px is not None else "f"
    n = settings.iterations
    planned[0] = 3 * n + 10 + POLISH_ITERATIONS
    tick(0)
    state = fitter.start()
    keys = start.choose_keys(fitter.landmarks_2d, fitter.sigma, found, settings.key_frames)
    run = fitter.minimise
    state, _ = run(state, keys, None, LOOSE, "p", 6, tick)
    state, _ = run(state, keys, None, LOOSE, "pei", n, tick)
    state, result = run(state, keys, None, settings.robust_sigmas, "peji" + f, n, tick)
    if len(found) > 1:
        state = _spread_from_keys(fitter, state, keys)
        seen = np.flatnonzero(found)
        state, _ = run(state, seen, None, LOOSE, "p", 4, tick)
        link = start.link_frames(fitter.landmarks_2d, found, fitter.size, settings.largest_gap)
        linked = fitter._tensor(link)
        state, _ = run(state, None, linked, settings.robust_sigmas, "pej", n, tick)
        state, result = run(state, None, linked, settings.robust_sigmas, "peji" + f, POLISH_ITERATIONS, tick)
    report("fit", 1.0)
    rotations = rotmat_to_rotvec(state.rotmat)
    numpy = lambda x: x.cpu().numpy().astype(np.float32)  # noqa: E731
    return ShotFit(
        numpy(state.identity), numpy(state.expression.clamp(0, 1)), numpy(rotations),
        numpy(state.translation), float(state.log_focal.exp()), found, tuple(result.costs),
    )  # fmt: skip


def _spread_from_keys(fitter: _Fitter, state: State, keys: NDArray[np.int64]) -> State:
    """Expressions and depths of the frames between keys, interpolated from the keys' fit.

    The keys have moved to the solved focal length; the others still sit at the first one's depth.
    """
    frames = np.arange(len(fitter.found))
    expression = state.expression.cpu().numpy()
    between = np.stack([np.interp(frames, keys, expression[keys, k]) for k in range(52)], axis=1)
    factor = float(state.log_focal.exp()) / fitter.focal_start
    other = np.setdiff1d(frames, keys)
    translation = state.translation.clone()
    scale = translation.new_ones(3)
    scale[2] = factor
    translation[other] = translation[other] * scale
    return replace(state, expression=fitter._tensor(between), translation=translation)


@torch.no_grad()
def fit_frame(
    head: Head, layout_name: str, landmarks_2d: NDArray, landmark_sigma: NDArray,
    image_size: tuple[int, int], settings: FitSettings | None = None, previous: FrameFit | None = None,
    identity: NDArray | None = None,
) -> FrameFit:  # fmt: skip
    """Fit pose and expression of one frame (L,2), (L,), identity and focal length given.

    previous: the last frame's fit, where this one starts; identity (100,), the mean where None.
    The focal length is the settings', or that of the starting field of view.
    """
    settings = settings or FitSettings()
    fitter = _Fitter(
        head, layout_name, np.asarray(landmarks_2d, np.float64)[None],
        np.asarray(landmark_sigma, np.float64)[None], np.ones(1, bool), image_size, settings,
    )  # fmt: skip
    state = fitter.start()
    if previous is not None:
        jump = start.face_size(fitter.landmarks_2d)[0]
        warm = replace(
            state,
            expression=fitter._tensor(previous.expression)[None],
            rotmat=rotvec_to_rotmat(fitter._tensor(previous.rotations))[None],
            translation=fitter._tensor(previous.translation)[None],
        )
        error = (fitter.points.pixels(warm, fitter._tensor(fitter.centre))[0] - fitter.target.landmarks_2d[0]).norm(dim=-1).median()
        if float(error) < 0.2 * jump:
            state = warm
    if identity is not None:
        state = replace(state, identity=fitter._tensor(identity))
    state, _ = fitter.minimise(state, None, None, LOOSE, "p", 2)
    state, result = fitter.minimise(state, None, None, settings.robust_sigmas, "pej", FRAME_ITERATIONS)
    numpy = lambda x: x[0].cpu().numpy().astype(np.float32)  # noqa: E731
    return FrameFit(
        numpy(state.expression.clamp(0, 1)), numpy(rotmat_to_rotvec(state.rotmat)),
        numpy(state.translation), float(state.log_focal.exp()), result.costs[-1],
    )  # fmt: skip
