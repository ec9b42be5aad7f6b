"""A layout's points on one person's head, as arrays that a kernel can walk through."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from backend.fit.posed_points import BELOW, PosedPoints

Array = NDArray[np.float64]
N_POSE = 15
"""Columns after the expression's: rotations of neck, head and eyes, translation."""


@dataclass(frozen=True)
class FramePoints:
    """L points of a person's head with E expressions."""

    neutral: Array
    """(L,3) at rest, head frame, metres."""
    basis: Array
    """(L,E,3) by expression; of 52, a dozen move a point."""
    skin: Array
    """(L,4) skinning weights."""
    share: Array
    """(L,4) of each joint with the joints below it: how far a turn of it carries the point."""
    centres: Array
    """(4,3) the joints' centres, head frame."""
    columns: NDArray[np.int64]
    """(L,E+15) the columns that move a point, found once; -1 after the last."""
    identity_basis: Array
    """(L,3,K) of the points and, (4,3,K) of the joints' centres, `joints_basis`."""
    joints_basis: Array
    mean: Array
    """(L,3) of the mean head, and (4,3) of its joints, `mean_centres`."""
    mean_centres: Array

    @classmethod
    def of(cls, points: PosedPoints) -> FramePoints:
        """The mean head's."""
        basis = _f8(points.expression_basis).transpose(0, 2, 1).copy()
        skin = _f8(points.skin)
        share = np.stack([skin[:, list(below)].sum(1) for below in BELOW], axis=1)
        turned = np.repeat(share > 0, 3, axis=1)
        moved = np.concatenate(
            [(basis != 0).any(-1), turned, np.ones((len(basis), 3), bool)], axis=1
        )
        columns = np.full(moved.shape, -1, np.int64)
        for row, used in enumerate(moved):
            columns[row, : used.sum()] = np.flatnonzero(used)
        mean, centres = _f8(points.template), _f8(points.joints_template)
        return cls(
            mean, basis, skin, share, centres, columns, _f8(points.identity_basis),
            _f8(points.joints_basis), mean, centres,
        )  # fmt: skip

    def of_person(self, identity: Array) -> FramePoints:
        """The same for a person: identity (K,) or its first coefficients."""
        k = len(identity)
        return replace(
            self,
            neutral=self.mean + self.identity_basis[..., :k] @ identity,
            centres=self.mean_centres + self.joints_basis[..., :k] @ identity,
        )

    def __len__(self) -> int:
        return len(self.neutral)


def _f8(tensor: object) -> Array:
    return np.ascontiguousarray(tensor.cpu().numpy(), np.float64)  # type: ignore[attr-defined]
