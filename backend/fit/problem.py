"""A fit's observations, cleaned and on the head's device, and minimisations over parts of it."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from backend.errors import BadInputError, NoFaceError
from backend.geometry.cameras import focal_from_field_of_view
from backend.geometry.rotations import rotvec_to_rotmat
from backend.head import GaussianMixture, Head
from backend.head.landmarks import layout

from . import start
from .energy import Energy
from .posed_points import PosedPoints, State
from .settings import FitSettings
from .solver import Minimisation, minimise
from .terms import Target

# A frame with fewer of its landmarks counts as one without a face.
LEAST_SEEN = 0.2


class Free(enum.Flag):
    """Parameters that a minimisation may move."""

    POSE = enum.auto()
    """Root rotation and translation."""
    EXPRESSION = enum.auto()
    JOINTS = enum.auto()
    """Rotations of head and eyes."""
    IDENTITY = enum.auto()
    FOCAL = enum.auto()


MOTION = Free.POSE | Free.EXPRESSION | Free.JOINTS


@dataclass(frozen=True)
class Problem:
    """The observations of F frames of one shot."""

    points: PosedPoints
    prior: GaussianMixture
    settings: FitSettings
    target: Target
    centre: Tensor
    """(2,) principal point, pixels."""
    focal_start: float
    """Pixels: fixed, or where the solve starts."""
    found: NDArray[np.bool_]
    """(F,) frames with landmarks."""
    landmarks_2d: NDArray[np.float64]
    """(F,L,2) pixels; where there is none, the middle of the others."""
    sigma: NDArray[np.float64]
    """(F,L) pixels, infinite where there is no landmark."""
    size: NDArray[np.float64]
    """(F,) size of the face, pixels; the typical one where it is not found."""

    @classmethod
    def of(
        cls, head: Head, layout_name: str, landmarks_2d: ArrayLike, landmark_sigma: ArrayLike,
        found: ArrayLike, image_size: tuple[int, int], settings: FitSettings,
    ) -> Problem:  # fmt: skip
        """Check and clean observations: landmarks (F,L,2), sigma (F,L), found (F,).

        Landmarks that are not finite, or whose sigma is not positive and finite, do not count.
        Raises: BadInputError for shapes and settings that do not fit, NoFaceError without any
        frame that has landmarks.
        """
        points = _restricted(head, layout_name)
        seen_2d = np.asarray(landmarks_2d, np.float64)
        sigma = np.asarray(landmark_sigma, np.float64)
        marked = np.asarray(found, bool)
        count = len(points.template)
        if seen_2d.shape != (len(marked), count, 2) or sigma.shape != (len(marked), count):
            raise BadInputError(
                f"landmarks {seen_2d.shape}, sigma {sigma.shape} and found {marked.shape} do not "
                f"fit the {count} points of {layout_name}"
            )
        if settings.focal_px is not None and not 0 < settings.focal_px < math.inf:
            raise BadInputError(f"a focal length of {settings.focal_px} px: it must be positive")
        usable = marked[:, None] & np.isfinite(seen_2d).all(-1) & np.isfinite(sigma) & (sigma > 0)
        with_face = usable.mean(axis=1) >= LEAST_SEEN
        if not with_face.any():
            raise NoFaceError("no frame has a face to fit")
        usable &= with_face[:, None]
        seen_2d = _fill(seen_2d, usable)
        size = start.face_size(np.where(usable[..., None], seen_2d, np.nan))
        size[~with_face] = np.median(size[with_face])
        sigma = np.where(usable, np.maximum(sigma, settings.sigma_floor * size[:, None]), np.inf)
        width, height = image_size
        like = head.template
        return cls(
            points, head.identity_prior, settings,
            Target(torch.as_tensor(seen_2d).to(like), torch.as_tensor(1.0 / sigma).to(like)),
            like.new_tensor([(width - 1) / 2, (height - 1) / 2]),
            settings.focal_px
            or focal_from_field_of_view(math.radians(settings.field_of_view_deg), width),
            with_face, seen_2d, sigma, size,
        )  # fmt: skip

    def tensor(self, x: ArrayLike) -> Tensor:
        """An array on the fit's device and in its precision."""
        return torch.as_tensor(np.asarray(x)).to(self.points.template)

    def start(self) -> State:
        """Poses by PnP of the mean face; frames without a face between their neighbours."""
        rigid = self.points.template.double().cpu().numpy()
        centre, focal = self.centre.double().cpu().numpy(), self.focal_start
        K = np.array([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1]])
        frames = len(self.found)
        rotvec, translation = np.zeros((frames, 3)), np.zeros((frames, 3))
        for f in np.flatnonzero(self.found):
            rotvec[f], translation[f] = start.solve_pose(
                rigid, self.landmarks_2d[f], self.sigma[f], K
            )
        rotvec, translation = start.fill_poses(rotvec, translation, self.found)
        rotations = np.zeros((frames, 4, 3))
        rotations[:, 0] = rotvec
        rotmat = rotvec_to_rotmat(self.tensor(rotations))
        neck = self.points.joints_template[0]
        # The root turns about the neck joint: R (x - c) + c + t = R x + t_pnp.
        translations = self.tensor(translation) + (rotmat[:, 0] @ neck) - neck
        return State(
            neck.new_zeros(frames, self.points.expression_basis.shape[-1]), rotmat, translations,
            neck.new_zeros(self.points.identity_basis.shape[-1]), neck.new_tensor(math.log(focal)),
        )  # fmt: skip

    def minimise(
        self, state: State, free: Free, iterations: int, robust: float,
        rows: NDArray[np.int64] | None = None, link: Tensor | None = None,
        on_iteration: Callable[[int], None] = lambda i: None,
    ) -> tuple[State, Minimisation]:  # fmt: skip
        """Minimise the energy over the frames `rows` (all where None) and the shared parameters.

        robust: deviations beyond which landmarks count less; link (F-1,) couples neighbours.
        """
        assert rows is None or link is None
        target, seen, part = self.target, self.tensor(self.found), state
        if rows is not None:
            index = torch.as_tensor(rows, device=self.centre.device)
            target = Target(target.landmarks_2d[index], target.precision[index])
            seen, part = seen[index], state.frames(index)
        energy = Energy(
            self.points, self.centre, target, seen, self.settings, self.prior,
            self.tensor(np.median(self.size)), link, self.tensor(math.log(self.focal_start)),
            robust, shared=bool(free & (Free.IDENTITY | Free.FOCAL)),
        )  # fmt: skip
        part, report = minimise(
            part, energy.linearise, energy.cost, *_masks(state, free), iterations,
            self.settings.tolerance, on_iteration,
        )  # fmt: skip
        return (part if rows is None else state.with_frames(index, part)), report

    def components(self) -> list[Problem]:
        """The same problem with each Gaussian of the identity prior alone."""
        p = self.prior
        return [
            replace(
                self,
                prior=GaussianMixture(
                    p.weights[g : g + 1], p.means[g : g + 1], p.precision_chol[g : g + 1]
                ),
            )
            for g in range(len(p.weights))
        ]


