"""What covers the head in the frames of a shot, at every vertex."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from backend.bake.consensus import Consensus, ConsensusBuilder, sample_image
from backend.bake.cover import Cover, CoverSettings, find_cover
from backend.bake.head_view import HeadView, gain_at, see_head
from backend.bake.rim import rim_likeness
from backend.device import device_with_doubles
from backend.geometry.rasterizer import interpolate, to_pixels, vertex_normals

UNSTEADY: tuple[tuple[str, float], ...] = (
    ("lips", 0.6),
    ("lids.L", 0.35),
    ("lids.R", 0.35),
    ("mouth", 0.0),
    ("eye.L", 0.0),
    ("eye.R", 0.0),
    ("teeth_upper", 0.0),
    ("teeth_lower", 0.0),
    ("tongue", 0.0),
    ("lashes", 0.0),
)
"""Parts whose look changes by itself, and how far a departure there still counts."""

ROUNDS = 2
"""How often the usual look is found again without what was found to be covered."""


class CoverableMesh(Protocol):
    """What is needed of a head."""

    faces: Tensor
    uv: Tensor
    face_uv: Tensor

    @property
    def regions(self) -> Mapping[str, Any]:
        """Vertex indices (n,) by part, tensors or arrays."""


@dataclass(frozen=True)
class _KeyFrame:
    view: HeadView
    uv: Tensor  # (h, w, 2)
    steady: Tensor  # (h, w)
    loose: Tensor  # (h, w)
    prior: Tensor | None  # (h, w)


class ShotCover:
    """Learns the usual look of a head from some frames of a shot, then judges any of them.

    Memory is bounded by `CoverSettings.key_frames`, not by the shot's length. Meshes are drawn and
    looks compared on the head's device, on which all tensors are that it is given.
    """

    def __init__(self, head: CoverableMesh, settings: CoverSettings | None = None) -> None:
        self.settings = settings or CoverSettings()
        self.device = device = device_with_doubles(head.faces.device)
        self.faces = head.faces.long().to(device)
        uv = torch.as_tensor(head.uv, device=device).float()
        face_uv = torch.as_tensor(head.face_uv, device=device)
        self.corner_uv = uv[face_uv.long()]
        n_vertices = int(self.faces.max()) + 1
        self.steady = torch.ones(n_vertices, device=device)
        lashes = torch.zeros(n_vertices, dtype=torch.bool, device=device)
        for name, value in UNSTEADY:
            if name in head.regions:
                part = torch.as_tensor(head.regions[name], device=device).long()
                self.steady[part] = value
                if name == "lashes":
                    lashes[part] = True
        # Scalp, ears and neck lie where the face leads them, not where the picture shows them.
        self.loose = torch.zeros(n_vertices, device=device)
        if "face" in head.regions:
            self.loose += 1
            self.loose[torch.as_tensor(head.regions["face"], device=device).long()] = 0
        # Their cards are far larger than lashes: the lids behind them are what is compared.
        self.shown = ~lashes[self.faces].any(1)
        self.builder = ConsensusBuilder(uv, face_uv.long(), self.settings.texels)
        self.keys: list[_KeyFrame] = []
        self.consensus: Consensus | None = None
        self.key_gains: list[Tensor] = []
        """(9, 3) a key frame, once `solve` has run."""
        self.key_covered: list[Tensor] = []
        """(P,) covered coarse texels, the same."""

    def learn(
        self,
        image_rgb: np.ndarray,
        vertices: Tensor,
        K: Tensor,
        visibility: Tensor,
        prior: Tensor | None = None,
    ) -> None:
        """Take one frame into the usual look; no more than `CoverSettings.key_frames`.

        image_rgb: (H, W, 3) u8 sRGB; vertices: (N, 3) metres, camera frame; K: (3, 3) pixels;
        visibility: (N,) 0 to 1, what the head itself and the border leave; prior: (N,) evidence.
        """
        if len(self.keys) >= self.settings.key_frames:
            return
        key = self._look(image_rgb, vertices, K, prior)
        if key is None:
            return
        normals = vertex_normals(vertices, self.faces)
        pixels = to_pixels(vertices, key.view.K)[:, :2]
        values = torch.cat((pixels, visibility[:, None], normals), -1)
        self.builder.add(key.view, torch.nan_to_num(values)[self.faces])
        self.keys.append(key)
        self.consensus = None

    def solve(self) -> None:
        """Find the usual look: the robust middle of all key frames, then again without covers."""
        if not self.keys:
            return
        consensus = self.builder.solve(None, None)
        for _ in range(ROUNDS):
            gains, covered = [], []
            self.key_gains.clear()
            for number, key in enumerate(self.keys):
                found = self._judge(key, consensus)
                self.key_gains.append(found.gain)
                gains.append(gain_at(found.gain, self.builder.normals[number].float()))
                place = self.builder.places[number]
                covered.append(sample_image(found.covered[..., None], place)[:, 0])
            consensus = self.builder.solve(gains, covered)
            self.key_covered = covered
        self.consensus = consensus

    def judge(
        self, image_rgb: np.ndarray, vertices: Tensor, K: Tensor, prior: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """How far each vertex is covered in a frame, (N,) 0 to 1, and the frame's gain (9, 3)."""
        if self.consensus is None:
            self.solve()
        key = self._look(image_rgb, vertices, K, prior)
        if key is None or self.consensus is None:
            return vertices.new_zeros(len(vertices)), vertices.new_zeros(9, 3)
        found = self._judge(key, self.consensus)
        pixels = torch.nan_to_num(to_pixels(vertices, key.view.K)[:, :2], nan=-10.0)
        covered = sample_image(found.covered[..., None], pixels)[:, 0]
        return covered, found.gain

    def _judge(self, key: _KeyFrame, consensus: Consensus) -> Cover:
        steady = key.steady * (1 - key.loose * (1 - rim_likeness(key.view.color, key.view.on_head)))
        return find_cover(key.view, consensus, key.uv, steady, key.prior, self.settings)

    def _look(
        self, image_rgb: np.ndarray, vertices: Tensor, K: Tensor, prior: Tensor | None
    ) -> _KeyFrame | None:
        faces = self.faces[self.shown]
        view = see_head(image_rgb, vertices, faces, K, self.settings.resolution)
        if view is None:
            return None
        index, weights = view.face_index, view.barycentric
        corners = self.corner_uv[self.shown]
        flat = torch.arange(3 * len(faces), device=self.device).reshape(-1, 3)
        uv = interpolate(corners.reshape(-1, 2), flat, index, weights)
        none = prior is None
        values = torch.stack((self.steady, self.loose, self.steady if prior is None else prior), -1)
        steady, loose, evidence = interpolate(values, faces, index, weights).unbind(-1)
        return _KeyFrame(view, uv, steady, loose, None if none else evidence)


