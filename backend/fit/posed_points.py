"""Points of the posed head as a function of the fit's parameters, with the derivative beside it.

The whole mesh is never posed. A point's Jacobian is that of linear blend skinning,

    dp = T (X dpsi + B dbeta) + sum_j a_j x dtheta_j + dt + (what moves the joints' centres) dbeta,

and is formed only after multiplication from the left by rows that a caller gives, so that what a
camera sees of a point (2 rows) and what several cameras see of it together (3 rows) cost alike.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from backend.head import Head
from backend.head.landmarks import LandmarkLayout
from backend.head.model import JOINT_PARENTS

from .size import size_gradient, size_of
from .state import N_JOINTS, State

# The joints that turn with each joint, itself included.
BELOW = ((0, 1, 2, 3), (1, 2, 3), (2,), (3,))


@dataclass(frozen=True)
class Posed:
    """Points of F frames, camera frame of the first camera, with what their derivative needs."""

    points: Tensor
    """(F,L,3) metres."""
    bind: Tensor
    """(F,L,3) before posing."""
    blended: Tensor
    """(F,L,3,3) rotation of a point."""
    rotation: Tensor
    """(F,4,3,3) of the joints in the world."""
    offset: Tensor
    """(F,4,3)"""
    centres: Tensor
    """(4,3) joint centres before posing."""
    local: Tensor
    """(F,4,3,3) of the joints in their parent's frame."""


@dataclass(frozen=True)
class RowJacobian:
    """Rows times the derivatives of F frames' points."""

    by_frame: Tensor
    """(F,L,r,E+16) by expression, rotations, translation, and zoom as it was given."""
    by_identity: Tensor | None
    """(F,L,r,K)"""
    factor: Tensor | None
    """(L,r,F,15): `by_identity` is this times `PosedPoints.identity_factor` (L,15,K), which no
    frame changes. Its first three columns are the derivative by where a point lies at rest."""


