"""Scanned people as heads of this project's mesh: a source of identities beside the basis.

ICT-FaceKit's mean and identity modes, carried over to the same vertices, hold proportions that the
identity basis does not span. Such a head is written as the nearest head of the basis plus an offset
for each vertex: joints are those of the nearest head, expressions and skinning act as on any other
head, and so camera, pose and vertices stay exactly known.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from backend.errors import BadInputError
from backend.head import Head
from backend.head.build.repair import Eye, fit_sphere, push_lids_out

Array = NDArray[np.float64]

HEAD_FROM_SCAN = np.array([1.0, -1.0, -1.0]) * 1e-3
"""The file is in millimetres, y up, z forward."""
SPREAD = 2.5
"""Modes are drawn from a normal distribution that is cut off here."""
EYE_WEIGHT = 10.0
"""Of the eyeballs in the fit: eyes turn about the joints of the nearest head."""
LIP_REACH = 6e-3
"""Standard deviation, metres with the mouth open, of how far closing the lips is felt."""
SURROUNDING_REACH = 0.06
"""Metres beyond the head's rim over which its offset fades out on neck and shoulders."""
NEIGHBOURS = 8


@dataclass(frozen=True)
class ScannedHead:
    """One person at rest."""

    identity: NDArray[np.float32]
    """(100,) the nearest head of the basis."""
    offset: NDArray[np.float16]
    """(N,3) metres, what is to be added to its unposed vertices."""


class ScannedHeads:
    """Random people out of the modes of scanned ones."""

    def __init__(
        self, head: Head, makehuman_vertex: NDArray[np.int64], mean: Array, modes: Array
    ) -> None:
        """makehuman_vertex (N,): of the head's vertices; mean (N,3) and modes (K,N,3): metres in
        the head's axes, of standard normal coefficients."""
        self._template = head.template.double().numpy()
        self._basis = head.identity_basis.double().numpy()
        skull = head.skin_weights[:, 1].numpy() > 0.99
        # The basis, too, was made of heads whose skulls share their centre.
        shift = mean[skull].mean(axis=0) - self._template[skull].mean(axis=0)
        self._mean = mean - shift
        self._modes = modes - modes[:, skull].mean(axis=1, keepdims=True)
        self._eyes = [
            Eye(*(head.regions[f"{n}.{s}"] for n in _EYE_REGIONS)) for s in ("L", "R")
        ]  # fmt: skip
        self._fit()
        self._lips = _Lips.of(head)

    @classmethod
    def load(cls, path: Path, head: Head, makehuman_vertex: NDArray[np.int64]) -> ScannedHeads:
        """Read `makehuman_vertex` (V,), `mean` (V,3) and `identity` (K,V,3).

        Raises: BadInputError when the file cannot be read, is something else, or lacks vertices.
        """
        try:
            with np.load(path, allow_pickle=False) as data:
                rows = {int(v): i for i, v in enumerate(data["makehuman_vertex"])}
                mean, modes = data["mean"].astype(float), data["identity"].astype(float)
        except (OSError, KeyError, ValueError) as error:
            raise BadInputError(f"{path}: no scanned identities ({error}).") from error
        missing = [int(v) for v in makehuman_vertex if int(v) not in rows]
        if missing:
            raise BadInputError(f"{path}: lacks {len(missing)} of the head's vertices.")
        order = [rows[int(v)] for v in makehuman_vertex]
        return cls(
            head, makehuman_vertex, mean[order] * HEAD_FROM_SCAN, modes[:, order] * HEAD_FROM_SCAN
        )

    def _fit(self) -> None:
        weight = np.ones(len(self._template))
        weight[np.concatenate([eye.ball for eye in self._eyes])] = EYE_WEIGHT
        weighted = (self._basis * weight[:, None]).reshape(len(self._basis), -1)
        flat = self._basis.reshape(len(self._basis), -1)
        inverse = np.linalg.solve(weighted @ flat.T, weighted)
        self._identity_mean = inverse @ (self._mean - self._template).ravel()
        self._identity_modes = self._modes.reshape(len(self._modes), -1) @ inverse.T

    def sample(self, rng: np.random.Generator) -> ScannedHead:
        """A random person."""
        z = rng.standard_normal(len(self._modes))
        while (np.abs(z) > SPREAD).any():
            z = np.where(np.abs(z) > SPREAD, rng.standard_normal(len(z)), z)
        return self.person(z)

    def person(self, coefficients: Array) -> ScannedHead:
        """The person of mode coefficients (K,)."""
        vertices = self._mean + np.einsum("k,kvc->vc", coefficients, self._modes)
        identity = self._identity_mean + coefficients @ self._identity_modes
        nearest = self._template + np.einsum("k,kvc->vc", identity, self._basis)
        for eye in self._eyes:
            vertices[eye.ball] = _seated(vertices, nearest, eye)
        vertices = push_lids_out(vertices[None], self._eyes, self._template)[0]
        vertices = self._lips.closed(vertices)
        return ScannedHead(identity.astype(np.float32), (vertices - nearest).astype(np.float16))


