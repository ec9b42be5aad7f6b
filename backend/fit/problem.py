"""A fit's observations on the head's device, and minimisations over parts of its parameters."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from backend.errors import BadInputError
from backend.geometry.cameras import focal_from_field_of_view
from backend.geometry.rotations import rotvec_to_rotmat
from backend.head import GaussianMixture, Head
from backend.head.landmarks import layout

from . import start
from .behind_lips import behind_lips
from .bulk_motion import bulk_motion
from .correction import CorrectionBasis
from .energy import Energy
from .intersection import Intersection
from .observations import Observations, clean
from .pins import ArtistConstraints, add_pins, locate_pins
from .posed_points import PosedPoints
from .restricted import correction_of, meeting, restricted_points, size_split
from .settings import Constraints, FitSettings, Rig, ShotFit
from .size import SizeSplit
from .solver import Minimisation, minimise
from .state import CAMERA_SIZE, POSE_SIZE, State, one_camera
from .terms import Target

# Points of the temporal term: neighbours move alike.
MOVING = 80


class Free(enum.Flag):
    """Parameters that a minimisation may move."""

    POSE = enum.auto()
    """Root rotation and translation."""
    EXPRESSION = enum.auto()
    JOINTS = enum.auto()
    """Rotations of head and eyes."""
    IDENTITY = enum.auto()
    CORRECTION = enum.auto()
    """Where there is one."""
    FOCAL = enum.auto()
    ZOOM = enum.auto()
    CAMERAS = enum.auto()
    """Where all cameras but the first stand."""
    OFFSETS = enum.auto()
    """Of landmarks against the head, where there are any."""


MOTION = Free.POSE | Free.EXPRESSION | Free.JOINTS
PERSON = Free.IDENTITY | Free.CORRECTION
SHARED = PERSON | Free.FOCAL | Free.CAMERAS | Free.OFFSETS


@dataclass(frozen=True)
class Problem:
    """The observations of F frames in C cameras."""

    head: Head
    layout_name: str
    points: PosedPoints
    """The layout's, and those that are pinned after them."""
    prior: GaussianMixture
    settings: FitSettings
    target: Target
    centres: Tensor
    """(C,2) principal points, pixels."""
    focal_start: NDArray[np.float64]
    """(C,) pixels: fixed, or where the solve starts."""
    observed: Observations
    reference: int
    """The camera that sees most of the face: frames are chosen and linked by it."""
    low: Tensor
    """(E,) and `high`: ranges of the expressions; (F,E) where frames have ranges of their own."""
    high: Tensor
    size_split: SizeSplit
    intersection: Intersection | None
    correction: CorrectionBasis | None = None

    @classmethod
    def of(
        cls, head: Head, layout_name: str, landmarks_2d: ArrayLike, landmark_sigma: ArrayLike,
        found: ArrayLike, image_size: tuple[int, int], settings: FitSettings,
        constraints: Constraints | None = None, rig: Rig | None = None,
    ) -> Problem:  # fmt: skip
        """Check and clean landmarks (F,C,L,2); see `observations.clean`.

        Raises: BadInputError for shapes and settings that do not fit, NoFaceError without any
        frame that has landmarks.
        """
        if settings.focal_px is not None and not 0 < settings.focal_px < math.inf:
            raise BadInputError(f"a focal length of {settings.focal_px} px: it must be positive")
        constraints = constraints or Constraints()
        points = restricted_points(head, layout_name)
        cameras = np.asarray(landmarks_2d).shape[1] if np.ndim(landmarks_2d) == 4 else 1
        width, height = image_size
        middle = settings.principal_point or ((width - 1) / 2, (height - 1) / 2)
        centres = np.repeat([middle], cameras, axis=0).astype(np.float64)
        begin = settings.focal_px or focal_from_field_of_view(
            math.radians(settings.field_of_view_deg), width
        )
        focal = np.full(cameras, begin)
        if rig is not None and rig.focal_px is not None:
            focal = np.asarray(rig.focal_px, np.float64)
        count = len(points.template)
        observed = clean(
            landmarks_2d,
            landmark_sigma,
            found,
            count,
            centres,
            focal,
            settings,
            constraints,
        )
        precision = 1.0 / observed.sigma if observed.whitening is None else observed.whitening
        like = head.template
        target = Target(
            like.new_tensor(observed.landmarks_2d), like.new_tensor(precision),
            like.new_full((count,), settings.robust_sigmas),
        )  # fmt: skip
        if constraints.pins:
            points = locate_pins(head, points, constraints.pins)
            target = add_pins(target, constraints.pins, centres, focal, settings)
        low, high = _ranges(head, constraints, len(observed.found))
        return cls(
            head, layout_name, points, head.identity_prior, settings, target,
            like.new_tensor(centres), focal, observed, int(observed.found.sum(0).argmax()),
            low, high, size_split(head),
            meeting(head) if settings.intersection_weight > 0 else None,
        )  # fmt: skip

    @property
    def found(self) -> NDArray[np.bool_]:
        """(F,) frames with a face in any camera."""
        return self.observed.found.any(1)

    @property
    def size(self) -> NDArray[np.float64]:
        """(F,) of the face in the reference camera, pixels."""
        return self.observed.size[:, self.reference]

    @property
    def moving(self) -> Tensor:
        """Points of the temporal term."""
        count = len(layout(self.layout_name))
        return torch.arange(0, count, max(1, count // MOVING), device=self.centres.device)

    def tensor(self, x: ArrayLike) -> Tensor:
        """An array on the fit's device and in its precision."""
        return torch.as_tensor(np.asarray(x)).to(self.points.template)

    def start(self, rig: Rig | None = None) -> State:
        """Poses by PnP of the mean face; frames without a face between their neighbours."""
        rigid = self.points.template[: len(layout(self.layout_name))].double().cpu().numpy()
        poses = start.camera_poses(
            rigid, self.observed.landmarks_2d, self.observed.sigma, self.observed.found,
            self.centres.double().cpu().numpy(), self.focal_start,
        )  # fmt: skip
        if rig is not None:
            # Cameras that are known need not share a frame.
            rotmat, offset = rig.rotmat, rig.translation
        else:
            rotmat, offset = start.camera_rig(poses, self.observed.found)
        rotvec, translation = start.world_poses(poses, self.observed.found, rotmat, offset)
        frames = len(rotvec)
        rotations = np.zeros((frames, 4, 3))
        rotations[:, 0] = rotvec
        turn = rotvec_to_rotmat(self.tensor(rotations))
        neck = self.points.joints_template[0]
        # The root turns about the neck joint: R (x - c) + c + t = R x + t_pnp.
        moved = self.tensor(translation) + (turn[:, 0] @ neck) - neck
        state = one_camera(
            neck.new_zeros(frames, self.points.expression_basis.shape[-1]), turn, moved,
            neck.new_zeros(self.points.identity_basis.shape[-1]), neck.new_tensor(0.0),
        )  # fmt: skip
        return replace(
            state, log_focal=self.tensor(np.log(self.focal_start)),
            camera_rotmat=self.tensor(rotmat), camera_translation=self.tensor(offset),
        )  # fmt: skip

    def start_from(self, before: ShotFit) -> State:
        """The parameters of an earlier fit; its correction is projected on this problem's modes.

        A focal length that is known by now takes the place of the earlier one.
        """
        focal_px = self.settings.focal_px
        if focal_px is not None and before.rig is None:
            before = before.seen_with(focal_px)
        rotmat = rotvec_to_rotmat(self.tensor(before.rotations))
        identity = self.tensor(before.identity)
        count = self.points.identity_basis.shape[-1]
        state = one_camera(
            self.tensor(before.expression), rotmat, self.tensor(before.translation), identity,
            self.tensor(math.log(before.focal_px)),
        ).with_identity_size(count)  # fmt: skip
        if self.correction is not None and before.correction is not None:
            size = self.size_split.size(identity)
            known = self.correction.coefficients(self.tensor(before.correction) / size)
            state = replace(state, identity=torch.cat([identity, known]))
        if before.zoom is not None:
            state = replace(state, zoom=self.tensor(before.zoom).log())
        if before.rig is not None:
            assert before.rig.focal_px is not None
            state = replace(
                state, log_focal=self.tensor(np.log(before.rig.focal_px)),
                camera_rotmat=self.tensor(before.rig.rotmat),
                camera_translation=self.tensor(before.rig.translation),
            )  # fmt: skip
        return state

    def energy(
        self, link: Tensor | None, robust: float, shared: bool = True,
        rows: Tensor | None = None,
    ) -> Energy:  # fmt: skip
        """The energy of all frames, or of some: link (F-1,) couples neighbours.

        robust: deviations beyond which landmarks count less; pins never do.
        """
        scale = self.target.robust.clone()
        scale[: len(layout(self.layout_name))] = robust
        target = replace(self.target, robust=scale)
        seen = self.tensor(self.found)
        low, high = self.low, self.high
        if rows is not None:
            target, seen = target.frames(rows), seen[rows]
            if low.ndim == 2:
                low, high = low[rows], high[rows]
        return Energy(
            self.points, self.centres, target, seen, self.settings, self.prior,
            self.tensor(np.median(self.size)), link, self.tensor(np.log(self.focal_start)),
            self.moving, self._motion(link), low, high, self.size_split, self.intersection, shared,
        )  # fmt: skip

    def _motion(self, link: Tensor | None) -> Tensor:
        """(F-1,C,n,2) the face's own motion at the points of the temporal term."""
        o = self.observed
        if link is None:
            return self.tensor(np.zeros((0, *o.size.shape[1:], len(self.moving), 2)))
        motion = bulk_motion(o.landmarks_2d, o.sigma, link.double().cpu().numpy(), o.size)
        return self.tensor(motion[:, :, self.moving.cpu().numpy()])

    def minimise(
        self, state: State, free: Free, iterations: int, robust: float,
        rows: NDArray[np.int64] | None = None, link: Tensor | None = None,
        on_iteration: Callable[[int], None] = lambda i: None,
    ) -> tuple[State, Minimisation]:  # fmt: skip
        """Minimise the energy over the frames `rows` (all where None) and the shared parameters."""
        assert rows is None or link is None
        index, part = None, state
        if rows is not None:
            index = torch.as_tensor(rows, device=self.centres.device)
            part = state.frames(index)
        energy = self.energy(link, robust, bool(free & SHARED), index)
        part, report = minimise(
            part, energy.linearise, energy.cost, *self.masks(state, free), iterations,
            self.settings.tolerance, on_iteration,
        )  # fmt: skip
        return (part if index is None else state.with_frames(index, part)), report

    def without_teeth(self) -> Problem:
        """With no landmark on teeth: see `behind_lips.py`."""
        aside = torch.from_numpy(behind_lips(self.head, self.layout_name))
        precision = self.target.precision.clone()
        precision[:, :, : len(aside)][:, :, aside.to(precision.device)] = 0.0
        return replace(self, target=replace(self.target, precision=precision))

    def masks(self, state: State, free: Free) -> tuple[Tensor, Tensor]:
        """What `free` says of this problem's parameters; see `masks`."""
        return masks(state, free, self.prior.means.shape[-1])

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

    def with_offsets(self) -> Problem:
        """With an offset of every landmark, of which pins have none; see `State.offset`."""
        scale = self.tensor(1e-3 * self.settings.offset_mm)
        return replace(self, points=replace(self.points, offset_scale=scale))

    def with_fixed_offsets(self, offset: Tensor) -> Problem:
        """With landmarks held at the offsets (L,3) that a state of `with_offsets` has."""
        none = offset.new_zeros(len(self.points.template) - len(offset), 3)
        assert self.points.offset_scale is not None
        held = self.points.offset_scale * torch.cat([offset, none])
        return replace(self, points=replace(self.points, held=held, offset_scale=None))

    def without_offsets(self) -> Problem:
        """With landmarks where the head has them."""
        return replace(self, points=replace(self.points, held=None, offset_scale=None))

    def with_correction(self) -> Problem:
        """With the coefficients of the free-form correction after the identity's."""
        basis = correction_of(self.head, self.layout_name, 1e-3 * self.settings.correction_mm)
        lay = layout(self.layout_name)
        device = self.head.template.device
        corners = torch.from_numpy(lay.vertices).to(device)
        at = basis.at(corners, torch.from_numpy(lay.barycentric).to(self.head.template))
        pinned = len(self.points.template) - len(lay)
        # Pins are few; they follow the correction through the nearest landmark's modes.
        if pinned:
            gap = torch.cdist(self.points.template[len(lay) :], self.points.template[: len(lay)])
            at = torch.cat([at, at[gap.argmin(1)]])
        apart = None
        if self.intersection is not None:
            apart = self.intersection.with_correction(basis)
        points = self.points.with_correction(at, basis.at_joints())
        return replace(self, points=points, intersection=apart, correction=basis)


def masks(state: State, free: Free, own: int) -> tuple[Tensor, Tensor]:
    """Which of a frame's and of the shared parameters may move: (E+16,), (K+7C+3L,) bool.

    own: number of the head's own coefficients, after which those of the correction come.
    """
    e, k = state.expression.shape[-1], len(state.identity)
    frame = torch.zeros(e + POSE_SIZE, dtype=torch.bool, device=state.expression.device)
    frame[:e] = bool(free & Free.EXPRESSION)
    frame[e : e + 3] = frame[e + 12 : e + 15] = bool(free & Free.POSE)
    frame[e + 3 : e + 12] = bool(free & Free.JOINTS)
    frame[e + 15] = bool(free & Free.ZOOM)
    shared = torch.zeros(state.n_shared, dtype=torch.bool, device=frame.device)
    shared[:own] = bool(free & Free.IDENTITY)
    shared[own:k] = bool(free & Free.CORRECTION)
    shared[state.camera_columns.stop :] = bool(free & Free.OFFSETS)
    cameras = shared[state.camera_columns].view(-1, CAMERA_SIZE)
    cameras[:, 0] = bool(free & Free.FOCAL)
    cameras[1:, 1:] = bool(free & Free.CAMERAS)
    return frame, shared


def _ranges(head: Head, constraints: Constraints, frames: int) -> tuple[Tensor, Tensor]:
    low, high = (
        head.template.new_zeros(head.n_expression),
        head.template.new_ones(head.n_expression),
    )
    for name, least, most in constraints.expression_ranges:
        if name not in head.expression_names or not least <= most:
            raise BadInputError(f"no expression {name!r} in a range from {least} to {most}")
        low[head.expression_names.index(name)] = least
        high[head.expression_names.index(name)] = most
    if isinstance(constraints, ArtistConstraints) and constraints.neutral_frames:
        low, high = low.repeat(frames, 1), high.repeat(frames, 1)
        rest = list(constraints.neutral_frames)
        low[rest], high[rest] = 0.0, 0.0
    return low, high