@dataclass(frozen=True)
class PosedPoints:
    """A layout's points on the posed head, restricted to what these points need."""

    template: Tensor
    """(L,3) metres."""
    expression_basis: Tensor
    """(L,3,E)"""
    identity_basis: Tensor
    """(L,3,K)"""
    skin: Tensor
    """(L,4) skinning weights at the points."""
    joints_template: Tensor
    """(4,3)"""
    joints_basis: Tensor
    """(4,3,K)"""
    growth: Tensor
    """(n,) change of the head's size, a share of the mean's, by its n own coefficients. What comes
    beside these, correction and offsets, grows with the head: else a prior on their millimetres
    would shrink the head, which one camera cannot tell from one that is nearer."""
    offset_scale: Tensor | None = None
    """Metres that an offset of one moves its point, on a head of mean size; None where points have
    none. The first points are those that have one."""
    held: Tensor | None = None
    """(L,3) metres that points lie off for good, on a head of mean size."""

    @classmethod
    def of(cls, head: Head, layout: LandmarkLayout) -> PosedPoints:
        """The points of a layout.

        Skinning weights are taken at the point, not at its triangle's corners: the two differ on
        the neck alone, by less than a third of a millimetre.
        """
        return cls.at(head, torch.from_numpy(layout.vertices), torch.from_numpy(layout.barycentric))

    @classmethod
    def at(cls, head: Head, corners: Tensor, barycentric: Tensor) -> PosedPoints:
        """The points of barycentric weights (L,3) on vertices (L,3)."""
        corners, weights = corners.to(head.template.device), barycentric.to(head.template)

        def at(x: Tensor) -> Tensor:
            return (x[..., corners, :] * weights[..., None]).sum(-2)

        return cls(
            at(head.template),
            at(head.expression_basis).permute(1, 2, 0).contiguous(),
            at(head.identity_basis).permute(1, 2, 0).contiguous(),
            at(head.skin_weights),
            head.joints_template,
            head.joints_identity_basis.permute(1, 2, 0).contiguous(),
            size_gradient(head),
        )

    def subset(self, rows: Tensor | slice) -> PosedPoints:
        """The same for some of the points, which have no offsets."""
        assert self.offset_scale is None
        return replace(
            self, template=self.template[rows], expression_basis=self.expression_basis[rows],
            identity_basis=self.identity_basis[rows], skin=self.skin[rows],
            held=None if self.held is None else self.held[rows],
        )  # fmt: skip

    def with_correction(self, basis: Tensor, joints_basis: Tensor) -> PosedPoints:
        """With more identity coefficients: basis (L,3,M) at the points, (4,3,M) at the joints, both
        for a head of mean size."""
        return replace(
            self,
            identity_basis=torch.cat([self.identity_basis, basis], -1),
            joints_basis=torch.cat([self.joints_basis, joints_basis], -1),
        )

    def size(self, state: State) -> Tensor:
        """() size of the head over the mean's."""
        return size_of(self.growth, state.identity[: len(self.growth)])

    def at_size(self, state: State) -> PosedPoints:
        """The same points and derivatives at a state, with what grows with the head brought to its
        size there: linear in all coefficients as without a correction."""
        n = len(self.growth)
        if len(state.identity) == n and self.held is None and self.offset_scale is None:
            return self
        own, free = state.identity[:n], state.identity[n:]
        size = self.size(state)
        moved = self.identity_basis[..., n:] @ free
        if self.held is not None:
            moved = moved + self.held
        if self.offset_scale is not None:
            moved = moved + self.offset_scale * self._padded(state.offset)
        joints = self.joints_basis[..., n:] @ free
        grown = self.growth @ own
        template = self.template - grown * moved
        if self.held is not None:
            template = template + size * self.held
        return replace(
            self,
            template=template,
            identity_basis=_grown(self.identity_basis, moved, self.growth, size),
            joints_template=self.joints_template - grown * joints,
            joints_basis=_grown(self.joints_basis, joints, self.growth, size),
            offset_scale=None if self.offset_scale is None else size * self.offset_scale,
            held=None,
        )

    def _padded(self, offset: Tensor) -> Tensor:
        """Offsets of all points: 0 for those that have none."""
        return torch.cat([offset, offset.new_zeros(len(self.template) - len(offset), 3)])

    def pose(self, state: State) -> Posed:
        """Pose the points of all frames."""
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
        rotation, offset = torch.stack(world_r, 1), torch.stack(world_t, 1)
        bind = self.bind(state)
        blended = (self.skin @ rotation.flatten(2)).unflatten(-1, (3, 3))
        points = _apply(blended, bind) + self.skin @ offset
        return Posed(points, bind, blended, rotation, offset, centres, state.rotmat)

    def bind(self, state: State) -> Tensor:
        """Points (F,L,3) before posing, head frame."""
        count, k = len(self.template), state.expression.shape[-1]
        moved = state.expression @ self.expression_basis.reshape(-1, k).T
        at_rest = self.template + self.identity_basis @ state.identity
        if self.offset_scale is not None:
            at_rest = at_rest + self.offset_scale * self._padded(state.offset)
        return at_rest + moved.view(-1, count, 3)

    def identity_factor(self) -> Tensor:
        """(L,15,K): the basis of every point and, the same for all, of the joints' centres."""
        joints = self.joints_basis.reshape(1, 3 * N_JOINTS, -1)
        return torch.cat([self.identity_basis, joints.expand(len(self.template), -1, -1)], 1)

    def rows(self, posed: Posed, through: Tensor, identity: bool, by_zoom: Tensor) -> RowJacobian:
        """Rows through (F,L,r,3) times the points' derivatives; by_zoom (F,L,r,1) is carried on."""
        # Rows are kept point by point, (L,r,F): one product with a point's basis serves all frames.
        bound = _rows_first(through @ posed.blended)
        own = torch.cat(
            [
                _by_basis(bound, self.expression_basis),
                _rows_first(self._by_rotation(posed, through)),
                _rows_first(through),
                _rows_first(by_zoom),
            ],
            dim=-1,
        ).permute(2, 0, 1, 3)
        if not identity:
            return RowJacobian(own, None, None)
        factor = torch.cat([bound, _rows_first(self._by_centres(posed, through))], dim=-1)
        by_identity = _by_basis(factor, self.identity_factor())
        return RowJacobian(own, by_identity.permute(2, 0, 1, 3), factor)

    def pull_back(self, posed: Posed, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients (F,E+15), (K,) and, by where points lie at rest, (L,3) of a function whose
        gradient by the points is (F,L,3)."""
        rows = gradient[:, :, None]
        bound = (rows @ posed.blended)[:, :, 0]
        expression = bound.flatten(1) @ self.expression_basis.flatten(0, 1)
        turn = self._by_rotation(posed, rows).sum((1, 2))
        identity = bound.sum(0).flatten() @ self.identity_basis.flatten(0, 1)
        centres = self._by_centres(posed, rows).sum((0, 1, 2))
        identity = identity + centres @ self.joints_basis.flatten(0, 1)
        return torch.cat([expression, turn, gradient.sum(1)], -1), identity, bound.sum(0)

    def _by_centres(self, posed: Posed, through: Tensor) -> Tensor:
        """(F,L,r,12): rows times how the joints' centres move what turns about them."""
        eye = torch.eye(3, dtype=through.dtype, device=through.device)
        columns = []
        for joint, parent in enumerate(JOINT_PARENTS):
            hold = eye - posed.local[:, joint]
            hold = hold if parent < 0 else posed.rotation[:, parent] @ hold
            share = self.skin[:, list(BELOW[joint])].sum(-1)
            columns.append(share[:, None, None] * (through @ hold[:, None]))
        return torch.cat(columns, -1)

    def _by_rotation(self, posed: Posed, through: Tensor) -> Tensor:
        """(F,L,r,12): rows times the derivative by the left increments of the four joints."""
        bind, rotation, offset = posed.bind, posed.rotation, posed.offset
        pivots = _apply(rotation, posed.centres) + offset
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
            turn = torch.linalg.cross(arm[:, :, None].expand_as(through), through)
            parent = JOINT_PARENTS[joint]
            columns.append(turn if parent < 0 else turn @ rotation[:, None, parent])
        return torch.cat(columns, dim=-1)


def _grown(basis: Tensor, moved: Tensor, growth: Tensor, size: Tensor) -> Tensor:
    """A basis (n,3,K) with what grows: moved (n,3) on a head of mean size."""
    own, free = basis[..., : len(growth)], basis[..., len(growth) :]
    return torch.cat([own + moved[..., None] * growth, size * free], -1)


def _apply(matrix: Tensor, vector: Tensor) -> Tensor:
    """Matrices (...,3,3) on vectors (...,3); far faster than many tiny matrix products."""
    return (matrix * vector[..., None, :]).sum(-1)


def _rows_first(x: Tensor) -> Tensor:
    """(F,L,r,C) as (L,r,F,C)."""
    return x.permute(1, 2, 0, 3)


def _by_basis(through: Tensor, basis: Tensor) -> Tensor:
    """(L,r,F,n) times (L,n,K): (L,r,F,K)."""
    count, r, frames, n = through.shape
    product = torch.bmm(through.reshape(count, r * frames, n), basis)
    return product.view(count, r, frames, -1)
