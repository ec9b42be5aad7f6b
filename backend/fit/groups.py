"""Landmarks that the same expressions move, together: most expressions move few of them.

"The Jacobian of a landmark by the expressions is sparse, and the same ones are 0 in every frame"
(Wood et al., section 3.3): products over a group skip them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Metres that a whole expression must move a landmark, so that it counts.
LEAST_MOTION = 1e-7
# What a group costs besides its landmarks times their expressions, in that product.
GROUP_COST = 1000


@dataclass(frozen=True)
class Group:
    """Landmarks that come one after the other in `Groups.order`."""

    span: slice
    expressions: Tensor
    """(A,) those that move any of them."""
    basis: Tensor
    """(A,3,n) metres."""


@dataclass(frozen=True)
class Groups:
    """All L landmarks, in an order in which groups are contiguous."""

    order: Tensor
    """(L,) the landmark at each place."""
    place: Tensor
    """(L,) the place of each landmark."""
    groups: tuple[Group, ...]
    basis: Tensor
    """(E,3,L) of all expressions, in this order."""

    @classmethod
    def of(cls, basis: Tensor) -> Groups:
        """Groups of an expression basis (L,3,E), metres."""
        active = (basis.abs().amax(1) > LEAST_MOTION).cpu().numpy()
        parts = _parts(active.tobytes(), active.shape)
        device = basis.device
        order = torch.as_tensor(np.concatenate([p[0] for p in parts]), device=device)
        ordered = basis[order].permute(2, 1, 0).contiguous()
        groups, start = [], 0
        for landmarks, expressions in parts:
            span = slice(start, start + len(landmarks))
            columns = torch.as_tensor(expressions, device=device)
            groups.append(Group(span, columns, ordered[columns][..., span].contiguous()))
            start = span.stop
        return cls(order, order.argsort(), tuple(groups), ordered)


@lru_cache(maxsize=64)
def _parts(
    active: bytes, shape: tuple[int, int]
) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64]], ...]:
    """Landmarks and expressions of every group, merged while that makes products cheaper."""
    pattern = np.frombuffer(active, bool).reshape(shape)
    moves, which = np.unique(pattern, axis=0, return_inverse=True)
    members = [np.flatnonzero(which == i) for i in range(len(moves))]
    counts = np.array([len(m) for m in members], np.float64)
    while len(members) > 1:
        widths = moves.sum(1)
        both = (moves[:, None] | moves[None]).sum(-1)
        apart = counts * widths
        gain = apart[:, None] + apart + GROUP_COST - (counts[:, None] + counts) * both
        np.fill_diagonal(gain, -np.inf)
        a, b = np.unravel_index(gain.argmax(), gain.shape)
        if gain[a, b] <= 0:
            break
        moves[a] |= moves[b]
        members[a] = np.concatenate([members[a], members[b]])
        counts[a] += counts[b]
        moves, counts = np.delete(moves, b, 0), np.delete(counts, b)
        del members[int(b)]
    return tuple((np.sort(m), np.flatnonzero(w)) for m, w in zip(members, moves, strict=True))
