"""Products of Jacobians, row by row of an energy, without the Jacobians by identity or expression.

A landmark's derivative before posing is fixed: by expressions X, by identity Q. With `bound` the
rows times its posing, what a frame's parameters share with identity is own' bound Q, landmark by
landmark: own' bound is small, and Q multiplies all frames at once. Landmarks come last in memory,
in the order of `Groups`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from .groups import Groups
from .state import N_JOINTS, POSE_SIZE

CENTRES = 3 * N_JOINTS


@dataclass(frozen=True)
class Rows:
    """Rows r of F frames times the derivatives of L points.

    A frame's parameters are expressions, then `POSE_SIZE` others; what is shared is identity, then
    columns of cameras.
    """

    bound: Tensor
    """(F,r,3,L) by where a point lies at rest."""
    dense: Tensor
    """(F,D,r,L) by rotations, translation and zoom, joints' centres (12), and cameras; without the
    last two where nothing shared is asked for."""
    groups: Groups

    @property
    def pose(self) -> Tensor:
        """(F,16,r,L)"""
        return self.dense[:, :POSE_SIZE]

    @property
    def common(self) -> Tensor:
        """(F,12+n,r,L) by joints' centres and cameras."""
        return self.dense[:, POSE_SIZE:]

    @cached_property
    def faces(self) -> list[Tensor]:
        """(F,A,r,n) by the expressions of each group."""
        return [_through(self.bound[..., g.span], g.basis) for g in self.groups.groups]

    def frames(self, rows: slice) -> Rows:
        """Some of the frames."""
        return Rows(self.bound[rows], self.dense[rows], self.groups)

    def times(self, weight: Tensor) -> Rows:
        """Rows times weights (F,L) of points in their own order."""
        t = weight[:, None, None][..., self.groups.order]
        return Rows(t * self.bound, t * self.dense, self.groups)

    def split(self) -> tuple[Rows, Rows]:
        """All rows but the last, and the last."""
        first, last = slice(None, -1), slice(-1, None)
        return (
            Rows(self.bound[:, first], self.dense[:, :, first], self.groups),
            Rows(self.bound[:, last], self.dense[:, :, last], self.groups),
        )

    def mapped(self, matrix: Tensor, cameras: Tensor | None) -> Rows:
        """Multiplied from the left by (F,3,3,L), r being 3, and with columns (F,n,3,L) of cameras,
        in the points' own order."""
        order = self.groups.order
        m = matrix[..., order]
        bound = _left(m, self.bound.transpose(1, 2)).transpose(1, 2)
        dense = _left(m, self.dense)
        if cameras is not None:
            dense = torch.cat([dense[:, : POSE_SIZE + CENTRES], cameras[..., order]], 1)
        return Rows(bound, dense, self.groups)


@dataclass(frozen=True)
class Shared:
    """What of the derivatives by all that is shared no frame changes."""

    identity: Tensor
    """(3,L,K) by identity, of points at rest, in the order of the groups."""
    common: Tensor
    """(12+n,K+n) by which the common columns give those of identity and cameras."""
    parts: tuple[Tensor, ...]
    """(3n,K) of `identity`, for each group."""

    @classmethod
    def of(
        cls, identity_basis: Tensor, joints_basis: Tensor, groups: Groups, cameras: int
    ) -> Shared:
        """Of bases (L,3,K) and (4,3,K), and n columns of cameras."""
        identity = identity_basis[groups.order].permute(1, 0, 2).contiguous()
        joints = joints_basis.reshape(CENTRES, -1)
        k = joints.shape[-1]
        common = joints.new_zeros(CENTRES + cameras, k + cameras)
        common[:CENTRES, :k] = joints
        common[CENTRES:, k:].fill_diagonal_(1.0)
        parts = tuple(identity[:, g.span].flatten(0, 1) for g in groups.groups)
        return cls(identity, common, parts)


def frame_products(left: Rows, right: Rows, into: Tensor) -> None:
    """Add left' right by the frames' own parameters to (F,P,P)."""
    e = into.shape[-1] - POSE_SIZE
    same = left is right
    into[:, e:, e:] += _rows_product(left.pose, right.pose)
    for group, a, b in zip(left.groups.groups, left.faces, right.faces, strict=True):
        x = group.expressions
        if len(x) == 0:
            continue
        into[:, x[:, None], x] += _rows_product(a, b)
        across = _rows_product(a, right.pose[..., group.span])
        into[:, x, e:] += across
        if same:
            into[:, e:, x] += across.transpose(-1, -2)
        else:
            into[:, e:, x] += _rows_product(left.pose[..., group.span], b)


