"""E_intersect (Wood et al., supplement): lids outside the eyeballs, lips outside the teeth.

Lids, lips, teeth and the eyeballs' centres all turn with the head joint, so that whether they meet
is told before posing, where everything is linear in expression and identity.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from scipy.spatial import ConvexHull, cKDTree
from torch import Tensor

from backend.head import Head

from .correction import CorrectionBasis
from .posed_points import PosedPoints
from .solver import NormalEquations
from .state import State

# Metres from a sphere or hull, on the mean head, within which a vertex may ever come into it.
LID_REACH, LIP_REACH = 0.004, 0.012
# Vertices tested for each of the two sets: neighbours come together.
MOST_LIDS, MOST_LIPS = 64, 96
CHUNK = 64


class _Rows(NamedTuple):
    """Residuals that are not 0: n of them, each pulling on up to 4 points."""

    frame: Tensor
    """(n,)"""
    depth: Tensor
    """(n,) metres inside."""
    point: Tensor
    """(n,4) indices."""
    pull: Tensor
    """(n,4,3) derivative of the depth by these points."""
    by_identity: Tensor
    """(n,K) what identity does to it besides: the eyeball's centre and radius."""


@dataclass(frozen=True)
class Intersection:
    """The vertices that may meet, restricted from a head."""

    points: PosedPoints
    lids: tuple[slice, slice]
    """Points of the left and the right lids."""
    lips: slice
    facets: tuple[Tensor, Tensor]
    """(J,3) corners, as points, of the convex hulls of upper and lower teeth; seen from outside
    they go round counterclockwise."""
    radius: Tensor
    """(2,) of the mean head's eyeballs, metres; eyes are joints 2 and 3."""
    radius_basis: Tensor
    """(2,K)"""
    vertices: Tensor
    """(n,) the head's vertices that the points are."""
    weights: Tensor
    """(n,3) 1, 0, 0: barycentric weights of a vertex."""

    @classmethod
    def of(cls, head: Head) -> Intersection:
        """The lids, lips and teeth of a head."""
        template = head.template.double().cpu().numpy()
        vertices: list[np.ndarray] = []
        spans: list[slice] = []

        def put(chosen: np.ndarray) -> slice:
            begin = sum(map(len, vertices))
            vertices.append(chosen)
            spans.append(slice(begin, begin + len(chosen)))
            return spans[-1]

        radii, radius_bases, lids = [], [], []
        for side, joint in (("L", 2), ("R", 3)):
            eye, lid = head.regions[f"eye.{side}"], head.regions[f"lids.{side}"]
            centre = head.joints_template[joint].double().cpu().numpy()
            out = template[eye] - centre
            radius = np.linalg.norm(out, axis=1)
            direction = head.template.new_tensor(out / radius[:, None])
            moved = head.identity_basis[:, torch.as_tensor(eye)]
            moved = moved - head.joints_identity_basis[:, joint, None]
            radii.append(float(radius.mean()))
            radius_bases.append((moved * direction).sum(-1).mean(-1))
            gap = np.linalg.norm(template[lid] - centre, axis=1) - radius.mean()
            near = lid[gap < LID_REACH]
            lids.append(put(near[:: max(1, -(-len(near) // MOST_LIDS))]))
        teeth = [head.regions["teeth_upper"], head.regions["teeth_lower"]]
        lips = head.regions["lips"]
        gap, _ = cKDTree(template[np.concatenate(teeth)]).query(template[lips])
        near = lips[gap < LIP_REACH]
        lip_span = put(near[:: max(1, -(-len(near) // MOST_LIPS))])
        facets = []
        for part in teeth:
            hull = ConvexHull(template[part])
            corners = hull.simplices.copy()
            a, b, c = (template[part][corners[:, i]] for i in range(3))
            inward = (np.cross(b - a, c - a) * hull.equations[:, :3]).sum(1) < 0
            corners[inward] = corners[inward][:, ::-1]
            facets.append(torch.as_tensor(corners + put(part).start))
        index = torch.as_tensor(np.concatenate(vertices), device=head.template.device)
        weights = head.template.new_zeros(len(index), 3)
        weights[:, 0] = 1.0
        points = PosedPoints.at(head, index[:, None].expand(-1, 3), weights)
        device = head.template.device
        return cls(
            points, (lids[0], lids[1]), lip_span, (facets[0].to(device), facets[1].to(device)),
            head.template.new_tensor(radii), torch.stack(radius_bases), index, weights,
        )  # fmt: skip

    def with_correction(self, correction: CorrectionBasis) -> Intersection:
        """With the correction's coefficients after the head's; eyeballs keep their size."""
        basis = correction.at(self.vertices[:, None].expand(-1, 3), self.weights)
        none = self.radius_basis.new_zeros(2, basis.shape[-1])
        return replace(
            self,
            points=self.points.with_correction(basis, correction.at_joints()),
            radius_basis=torch.cat([self.radius_basis, none], -1),
        )

    def at_size(self, state: State) -> Intersection:
        """With what grows with the head brought to its size at a state."""
        return replace(self, points=self.points.at_size(state))

    def depths(self, state: State) -> tuple[Tensor, Tensor]:
        """How far lids (F,n) and lips (F,2m) are in eyeballs, and upper and lower teeth: metres.

        D_i of the supplement: 0 outside, else the distance to the nearest plane or the sphere.
        """
        bind = self.points.bind(state)
        eyes = [self._sphere(bind, state, side)[0] for side in (0, 1)]
        lips = [self._hull(bind, facets)[0] for facets in self.facets]
        return torch.cat(eyes, 1), torch.cat(lips, 1)

    def cost(self, state: State, weight: float) -> Tensor:
        """E_intersect (F,) = weight * sum of squared depths, in millimetres."""
        lids, lips = self.depths(state)
        return weight * 1e6 * (lids.square().sum(1) + lips.square().sum(1))

    def add(self, equations: NormalEquations, state: State, weight: float, shared: bool) -> None:
        """Add the term's rows to normal equations."""
        frames, e = state.expression.shape
        k = len(state.identity)
        gain = 1e3 * weight**0.5
        for start in range(0, frames, CHUNK):
            rows = self._rows(state.frames(slice(start, start + CHUNK)))
            if len(rows.frame) == 0:
                continue
            residual, at = gain * rows.depth, rows.frame + start
            pull = gain * rows.pull
            points = self.points
            own = torch.einsum("npc,npce->ne", pull, points.expression_basis[rows.point])
            equations.block[:, :e, :e].index_add_(0, at, own[:, :, None] * own[:, None])
            equations.block_gradient[:, :e].index_add_(0, at, residual[:, None] * own)
            if shared:
                basis = points.identity_basis[rows.point]
                identity = torch.einsum("npc,npck->nk", pull, basis) + gain * rows.by_identity
                equations.border[:, :e, :k].index_add_(0, at, own[:, :, None] * identity[:, None])
                equations.shared[:k, :k] += identity.T @ identity
                equations.shared_gradient[:k] += residual @ identity

    def _rows(self, state: State) -> _Rows:
        bind = self.points.bind(state)
        found: list[_Rows] = []
        for side in (0, 1):
            depth, outward = self._sphere(bind, state, side)
            frame, which = (depth > 0).nonzero(as_tuple=True)
            n = outward[frame, which]
            pull = torch.zeros(len(frame), 4, 3).to(n)
            pull[:, 0] = -n
            point = (which + self.lids[side].start)[:, None].expand(-1, 4)
            moved = n @ self.points.joints_basis[2 + side] + self.radius_basis[side]
            found.append(_Rows(frame, depth[frame, which], point, pull, moved))
        for facets in self.facets:
            depth, nearest = self._hull(bind, facets)
            frame, which = (depth > 0).nonzero(as_tuple=True)
            corner = facets[nearest[frame, which]]
            point = torch.cat([(which + self.lips.start)[:, None], corner], 1)
            pull = _plane_pull(bind[frame[:, None], point])
            none = bind.new_zeros(len(frame), self.radius_basis.shape[-1])
            found.append(_Rows(frame, depth[frame, which], point, pull, none))
        return _Rows(*(torch.cat(parts) for parts in zip(*found, strict=True)))

    def _sphere(self, bind: Tensor, state: State, side: int) -> tuple[Tensor, Tensor]:
        """Depths (F,n) in an eyeball and directions (F,n,3) from its centre."""
        joints = self.points
        centre = joints.joints_template[2 + side] + joints.joints_basis[2 + side] @ state.identity
        radius = self.radius[side] + self.radius_basis[side] @ state.identity
        offset = bind[:, self.lids[side]] - centre
        distance = offset.norm(dim=-1)
        return (radius - distance).clamp_min(0), offset / distance[..., None]

    def _hull(self, bind: Tensor, facets: Tensor) -> tuple[Tensor, Tensor]:
        """Depths (F,m) of the lips in a hull and the plane (F,m) that is nearest."""
        a, b, c = (bind[:, facets[:, i]] for i in range(3))
        normal = torch.linalg.cross(b - a, c - a)
        normal = normal / normal.norm(dim=-1, keepdim=True)
        inside = (normal * a).sum(-1)[:, None] - bind[:, self.lips] @ normal.transpose(-1, -2)
        depth, nearest = inside.min(-1)
        return depth.clamp_min(0), nearest


def _plane_pull(corners: Tensor) -> Tensor:
    """Derivative (n,4,3) of the depth n . (a - x) by x, a, b, c of (n,4,3), n being the normal."""
    x, a, b, c = corners.unbind(1)
    e1, e2 = b - a, c - a
    cross = torch.linalg.cross(e1, e2)
    length = cross.norm(dim=-1, keepdim=True)
    n = cross / length
    offset = a - x
    y = (offset - (offset * n).sum(-1, keepdim=True) * n) / length
    # y . (de1 x e2) = de1 . (e2 x y), y . (e1 x de2) = de2 . (y x e1)
    by_b, by_c = torch.linalg.cross(e2, y), torch.linalg.cross(y, e1)
    return torch.stack([-n, n - by_b - by_c, by_b, by_c], 1)