def _masks(state: State, free: Free) -> tuple[Tensor, Tensor]:
    """Which of a frame's and of the shared parameters may move: (67,) and (101,) bool."""
    k = state.expression.shape[-1]
    frame = torch.zeros(k + 15, dtype=torch.bool, device=state.expression.device)
    frame[:k] = bool(free & Free.EXPRESSION)
    frame[k : k + 3] = frame[k + 12 :] = bool(free & Free.POSE)
    frame[k + 3 : k + 12] = bool(free & Free.JOINTS)
    shared = torch.zeros(len(state.identity) + 1, dtype=torch.bool, device=frame.device)
    shared[:-1] = bool(free & Free.IDENTITY)
    shared[-1] = bool(free & Free.FOCAL)
    return frame, shared


def _fill(landmarks_2d: NDArray[np.float64], usable: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Landmarks without use, in the middle of their frame's others: they carry no weight."""
    kept = np.where(usable[..., None], landmarks_2d, 0.0)
    middle = kept.sum(axis=1) / np.maximum(usable.sum(axis=1), 1)[:, None]
    return np.where(usable[..., None], kept, middle[:, None])


_cache: WeakKeyDictionary[Head, dict[tuple[str, str], PosedPoints]] = WeakKeyDictionary()


def _restricted(head: Head, layout_name: str) -> PosedPoints:
    """A head's landmark points, kept for the next frame: gathering them takes longer than a fit."""
    kept = _cache.setdefault(head, {})
    key = (layout_name, f"{head.template.device} {head.template.dtype}")
    if key not in kept:
        kept[key] = PosedPoints.of(head, layout(layout_name))
    return kept[key]
