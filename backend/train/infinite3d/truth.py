"""What a rendered face truly is, as the network's own quantities: canonical points, pose, focal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backend.detect.windows import Window
from backend.head import Head
from backend.train.augment import Cut

_FLIP = np.diag([-1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Truth:
    """The truth of B windows; rows without one are zeros and `known` is 0."""

    known: Tensor
    """(B,) whether camera and coefficients are known."""
    canonical: Tensor
    """(B,N,3) vertices in the head's own frame, metres."""
    points: Tensor
    """(B,N,2) where the vertices are seen, window units."""
    rotation: Tensor
    """(B,3,3) head to the window's camera."""
    translation: Tensor
    """(B,3) metres."""
    focal: Tensor
    """(B,) window units."""


class TruthMaker:
    """Poses the head as the stored samples had it."""

    def __init__(self, head: Head) -> None:
        self.head = head
        self._mirror = head.mirror

    @torch.no_grad()
    def make(
        self,
        camera: NDArray[np.float32],
        coefficients: NDArray[np.float32],
        known: Sequence[bool],
        cuts: Sequence[Cut],
        image_sizes: Sequence[int],
        offset: NDArray[np.float32] | None = None,
    ) -> Truth:
        """Of B cuts of stored square images of `image_sizes` pixels.

        camera (B,20) and coefficients (B,152) are the shards' fields of these names, offset (B,N,3)
        what heads of scanned people have beside the coefficients.
        """
        count = len(cuts)
        rotations = torch.from_numpy(camera[:, 3:15].reshape(count, 4, 3))
        translations = torch.from_numpy(camera[:, 15:18])
        identity = torch.from_numpy(coefficients[:, :100])
        vertices = self.head(
            identity,
            torch.from_numpy(coefficients[:, 100:]),
            rotations,
            translations,
            None if offset is None else torch.from_numpy(offset),
        )
        transform = self.head.joint_transforms(identity, rotations, translations)[:, 1, :3]
        canonical = (vertices - transform[:, None, :, 3]) @ transform[:, :, :3]
        views = [
            _view(cut, row, size)
            for cut, row, size in zip(cuts, camera.astype(float), image_sizes, strict=True)
        ]
        pose: NDArray[np.float64] = transform.double().numpy()
        posed: NDArray[np.float32] = vertices.numpy()
        for i, cut in enumerate(cuts):
            if cut.mirrored:
                canonical[i] = canonical[i][self._mirror] * canonical.new_tensor([-1.0, 1.0, 1.0])
                posed[i] = posed[i][self._mirror.numpy()] * [-1, 1, 1]
                pose[i, :, :3] = _FLIP @ pose[i, :, :3] @ _FLIP
                pose[i, :, 3] *= [-1, 1, 1]
        seen = [
            cut.window.to_window(_pixels(p, view))
            for cut, p, view in zip(cuts, posed, views, strict=True)
        ]
        turned = np.stack([view.rotation @ p for view, p in zip(views, pose, strict=True)])
        return Truth(
            known=torch.tensor(known, dtype=torch.float32),
            canonical=canonical,
            points=torch.from_numpy(np.stack(seen)).float(),
            rotation=torch.from_numpy(turned[:, :, :3]).float(),
            translation=torch.from_numpy(turned[:, :, 3]).float(),
            focal=torch.tensor([view.focal for view in views], dtype=torch.float32),
        )


@dataclass(frozen=True)
class _View:
    """A stored image's camera, and the one that looks through the middle of a window."""

    focal_px: float
    centre: NDArray[np.float64]
    """(2,) principal point, px."""
    rotation: NDArray[np.float64]
    """(3,3) the stored camera's axes to the window's."""
    focal: float
    """The window's focal length in its own units."""


def _view(cut: Cut, camera: NDArray[np.float64], image_size: int) -> _View:
    focal_px, centre = max(float(camera[0]), 1.0), camera[1:3].copy()
    if cut.mirrored:
        centre[0] = image_size - 1 - centre[0]
    window: Window = cut.window
    ray = np.array([(window.x - centre[0]) / focal_px, (window.y - centre[1]) / focal_px, 1.0])
    length = float(np.linalg.norm(ray))
    c, s = np.cos(window.roll), np.sin(window.roll)
    upright = np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
    # Off the axis a picture is larger by the cosine than at the same distance in the middle.
    focal = 2 * focal_px * length / window.side
    return _View(focal_px, centre, upright @ _to_axis(ray / length), focal)


def _to_axis(ray: NDArray[np.float64]) -> NDArray[np.float64]:
    """The smallest rotation that turns a unit vector into the optical axis."""
    axis = np.cross(ray, [0.0, 0.0, 1.0])
    skew = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + skew + skew @ skew / (1 + ray[2])


def _pixels(vertices: NDArray, view: _View) -> NDArray[np.float64]:
    depth = np.maximum(vertices[:, 2:], 1e-3)
    return view.focal_px * vertices[:, :2] / depth + view.centre