_EYE_REGIONS = ("eye", "lids", "lid_margin_upper", "lid_margin_lower")


def _seated(vertices: Array, nearest: Array, eye: Eye) -> Array:
    """(n,3) an eyeball where the nearest head's joint is, moved back until the lids lie before it.

    The carried eyeballs are squashed and stick through the lids; those of the basis are round.
    """
    ball = nearest[eye.ball]
    centre, radius = fit_sphere(ball)
    margin = vertices[np.concatenate([eye.upper_margin, eye.lower_margin])] - centre
    aside = np.linalg.norm(margin[:, :2], axis=1).clip(max=0.98 * radius)
    surface = -np.sqrt(radius**2 - aside**2)  # depth of the ball's front at each margin point
    return ball + [0.0, 0.0, float(np.median(margin[:, 2] - surface))]


@dataclass(frozen=True)
class _Lips:
    """How the lips of a head that parts them at rest are brought together."""

    upper: NDArray[np.int64]
    """(U,) seam vertices of the upper lip, by x."""
    lower: NDArray[np.int64]
    """(L,)"""
    gap: Array
    """(U,) metres between them on the template."""
    rows: NDArray[np.int64]
    """(R,) vertices that follow."""
    share: Array
    """(R,U+L) of the seam's movement."""

    @classmethod
    def of(cls, head: Head) -> _Lips:
        template = head.template.double().numpy()
        opened = template.copy()
        opened += head.expression_basis[head.expression_names.index("jawOpen")].double().numpy()
        seam = head.regions["lip_seam"]
        # In the open mouth the corners' height tells the lips apart.
        corners = opened[seam[opened[seam, 0].argsort()[[0, -1]]], 1].mean()
        upper, lower = seam[opened[seam, 1] < corners], seam[opened[seam, 1] >= corners]
        rows = np.union1d(head.regions["lips"], head.regions["mouth"])
        distance = np.linalg.norm(
            opened[rows, None] - opened[None, np.concatenate([upper, lower])], axis=2
        )
        weight = np.exp(-0.5 * (distance / LIP_REACH) ** 2)
        near = np.exp(-0.5 * (distance.min(axis=1, keepdims=True) / LIP_REACH) ** 2)
        share = near * weight / np.maximum(weight.sum(axis=1, keepdims=True), 1e-12)
        return cls(upper, lower, _gaps(template, upper, lower), rows, share)

    def closed(self, vertices: Array) -> Array:
        """Vertices (N,3) whose lips are as close as the template's."""
        excess = np.maximum(_gaps(vertices, self.upper, self.lower) - self.gap, 0.0)
        x_upper, x_lower = vertices[self.upper, 0], vertices[self.lower, 0]
        order = x_upper.argsort()
        down, up = 0.5 * excess, -0.5 * np.interp(x_lower, x_upper[order], excess[order])
        out = vertices.copy()
        out[self.rows, 1] += self.share @ np.concatenate([down, up])
        return out


def _gaps(vertices: Array, upper: NDArray[np.int64], lower: NDArray[np.int64]) -> Array:
    """(U,) by how much the lower lip's seam lies below the upper's, along the upper's x."""
    below = vertices[lower]
    order = below[:, 0].argsort()
    gap: Array = np.interp(vertices[upper, 0], below[order, 0], below[order, 1])
    return gap - vertices[upper, 1]


class OffsetCarrier:
    """Carries a head's offset to the base vertices that hair, clothes and neck hang on."""

    def __init__(
        self,
        head_vertex: NDArray[np.int64],
        template: Array,
        base_vertex: NDArray[np.int64],
        base_template: Array,
    ) -> None:
        """head_vertex (N,) and base_vertex (M,): numbers in the base mesh; template (N,3) and
        base_template (M,3): where they are at rest."""
        distance, self._near = cKDTree(template).query(base_template, k=NEIGHBOURS)
        weight = 1.0 / np.maximum(distance, 1e-6) ** 2
        weight /= weight.sum(axis=1, keepdims=True)
        fade = np.exp(-0.5 * (distance[:, :1] / SURROUNDING_REACH) ** 2)
        self._weight = weight * fade
        row_of = {int(v): i for i, v in enumerate(head_vertex)}
        for row, vertex in enumerate(base_vertex):
            if int(vertex) in row_of:
                self._near[row] = row_of[int(vertex)]
                self._weight[row] = 1.0 / NEIGHBOURS

    def __call__(self, offset: NDArray) -> Array:
        """Offsets (M,3) of the base vertices for those of the head (N,3)."""
        out: Array = np.einsum("mkc,mk->mc", offset[self._near].astype(float), self._weight)
        return out
