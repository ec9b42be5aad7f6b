"""The jaw as annotators see it: the visible silhouette, found among candidates on the mesh."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from backend.head import Head
from backend.head.landmarks import layout

ArrayT = TypeVar("ArrayT", np.ndarray, Tensor)

N_CONTOUR = 17
N_CANDIDATES = 24
_NOSE_BASE = 33
# Share of the way from the jaw point to the nose base that a path covers, from ear to chin: it
# must reach the cheek that hides the jaw of a turned head, but not the nose, the lips or the chin's
# boss, which stick out further without being the jaw.
_REACH = (0.55, 0.60, 0.62, 0.62, 0.60, 0.55, 0.46, 0.36, 0.30)
_FINE = 200
# Paths are spaced along the surface; beside the ears the frontal projection folds deep ones.
_PULL = 0.04


@dataclass(frozen=True)
class ContourPaths:
    """Candidates on the surface for the 17 contour points, the 3D jaw point first."""

    vertices: np.ndarray
    """(17,C,3) int64 vertex indices of the candidates' triangles."""
    barycentric: np.ndarray
    """(17,C,3) float64 weights of the corners."""

    @classmethod
    def from_head(cls, head: Head, candidates: int = N_CANDIDATES) -> ContourPaths:
        """Paths over the template from each iBUG jaw point towards the nose base.

        Straight in the frontal projection, lifted to the frontmost skin, evenly spaced along the
        surface.
        """
        jaw = layout("ibug68")
        template = head.template.detach().cpu().double()
        points = head.landmarks(template, jaw).numpy()
        vertices = template.numpy()
        skin = np.isin(np.arange(head.n_vertices), head.regions["skin"])
        faces = head.faces.cpu().numpy()
        faces = faces[skin[faces].all(axis=1)]
        corners = np.empty((N_CONTOUR, candidates, 3), dtype=np.int64)
        weights = np.empty((N_CONTOUR, candidates, 3))
        for k in range(N_CONTOUR):
            share = np.linspace(0, _REACH[min(k, 16 - k)], _FINE)[1:, None]
            line = points[k, :2] + share * (points[_NOSE_BASE, :2] - points[k, :2])
            lifted = [_frontmost(vertices, faces, target) for target in line]
            found = [entry for entry in lifted if entry is not None]
            fine_corners = np.array([jaw.vertices[k], *(entry[0] for entry in found)])
            fine_weights = np.array([jaw.barycentric[k], *(entry[1] for entry in found)])
            path = (vertices[fine_corners] * fine_weights[..., None]).sum(axis=1)
            length = np.concatenate([[0], np.linalg.norm(np.diff(path, axis=0), axis=1).cumsum()])
            wanted = np.linspace(0, length[-1], candidates)
            pick = np.abs(length - wanted[:, None]).argmin(axis=1)
            corners[k], weights[k] = fine_corners[pick], fine_weights[pick]
        return cls(corners, weights)

    def candidates(self, vertices: ArrayT) -> ArrayT:
        """Candidates (...,17,C,D) on vertices (...,N,D), in the frame and unit of the vertices."""
        if isinstance(vertices, np.ndarray):
            corners = vertices[..., self.vertices, :]
            return (corners * self.barycentric[..., None]).sum(-2).astype(vertices.dtype)
        index = torch.from_numpy(self.vertices).to(vertices.device)
        weight = torch.from_numpy(self.barycentric).to(vertices)
        return (vertices[..., index, :] * weight[..., None]).sum(-2)


def contour_choice(candidates_px: ArrayT) -> ArrayT:
    """Which candidate of each path is the visible silhouette, (...,17) int64.

    Args: candidates_px (...,17,C,2) projected candidates, pixels, x right and y down, of an image
    that is not mirrored. Of each path the point wins that lies farthest outwards along the jaw
    line's normal: a far cheek that hides its jaw takes over, a near jaw stays where it is.
    """
    points = torch.as_tensor(candidates_px)
    assert points.shape[-3] == N_CONTOUR and points.shape[-1] == 2
    size = (points[..., 0, 0, :] - points[..., 16, 0, :]).norm(dim=-1)
    # In profile the width vanishes: the height from ear to chin stands in for it.
    size = torch.maximum(size, (points[..., 8, 0, :] - points[..., 0, 0, :]).norm(dim=-1))
    # An even pull towards the jaw keeps ties and the flat near side from wandering.
    pull = _PULL * size[..., None, None] * torch.linspace(0, 1, points.shape[-2]).to(points) ** 2
    line = points[..., 0, :]
    choice = torch.zeros(points.shape[:-2], dtype=torch.int64, device=points.device)
    for _ in range(2):  # the second round takes the normal from the first round's silhouette
        tangent = _smooth_tangent(line)
        normal = torch.stack([-tangent[..., 1], tangent[..., 0]], dim=-1)
        outwards = (points * normal[..., None, :]).sum(-1) - pull
        choice = outwards.argmax(dim=-1)
        index = choice[..., None, None].expand(*choice.shape, 1, 2)
        line = points.gather(-2, index)[..., 0, :]
    return choice.numpy() if isinstance(candidates_px, np.ndarray) else choice


def contour_points(candidates_px: ArrayT) -> ArrayT:
    """The visible jaw silhouette (...,17,2) of projected candidates (...,17,C,2), see above."""
    choice = torch.as_tensor(contour_choice(candidates_px))
    points = torch.as_tensor(candidates_px)
    index = choice[..., None, None].expand(*choice.shape, 1, 2)
    line = points.gather(-2, index)[..., 0, :]
    return line.numpy() if isinstance(candidates_px, np.ndarray) else line


def _smooth_tangent(line: Tensor) -> Tensor:
    """Unit direction from ear to ear at each of (...,17,2) points, over two neighbours a side."""
    ahead = line[..., [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 16, 16], :]
    behind = line[..., [0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14], :]
    return torch.nn.functional.normalize(ahead - behind, dim=-1)


def _frontmost(
    vertices: np.ndarray, faces: np.ndarray, target: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """Corners (3,) and weights (3,) of the nearest surface on the ray along z through (x, y)."""
    p, q, r = (vertices[faces[:, k], :2] for k in range(3))

    def cross(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        return u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]

    with np.errstate(divide="ignore", invalid="ignore"):
        area = cross(q - p, r - p)
        w1, w2 = cross(target - p, r - p) / area, cross(q - p, target - p) / area
    weights = np.stack([1 - w1 - w2, w1, w2], axis=1)
    hit = np.flatnonzero((weights >= -1e-9).all(axis=1))
    if len(hit) == 0:
        return None
    depth = (vertices[faces[hit], 2] * weights[hit]).sum(axis=1)
    best = hit[depth.argmin()]
    return faces[best], weights[best]
