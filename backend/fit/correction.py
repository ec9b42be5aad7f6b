"""A free-form correction of the head: smooth, per vertex, one for all frames.

A Gaussian process over the skin, by its precision Q = (S + k^2 M) M^-1 (S + k^2 M), with cotangent
stiffness S and mass M (the bi-Laplacian energy of a displacement, Lindgren et al. 2011). What the
landmarks can tell of it is spanned by their covariance's leading eigenvectors: modes with unit
prior, to be solved for like identity coefficients.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu
from torch import Tensor

from backend.head import Head
from backend.head.landmarks import LandmarkLayout

from .settings import ShotFit

Array = NDArray[np.float64]
# Metres over which the correction is alike: finer than the head's components leave undone, and
# coarser than a landmark's error.
RANGE = 0.035
# Displacements along an axis that are solved for, and landmarks whose covariance they come from.
MODES, MOST_POINTS = 48, 200
_RIGID = ("eye.L", "eye.R", "teeth_upper", "teeth_lower", "tongue", "lashes")


@dataclass(frozen=True)
class CorrectionBasis:
    """Modes of the correction; the coefficients have a unit normal prior."""

    vertices: Tensor
    """(N,M) displacement of every vertex by a mode along one axis, metres."""
    joints: Tensor
    """(4,M) of the joints' centres: eyes move with their lids."""
    mix: Tensor
    """(3 M, 3 M - 7) coefficients of modes along axes, such that the face neither moves nor turns
    nor grows as a whole: its pose says the one, and only the identity's prior knows its size."""

    @property
    def size(self) -> int:
        """Number of coefficients."""
        return self.mix.shape[1]

    def displacement(self, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        """Of vertices (N,3) and joints (4,3), by coefficients (3 M - 7,)."""
        by_axis = (self.mix @ coefficients).view(-1, 3)
        return self.vertices @ by_axis, self.joints @ by_axis

    def coefficients(self, displacement: Tensor) -> Tensor:
        """Those (3 M - 7,) of a displacement (N,3) that came from `displacement`."""
        known = torch.linalg.lstsq(self.vertices.double(), displacement.double()).solution
        return self.mix.T @ known.to(self.mix).flatten()

    def at(self, corners: Tensor, barycentric: Tensor) -> Tensor:
        """(L,3,3 M - 7) basis at barycentric points (L,3) of vertices (L,3)."""
        return _by_axes((self.vertices[corners] * barycentric[..., None]).sum(1)) @ self.mix

    def at_joints(self) -> Tensor:
        """(4,3,3 M - 7)"""
        return _by_axes(self.joints) @ self.mix


def _by_axes(modes: Tensor) -> Tensor:
    eye = torch.eye(3).to(modes)
    return (modes[:, None, :, None] * eye[:, None]).flatten(2)


def correction_basis(head: Head, layout: LandmarkLayout, spread: float) -> CorrectionBasis:
    """The modes that a layout's landmarks tell of; spread: deviation of the correction, metres."""
    template = head.template.double().cpu().numpy()
    faces = head.faces.cpu().numpy()
    rigid = np.zeros(len(template), bool)
    for name in _RIGID:
        rigid[head.regions[name]] = True
    skin = np.flatnonzero(~rigid)
    local = np.full(len(template), -1)
    local[skin] = np.arange(len(skin))
    triangles = local[faces[~rigid[faces].any(1)]]
    precision = _precision(template[skin], triangles)
    # Landmarks on the skin alone: the others move with it.
    usable = np.flatnonzero((local[layout.vertices] >= 0).all(1))
    usable = usable[:: -(-len(usable) // MOST_POINTS)]
    corners, weights = local[layout.vertices[usable]], layout.barycentric[usable]
    rows = np.repeat(np.arange(len(corners)), 3)
    pick = sparse.csr_matrix((weights.ravel(), (rows, corners.ravel())), (len(corners), len(skin)))
    covariance = splu(precision.tocsc()).solve(pick.T.toarray())
    among = pick @ covariance
    values, vectors = np.linalg.eigh(0.5 * (among + among.T))
    keep = np.argsort(values)[::-1][:MODES]
    modes = covariance @ vectors[:, keep] / np.sqrt(values[keep])
    modes *= spread / np.sqrt(among.diagonal().mean())
    every = np.zeros((len(template), len(keep)))
    every[skin] = modes
    joints = np.zeros((4, len(keep)))
    for joint, side in ((2, "L"), (3, "R")):
        joints[joint] = every[head.regions[f"lids.{side}"]].mean(0)
        every[head.regions[f"eye.{side}"]] = joints[joint]
    lashes = head.regions["lashes"]
    lids = np.concatenate([head.regions["lids.L"], head.regions["lids.R"]])
    gap = np.linalg.norm(template[lashes][:, None] - template[lids], axis=-1)
    every[lashes] = every[lids[gap.argmin(1)]]
    face = head.regions["face"]
    mix = _without_similarity(template[face], every[face])
    to = head.template.new_tensor
    return CorrectionBasis(to(every), to(joints), to(mix))


def _without_similarity(points: Array, modes: Array) -> Array:
    """(3 M, 3 M - 7) orthonormal coefficients of modes (n,M) along axes that leave points (n,3)
    where they are as a whole: no mean displacement, rotation or growth."""
    centred = points - points.mean(0)
    fields = [np.tile(axis, (len(points), 1)) for axis in np.eye(3)]
    fields += [np.cross(axis, centred) for axis in np.eye(3)] + [centred]
    # By mode and axis, as coefficients are.
    against = np.stack([(modes.T @ field).ravel() for field in fields])
    return np.linalg.svd(against, full_matrices=True)[2][len(fields) :].T


def _precision(vertices: Array, triangles: NDArray[np.int64]) -> sparse.csr_matrix:
    """Q of a triangle mesh (n,3), metres."""
    n = len(vertices)
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    double_area = np.linalg.norm(np.cross(b - a, c - a), axis=1).clip(1e-12)
    stiffness = sparse.csr_matrix((n, n))
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        # The cotangent at corner k belongs to the edge i-j.
        p, q = (vertices[triangles[:, m]] - vertices[triangles[:, k]] for m in (i, j))
        # Obtuse triangles would make it negative, and the energy not positive.
        weight = np.maximum((p * q).sum(1) / double_area, 0.0) / 2
        edge = sparse.coo_matrix((weight, (triangles[:, i], triangles[:, j])), (n, n))
        stiffness = stiffness + edge + edge.T
    stiffness = sparse.diags(np.asarray(stiffness.sum(1))[:, 0]) - stiffness
    mass = np.bincount(triangles.ravel(), np.repeat(double_area / 6, 3), n).clip(1e-9)
    # Range sqrt(8 nu) / kappa of a Matern covariance with nu = 1.
    operator = stiffness + sparse.diags(8.0 / RANGE**2 * mass)
    return operator @ sparse.diags(1 / mass) @ operator


def corrected_head(head: Head, vertices: Tensor, joints: Tensor) -> Head:
    """The same head with its mean displaced by vertices (N,3) and joints (4,3), metres.

    As they stand in a `ShotFit`: grown with the person's head.
    """
    other = copy.copy(head)
    other._buffers = dict(head._buffers)
    other.template = head.template + vertices.to(head.template)
    other.joints_template = head.joints_template + joints.to(head.template)
    return other


def fitted_head(head: Head, fit: ShotFit) -> Head:
    """The head that a fit with `head` ended in: with the person's correction, if there is one."""
    if fit.correction is None or fit.joint_correction is None:
        return head
    to = head.template.new_tensor
    return corrected_head(head, to(fit.correction), to(fit.joint_correction))
