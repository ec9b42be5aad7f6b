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
from backend.geometry.rotations import rotvec_to_rotmat
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

    def with_frames(self, rows: Tensor, part: State) -> State:
        """This shot with the frames in rows, and all that is shared, from `part`."""
        return State(
            self.expression.index_copy(0, rows, part.expression),
            self.rotmat.index_copy(0, rows, part.rotmat),
            self.translation.index_copy(0, rows, part.translation),
            part.identity, part.log_focal,
        )  # fmt: skip


@dataclass(frozen=True)
class PixelJacobian:
    """Derivatives of the projections of F frames."""

    by_frame: Tensor
    """(F,L,2,67) by the frame's own parameters."""
    by_shared: Tensor | None
    """(F,L,2,101) by identity and focal length, where asked for."""


@dataclass(frozen=True)
class PosedPoints:
    """A layout's points on the posed head, restricted to what these points need."""

    template: Tensor
    """(L,3) metres."""
    expression_basis: Tensor
    """(L,3,52)"""
    identity_basis: Tensor
    """(L,3,100)"""
    skin: Tensor
    """(L,4) skinning weights at the points."""
    joints_template: Tensor
    """(4,3)"""
    joints_basis: Tensor
    """(4,3,100)"""

    @classmethod
    def of(cls, head: Head, layout: LandmarkLayout) -> PosedPoints:
        """The points of a layout.

        Skinning weights are taken at the point, not at its triangle's corners: the two differ on
        the neck alone, by less than a third of a millimetre.
        """
        corners = torch.from_numpy(layout.vertices).to(head.template.device)
        weights = torch.from_numpy(layout.barycentric).to(head.template)

        def at(x: Tensor) -> Tensor:
            return (x[..., corners, :] * weights[..., None]).sum(-2)

        return cls(
            at(head.template),
            at(head.expression_basis).permute(1, 2, 0).contiguous(),
            at(head.identity_basis).permute(1, 2, 0).contiguous(),
            at(head.skin_weights),
            head.joints_template,
            head.joints_identity_basis.permute(1, 2, 0).contiguous(),
        )

    def subset(self, rows: Tensor) -> PosedPoints:
        """The same for some of the points."""
        return replace(
            self, template=self.template[rows], expression_basis=self.expression_basis[rows],
            identity_basis=self.identity_basis[rows], skin=self.skin[rows],
        )  # fmt: skip

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
                world_t.append(_apply(world_r[parent], offset) + world_t[parent])
        return torch.stack(world_r, 1), torch.stack(world_t, 1), centres

    def _bind(self, state: State) -> Tensor:
        count, k = len(self.template), state.expression.shape[-1]
        moved = state.expression @ self.expression_basis.reshape(-1, k).T
        return self.template + self.identity_basis @ state.identity + moved.view(-1, count, 3)

    def positions(self, state: State) -> Tensor:
        """Points (F,L,3), camera frame, metres."""
        rotation, offset, _ = self._transforms(state)
        blended = torch.einsum("lj,fjab->flab", self.skin, rotation)
        return _apply(blended, self._bind(state)) + self.skin @ offset

    def pixels(self, state: State, centre: Tensor) -> Tensor:
        """Projections (F,L,2), Wood et al.: x = Pi X M(beta, psi, theta).

        centre: (2,) principal point, pixels.
        """
        return project(self.positions(state), state.log_focal.exp(), centre)

    def pixels_jacobian(
        self, state: State, centre: Tensor, shared: bool = True
    ) -> tuple[Tensor, PixelJacobian]:
        """Projections (F,L,2) and their derivatives, those by shared parameters if `shared`."""
        rotation, offset, centres = self._transforms(state)
        bind = self._bind(state)
        blended = torch.einsum("lj,fjab->flab", self.skin, rotation)
        points = _apply(blended, bind) + self.skin @ offset
        focal = state.log_focal.exp()
        by_point, by_focal = project_jacobian(points, focal)
        # d pixel / d bind position. Rows are kept point by point, (L,2,F): one product with a
        # point's basis then serves all frames.
        through = _rows_first(by_point @ blended)
        columns = [
            _by_basis(through, self.expression_basis),
            _rows_first(self._by_rotation(bind, rotation, offset, centres, by_point)),
            _rows_first(by_point),
        ]
        own = sum(x.shape[-1] for x in columns)
        if shared:
            centre_moves = self._by_centres(rotation, state, by_point)
            columns.append(_by_basis(through, self.identity_basis) + _rows_first(centre_moves))
            columns.append(_rows_first(by_focal[..., None]))
        jacobian = torch.cat(columns, dim=-1).permute(2, 0, 1, 3)
        return (
            project(points, focal, centre),
            PixelJacobian(jacobian[..., :own], jacobian[..., own:] if shared else None),
        )

    def _by_centres(self, rotation: Tensor, state: State, by_point: Tensor) -> Tensor:
        """(F,L,2,100): how identity, by moving joint centres, moves what turns about them."""
        eye = torch.eye(3, dtype=rotation.dtype, device=rotation.device)
        moves, shares = [], []
        for joint, parent in enumerate(JOINT_PARENTS):
            hold = eye - state.rotmat[:, joint]
            moves.append(
                (hold if parent < 0 else rotation[:, parent] @ hold) @ self.joints_basis[joint]
            )
            shares.append(self.skin[:, list(BELOW[joint])].sum(-1))
        # (F,2L,12) @ (F,12,100)
        weighted = torch.stack([s[:, None, None] * by_point for s in shares], dim=-2)
        product = weighted.flatten(-2).flatten(1, 2) @ torch.cat(moves, dim=1)
        return product.view(*by_point.shape[:-1], -1)

    def _by_rotation(
        self, bind: Tensor, rotation: Tensor, offset: Tensor, centres: Tensor, by_point: Tensor
    ) -> Tensor:
        """(F,L,2,12): derivative by the left increments of the four joints."""
        pivots = _apply(rotation, centres) + offset
        # Where each joint alone would carry the points, weighted: 4 times (F,L,3).
        carried = [
            self.skin[:, j, None] * (bind @ rotation[:, j].transpose(-1, -2) + offset[:, None, j])
            for j in range(N_JOINTS)
        ]
        columns = []
        for joint, reach in enumerate(BELOW):
            share = self.skin[:, list(reach)].sum(-1)[:, None]
            arm = sum(carried[j] for j in reach) - share * pivots[:, None, joint]
            # b . (delta x arm) = delta . (arm x b), delta being given in the parent's frame.
            turn = torch.linalg.cross(arm[:, :, None].expand_as(by_point), by_point)
            parent = JOINT_PARENTS[joint]
            columns.append(turn if parent < 0 else turn @ rotation[:, None, parent])
        return torch.cat(columns, dim=-1)


def _apply(matrix: Tensor, vector: Tensor) -> Tensor:
    """Matrices (...,3,3) on vectors (...,3); far faster than many tiny matrix products."""
    return (matrix * vector[..., None, :]).sum(-1)


def _rows_first(x: Tensor) -> Tensor:
    """(F,L,2,C) as (L,2,F,C)."""
    return x.permute(1, 2, 0, 3)


def _by_basis(through: Tensor, basis: Tensor) -> Tensor:
    """(L,2,F,3) times (L,3,K): (L,2,F,K)."""
    count, two, frames, three = through.shape
    product = torch.bmm(through.reshape(count, two * frames, three), basis)
    return product.view(count, two, frames, -1)
