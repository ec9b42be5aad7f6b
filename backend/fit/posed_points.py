"""Points of the posed head as a function of the fit's parameters, with the derivative beside it.

The whole mesh is never posed. A point's Jacobian is that of linear blend skinning,

    dp = T (X dpsi + B dbeta) + sum_j a_j x dtheta_j + dt + (what moves the joints' centres) dbeta,

and is formed only after multiplication from the left by rows that a caller gives, so that what a
camera sees of a point (2 rows) and what several cameras see of it together (3 rows) cost alike.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from backend.head import Head
from backend.head.landmarks import LandmarkLayout
from backend.head.model import JOINT_PARENTS

from .groups import Groups
from .rows import CENTRES, Rows, Shared
from .size import size_gradient, size_of
from .state import N_JOINTS, POSE_SIZE, ROTATION, TRANSLATION, ZOOM, State

# The joints that turn with each joint, itself included.
BELOW = ((0, 1, 2, 3), (1, 2, 3), (2,), (3,))


@dataclass(frozen=True)
class Posed:
    """Points of F frames, camera frame of the first camera, with what their derivative needs."""

    points: Tensor
    """(F,3,L) metres."""
    bind: Tensor
    """(F,3,L) before posing."""
    blended: Tensor
    """(F,3,3,L) rotation of a point."""
    rotation: Tensor
    """(F,4,3,3) of the joints in the world."""
    offset: Tensor
    """(F,4,3)"""
    centres: Tensor
    """(4,3) joint centres before posing."""
    local: Tensor
    """(F,4,3,3) of the joints in their parent's frame."""


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

    @cached_property
    def groups(self) -> Groups:
        """The points by the expressions that move them."""
        return Groups.of(self.expression_basis)

    def shared(self, cameras: int) -> Shared:
        """What of the derivative by identity, and by n columns of cameras, is the same always."""
        return Shared.of(self.identity_basis, self.joints_basis, self.groups, cameras)

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
        bind = self.bind(state).transpose(1, 2).contiguous()
        blended = (rotation.flatten(2).transpose(1, 2) @ self.skin.T).unflatten(1, (3, 3))
        moved = offset.transpose(1, 2) @ self.skin.T
        points = blended[:, :, 0] * bind[:, None, 0] + moved
        points = points.addcmul(blended[:, :, 1], bind[:, None, 1])
        points = points.addcmul(blended[:, :, 2], bind[:, None, 2])
        return Posed(points, bind, blended, rotation, offset, centres, state.rotmat)

    def bind(self, state: State) -> Tensor:
        """Points (F,L,3) before posing, head frame."""
        count, k = len(self.template), state.expression.shape[-1]
        moved = state.expression @ self.expression_basis.reshape(-1, k).T
        at_rest = self.template + self.identity_basis @ state.identity
        if self.offset_scale is not None:
            at_rest = at_rest + self.offset_scale * self._padded(state.offset)
        return at_rest + moved.view(-1, count, 3)

    def rows(
        self, posed: Posed, through: Tensor, by_zoom: Tensor | None, by_camera: Tensor | None
    ) -> Rows:
        """Rows through (F,r,3,L) times the points' derivatives.

        by_zoom (F,s,L) and by_camera (F,s,n,L) of the first s rows are carried on, and are 0 in the
        others; without by_camera nothing is asked of what is shared.
        """
        groups = self.groups
        order = groups.order
        rows = through[..., order]
        frames, r, _, count = rows.shape
        skin = self.skin[order].T
        blended, bind = posed.blended[..., order], posed.bind[..., order]
        # bound_a = sum_i through_i T_ia
        bound = rows[:, :, 0, None] * blended[:, None, 0]
        bound.addcmul_(rows[:, :, 1, None], blended[:, None, 1])
        bound.addcmul_(rows[:, :, 2, None], blended[:, None, 2])
        cameras = 0 if by_camera is None else CENTRES + by_camera.shape[2]
        dense = rows.new_empty(frames, POSE_SIZE + cameras, r, count)
        self._by_rotation(posed, bind, skin, rows, dense[:, ROTATION])
        across = rows.transpose(1, 2)
        dense[:, TRANSLATION] = across
        dense[:, ZOOM] = 0.0
        if by_zoom is not None:
            dense[:, ZOOM.start, : by_zoom.shape[1]] = by_zoom[..., order]
        if by_camera is not None:
            at = slice(POSE_SIZE, POSE_SIZE + CENTRES)
            self._by_centres(posed, skin, across, dense[:, at])
            dense[:, at.stop :] = 0.0
            dense[:, at.stop :, : by_camera.shape[1]] = by_camera.transpose(1, 2)[..., order]
        return Rows(bound, dense, groups)

    def _by_centres(self, posed: Posed, skin: Tensor, through: Tensor, into: Tensor) -> None:
        """(F,12,r,L): rows (F,3,r,L) times how the joints' centres move what turns about them."""
        eye = torch.eye(3, dtype=through.dtype, device=through.device)
        flat = through.flatten(2)
        for joint, parent in enumerate(JOINT_PARENTS):
            hold = eye - posed.local[:, joint]
            hold = hold if parent < 0 else posed.rotation[:, parent] @ hold
            share = skin[list(BELOW[joint])].sum(0)
            turned = (hold.transpose(-1, -2) @ flat).view(through.shape)
            torch.mul(turned, share, out=into[:, 3 * joint : 3 * joint + 3])

    def _by_rotation(
        self, posed: Posed, bind: Tensor, skin: Tensor, through: Tensor, into: Tensor
    ) -> None:
        """(F,12,r,L): rows (F,r,3,L) times the derivative by the four joints' left increments."""
        rotation, offset = posed.rotation, posed.offset
        pivots = _apply(rotation, posed.centres) + offset
        # Where each joint alone would carry the points, weighted: (F,4,3,L).
        carried = (rotation.flatten(1, 2) @ bind).unflatten(1, (N_JOINTS, 3))
        carried = (carried + offset[..., None]) * skin[:, None]
        for joint, reach in enumerate(BELOW):
            share = skin[list(reach)].sum(0)
            arm = carried[:, reach[0]]
            for other in reach[1:]:
                arm = arm + carried[:, other]
            arm = arm - share * pivots[:, joint, :, None]
            # b . (delta x arm) = delta . (arm x b), delta being given in the parent's frame.
            parent = JOINT_PARENTS[joint]
            at = into[:, 3 * joint : 3 * joint + 3]
            turn = at if parent < 0 else torch.empty_like(at)
            for i in range(3):
                j, k = (i + 1) % 3, (i + 2) % 3
                torch.mul(arm[:, j, None], through[:, :, k], out=turn[:, i])
                turn[:, i].addcmul_(arm[:, k, None], through[:, :, j], value=-1.0)
            if parent >= 0:
                toward = rotation[:, parent].transpose(-1, -2) @ turn.flatten(2)
                at.copy_(toward.view(at.shape))


def _grown(basis: Tensor, moved: Tensor, growth: Tensor, size: Tensor) -> Tensor:
    """A basis (n,3,K) with what grows: moved (n,3) on a head of mean size."""
    own, free = basis[..., : len(growth)], basis[..., len(growth) :]
    return torch.cat([own + moved[..., None] * growth, size * free], -1)


def _apply(matrix: Tensor, vector: Tensor) -> Tensor:
    """Matrices (...,3,3) on vectors (...,3); far faster than many tiny matrix products."""
    return (matrix * vector[..., None, :]).sum(-1)