class SigmaPrior:
    """Evidence for covers from the detector: landmarks that it is less sure of than usual."""

    def __init__(
        self, landmark_sigma: np.ndarray, size_px: np.ndarray, points: Tensor, vertices: Tensor
    ) -> None:
        """landmark_sigma: (F, L) pixels, nan where no face was found. size_px: (F,) the face's
        size. points: (L, 3) and vertices: (N, 3) metres on the same head at rest."""
        with np.errstate(invalid="ignore", divide="ignore"):
            level = np.log(np.asarray(landmark_sigma, np.float64) / np.asarray(size_px)[:, None])
        level[~np.isfinite(level)] = np.nan
        found = np.isfinite(level).all(1)
        usual = np.percentile(level[found], 30, axis=0) if found.any() else np.zeros(level.shape[1])
        # The whole face is less sure in a blurred frame: what counts is what stands out of it.
        excess = level - usual
        self.excess = excess - np.nanmedian(
            np.where(found[:, None], excess, 0.0), axis=1, keepdims=True
        )
        near = torch.exp(-0.5 * (torch.cdist(vertices, points) / 0.012) ** 2)
        total = near.sum(1, keepdim=True)
        # Far from all landmarks (the back of the head) they say nothing.
        self.spread = near / total.clamp(min=0.5)

    def __call__(self, frame: int, strength: float = 4.0, usual: float = 0.08) -> Tensor:
        """(N,) evidence of a frame, from 0 to 1."""
        excess = torch.from_numpy(np.nan_to_num(self.excess[frame])).float()
        return (strength * (self.spread @ excess - usual)).clamp(0, 1)
