"""Landmarks as a function of the fit's parameters, with the analytic Jacobian beside it.

State of a frame: expression (52), rotation matrices of the 4 joints, translation (3); of the shot:
identity (100) and the logarithm of the focal length. Rotations step by left increments,
R <- exp(delta) R: the root's in the camera frame, the others' in their parent's.
Columns of a frame's Jacobian: expression, 3 per joint, translation; of the shot's: identity, focal.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from backend.geometry.cameras import project, project_jacobian
from backend.geometry.rotations import rotvec_to_rotmat, skew
from backend.head import Head
from backend.head.landmarks import LandmarkLayout
from backend.head.model import JOINT_PARENTS

N_JOINTS = 4
# The joints that turn with each joint, itself included.
BELOW = ((0, 1, 2, 3), (1, 2, 3), (2,), (3,))


@dataclass(frozen=True)
class State:
    """Parameters of F frames and of the shot."""

    expression: Tensor
    """(F,52)"""
    rotmat: Tensor
    """(F,4,3,3)"""
    translation: Tensor
    """(F,3)"""
    identity: Tensor
    """(100,)"""
    log_focal: Tensor
    """()"""

    def step(self, frame: Tensor, shared: Tensor) -> State:
        """The state after increments frame (F,67) and shared (101,)."""
        k = self.expression.shape[-1]
        turn = frame[:, k : k + 3 * N_JOINTS].reshape(-1, N_JOINTS, 3)
        return State(
            self.expression + frame[:, :k],
            rotvec_to_rotmat(turn) @ self.rotmat,
            self.translation + frame[:, k + 3 * N_JOINTS :],
            self.identity + shared[:-1],
            self.log_focal + shared[-1],
        )

    def frames(self, rows: Tensor | slice) -> State:
        """The same shot with some of the frames."""
        return replace(
            self, expression=self.expression[rows], rotmat=self.rotmat[rows],
            translation=self.translation[rows],
        )  # fmt: skip


class PosedPoints:
    """A layout's points on the posed head, restricted to what these points need."""

    def __init__(self, head: Head, layout: LandmarkLayout, centre: Tensor) -> None:
        """centre: (2,) principal point in pixels."""
        corners = torch.from_numpy(layout.vertices).to(head.template.device)
        weights = torch.from_numpy(layout.barycentric).to(head.template)

        def at(x: Tensor) -> Tensor:
            return (x[..., corners, :] * weights[..., None]).sum(-2)

        self.template = at(head.template)
        # (L,3,K): a coefficient's effect on each point.
        self.identity_basis = at(head.identity_basis).permute(1, 2, 0).contiguous()
        self.expression_basis = at(head.expression_basis).permute(1, 2, 0).contiguous()
        # Within a triangle the skinning weights are taken at the point, not at its corners: they
        # differ only on the neck, by less than a tenth of a millimetre after blending.
        self.skin = (head.skin_weights[corners] * weights[..., None]).sum(-2)
        self.joints_template = head.joints_template
        self.joints_basis = head.joints_identity_basis.permute(1, 2, 0).contiguous()
        self.centre = centre.to(head.template)

    def subset(self, rows: Tensor) -> PosedPoints:
        """The same for some of the points."""
        other = object.__new__(PosedPoints)
        other.__dict__.update(self.__dict__)
        for name in ("template", "identity_basis", "expression_basis", "skin"):
            setattr(other, name, getattr(self, name)[rows])
        return other

    def _transforms(self, state: State) -> tuple[Tensor, Tensor, Tensor]:
        """World rotations (F,4,3,3), offsets (F,4,3) and joint centres (4,3) in the bind pose."""
        centres = self.joints_template + self.joints_basis @ state.identity
        world_r: list[Tensor] = []
        world_t: list[Tensor] = []
        for joint, parent in enumerate(JOINT_PARENTS):
            local = state.rotmat[:, joint]
            offset = centres[joint] - local @ centres[joint]
            if parent < 0:
                world_r.append(local)
                world_t.append(offset + state.translation)
            else:
                world_r.append(world_r[parent] @ local)
                world_t.append((world_r[parent] @ offset[..., None])[..., 0] + world_t[parent])
        return torch.stack(world_r, 1), torch.stack(world_t, 1), centres

    def _bind(self, state: State) -> Tensor:
        return (
            self.template
            + self.identity_basis @ state.identity
            + torch.einsum("lck,fk->flc", self.expression_basis, state.expression)
        )

    def positions(self, state: State) -> Tensor:
        """Points (F,L,3), camera frame, metres."""
        rotation, offset, _ = self._transforms(state)
        blended = torch.einsum("lj,fjab->flab", self.skin, rotation)
        return (blended @ self._bind(state)[..., None])[..., 0] + self.skin @ offset

    def pixels(self, state: State) -> Tensor:
        """Projections (F,L,2), Wood et al.: x = Pi X M(beta, psi, theta)."""
        return project(self.positions(state), state.log_focal.exp(), self.centre)

    def pixels_jacobian(self, state: State) -> tuple[Tensor, Tensor, Tensor]:
        """Projections (F,L,2) with their derivatives by frame (F,L,2,67) and shot (F,L,2,101)."""
        rotation, offset, centres = self._transforms(state)
        bind = self._bind(state)
        blended = torch.einsum("lj,fjab->flab", self.skin, rotation)
        points = (blended @ bind[..., None])[..., 0] + self.skin @ offset
        focal = state.log_focal.exp()
        pixels = project(points, focal, self.centre)
        by_point, by_focal = project_jacobian(points, focal)
        # d pixel / d bind position, (F,L,2,3).
        through = by_point @ blended
        by_expression = through @ self.expression_basis
        by_identity = through @ self.identity_basis
        for joint, moved in enumerate(self._offset_by_identity(rotation, state)):
            share = self.skin[:, list(BELOW[joint])].sum(-1)
            by_identity += (share[:, None, None] * by_point) @ moved[:, None]
        by_rotation = self._by_rotation(bind, rotation, offset, centres, by_point)
        frame = torch.cat([by_expression, by_rotation, by_point], dim=-1)
        return pixels, frame, torch.cat([by_identity, by_focal[..., None]], dim=-1)

    def _offset_by_identity(self, rotation: Tensor, state: State) -> list[Tensor]:
        """For each joint (F,3,100): how identity, by moving its centre, moves all below it."""
        eye = torch.eye(3, dtype=rotation.dtype, device=rotation.device)
        out = []
        for joint, parent in enumerate(JOINT_PARENTS):
            hold = eye - state.rotmat[:, joint]
            own = hold if parent < 0 else rotation[:, parent] @ hold
            out.append(own @ self.joints_basis[joint])
        return out

    def _by_rotation(
        self, bind: Tensor, rotation: Tensor, offset: Tensor, centres: Tensor, by_point: Tensor
    ) -> Tensor:
        """(F,L,2,12): derivative by the left increments of the four joints."""
        # Where each joint alone would carry the points, weighted: (F,L,4,3).
        carried = torch.einsum("fjab,flb->flja", rotation, bind) + offset[:, None]
        pivots = torch.einsum("fjab,jb->fja", rotation, centres) + offset
        columns = []
        for joint, reach in enumerate(BELOW):
            rows = list(reach)
            arm = (self.skin[:, rows, None] * (carried[:, :, rows] - pivots[:, None, None, joint])).sum(-2)
            parent = JOINT_PARENTS[joint]
            # delta x arm = -[arm]x delta, delta being given in the parent's frame.
            turn = -skew(arm)
            if parent >= 0:
                turn = turn @ rotation[:, None, parent]
            columns.append(by_point @ turn)
        return torch.cat(columns, dim=-1)