def border_products(
    left: Rows, right: Rows, shared: Shared, into: Tensor, offsets: Tensor | None = None
) -> None:
    """Add left' right, by the frames' own on the left and by identity and cameras on the right, to
    (F,P,K+n).

    offsets (F,P,3 count), if given: the same by where the first landmarks lie at rest is added.
    """
    k = shared.identity.shape[-1]
    e = into.shape[1] - POSE_SIZE
    at_rest = None
    if offsets is not None:
        at_rest = offsets.new_zeros(*offsets.shape[:2], 3, right.bound.shape[-1])
    pulled = _pulled(left.pose, right.bound)
    into[:, e:, :k] += pulled.flatten(2) @ shared.identity.flatten(0, 1)
    into[:, e:] += _rows_product(left.pose, right.common) @ shared.common
    if at_rest is not None:
        at_rest[:, e:] = pulled
    by_common = into.new_zeros(len(into), e, right.common.shape[1])
    for group, face, part in zip(left.groups.groups, left.faces, shared.parts, strict=True):
        x = group.expressions
        if len(x) == 0:
            continue
        pulled = _pulled(face, right.bound[..., group.span])
        into[:, x, :k] += pulled.flatten(2) @ part
        by_common[:, x] += _rows_product(face, right.common[..., group.span])
        if at_rest is not None:
            at_rest[:, x, :, group.span] = pulled
    into[:, :e] += by_common @ shared.common
    if offsets is not None and at_rest is not None:
        count = offsets.shape[-1] // 3
        offsets += at_rest[..., left.groups.place[:count]].transpose(-1, -2).flatten(2)


class Totals:
    """Sums over rows and frames, from which what is shared gets its block at the end."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        count, common = shared.identity.shape[1], len(shared.common)
        new = shared.identity.new_zeros
        self._rest = new(3, 3, count)
        self._left, self._right = new(common, 3, count), new(common, 3, count)
        self._common = new(common, common)

    def add(self, left: Rows, right: Rows) -> None:
        """Add left' right."""
        self._rest += _pulled(left.bound.transpose(1, 2), right.bound).sum(0)
        self._left += _pulled(left.common, right.bound).sum(0)
        if left is not right:
            self._right += _pulled(right.common, left.bound).sum(0)
        self._common += _rows_product(left.common, right.common).sum(0)

    def block(self, symmetric: bool) -> Tensor:
        """(K+n,K+n); symmetric: everything that was added was a left' left."""
        s = self._shared
        k = s.identity.shape[-1]
        basis = s.identity
        middle = (self._rest[..., None] * basis).sum(1)
        block = s.common.T @ self._common @ s.common
        block[:k, :k] += basis.flatten(0, 1).T @ middle.flatten(0, 1)
        across = s.common.T @ (self._left.flatten(1) @ basis.flatten(0, 1))
        block[:, :k] += across
        if not symmetric:
            across = s.common.T @ (self._right.flatten(1) @ basis.flatten(0, 1))
        block[:k] += across.T
        return block

    def by_offsets(self, place: Tensor) -> tuple[Tensor, Tensor]:
        """By where landmarks at places (n,) lie at rest, of symmetric sums: (n,3,3), and (n,3,K+n)
        with what else is shared."""
        s = self._shared
        k = s.identity.shape[-1]
        rest = self._rest[..., place].permute(2, 0, 1)
        mixed = torch.einsum("cal,cj->laj", self._left[..., place], s.common)
        mixed[..., :k] += rest @ s.identity[:, place].transpose(0, 1)
        return rest, mixed


def _through(bound: Tensor, basis: Tensor) -> Tensor:
    """(F,r,3,L) times (A,3,L): (F,A,r,L)."""
    a, b = bound[:, None], basis[:, None]
    out = a[:, :, :, 0] * b[:, :, 0]
    out.addcmul_(a[:, :, :, 1], b[:, :, 1])
    return out.addcmul_(a[:, :, :, 2], b[:, :, 2])


def _pulled(left: Tensor, bound: Tensor) -> Tensor:
    """(F,A,r,L) and (F,r,3,L), summed over r: (F,A,3,L)."""
    out = left[:, :, 0, None] * bound[:, None, 0]
    for r in range(1, bound.shape[1]):
        out.addcmul_(left[:, :, r, None], bound[:, None, r])
    return out


def _rows_product(left: Tensor, right: Tensor) -> Tensor:
    """(F,A,r,L) and (F,B,r,L), summed over rows and landmarks: (F,A,B)."""
    return left.flatten(2) @ right.flatten(2).transpose(-1, -2)


def _left(matrix: Tensor, rows: Tensor) -> Tensor:
    """(F,s,r,L) times (F,D,r,L): (F,D,s,L)."""
    return torch.stack([_pulled(rows, matrix[:, s, :, None])[:, :, 0] for s in range(3)], 2)
