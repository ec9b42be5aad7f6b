"""One texture for the head, merged over the frames of a shot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from backend.bake.color import linear_to_srgb8, srgb_to_linear
from backend.bake.depth_view import DepthSettings, DepthView, render_depth_view
from backend.bake.fill import match_tone, pad_alpha, pull_push, sample_known
from backend.bake.sample_bank import SampleBank
from backend.bake.sampling import build_pyramid
from backend.bake.texels import build_texel_map, mirror_face_uv, uv_to_pixels
from backend.bake.visibility import VISIBLE, two_sided_vertices, view_cosine
from backend.geometry.rasterizer import ArrayLike, to_pixels, vertex_normals

MEASURED, MIRRORED, FILLED, OUTSIDE = 255, 128, 64, 0
"""Alpha of a texel: seen in the footage, taken from the other side, filled from around, no head."""

PARTS: dict[str, tuple[tuple[str, ...], tuple[int, int, int]]] = {
    "eyes": (("eye.L", "eye.R"), (226, 220, 216)),
    "teeth": (("teeth_upper", "teeth_lower"), (222, 212, 194)),
    "tongue": (("tongue",), (176, 98, 96)),
    "lashes": (("lashes",), (38, 28, 24)),
}
"""Parts that are completed apart from the skin: the head's regions and the sRGB colour of a part
that no frame shows. The cards of the lashes take what the picture shows at their place: mostly the
lid and the eye between the hairs."""

CHUNK = 131_072
"""Texels handled at once: small enough for the caches, and memory stays flat."""

SKIN_COLOR = (198, 158, 138)


class TexturedMesh(Protocol):
    """What the baker needs of a head."""

    faces: Tensor
    uv: Tensor
    face_uv: Tensor
    mirror: Tensor

    @property
    def regions(self) -> Mapping[str, Any]:
        """Vertex indices (n,) by part, tensors or arrays."""


@dataclass(frozen=True)
class TextureSettings:
    """How frames are weighed and merged."""

    samples: int = 8
    """Best samples kept a texel, which bounds the memory; their robust mean is the result."""
    angle_power: float = 2.0
    """A sample's weight falls with this power of the cosine of the viewing angle."""
    min_weight: float = 0.03
    """Samples of lower visibility x angle x clearance are not used; 0.03 is 80 degrees."""
    outline: float = 0.008
    """Distance kept from the head's outlines, as a share of its size in the image."""
    border_px: float = 6.0
    """The weight falls to nothing over this distance from the image's border."""
    padding: int = 8
    """Texels around the charts that repeat the alpha of the chart; the colour reaches on."""
    depth: DepthSettings = field(default_factory=DepthSettings)
    """The depth buffer that tells hidden texels."""


class TextureBaker:
    """Collects the colours of the head's surface from frames and merges them into one texture.

    Memory is bounded by the texture's size and `TextureSettings.samples`, not by the frames.
    """

    def __init__(
        self, head: TexturedMesh, size: int = 2048, settings: TextureSettings | None = None
    ) -> None:
        """head: mesh, UV layout, mirror map and regions; size: side in texels, a power of two."""
        assert size >= 64 and size & (size - 1) == 0, "size must be a power of two"
        self.settings = settings or TextureSettings()
        self.faces = torch.as_tensor(head.faces).long().cpu()
        uv, face_uv = torch.as_tensor(head.uv).float().cpu(), torch.as_tensor(head.face_uv).cpu()
        mirror = torch.as_tensor(head.mirror).long().cpu()
        self.texels = build_texel_map(uv, face_uv.long(), size)
        self.mirrored_uv = mirror_face_uv(self.faces, uv, face_uv.long(), mirror)
        self.two_sided = two_sided_vertices(self.faces, len(mirror))
        self.part_of_face = _parts(self.faces, head.regions, len(mirror))
        # Lashes are far thinner than their cards: they must not hide the lids and eyes behind.
        self.occluders = self.part_of_face != 1 + list(PARTS).index("lashes")
        self.bank = SampleBank(len(self.texels.position), self.settings.samples)
        self.n_frames = 0

    def add(
        self, image_rgb_u8: np.ndarray, vertices: ArrayLike, K: ArrayLike, weight: float = 1.0
    ) -> None:
        """Take what one frame shows of the head.

        image_rgb_u8: (H, W, 3) sRGB. vertices: (N, 3) metres, camera frame; K: (3, 3) pixels.
        weight: trust in this frame against the others. A head outside the image adds nothing.
        """
        points = torch.as_tensor(vertices).float().cpu()
        K = torch.as_tensor(K).float().cpu()
        image_size = (image_rgb_u8.shape[1], image_rgb_u8.shape[0])
        if weight <= 0 or not bool(torch.isfinite(points).all()):
            return
        view = render_depth_view(
            points, self.faces[self.occluders], K, image_size, self.settings.depth
        )
        if view is None:
            return
        facing = view_cosine(points, vertex_normals(points, self.faces))
        facing = torch.where(self.two_sided, facing.abs(), facing)
        corner_px = to_pixels(points, K)[self.faces][..., :2]
        # Triangles that show their back or lie outside the image have no texel to offer.
        limit = torch.tensor(image_size, dtype=torch.float32)
        wanted = (facing[self.faces] > 0).any(1) & (corner_px.amax(1) > -0.5).all(1)
        wanted &= (corner_px.amin(1) < limit - 0.5).all(1)
        if not bool(wanted.any()):
            return
        edge_1, edge_2 = corner_px[:, 1] - corner_px[:, 0], corner_px[:, 2] - corner_px[:, 0]
        area = 0.5 * (edge_1[:, 0] * edge_2[:, 1] - edge_1[:, 1] * edge_2[:, 0]).abs()
        level = 0.5 * torch.log2((area / self.texels.area.clamp(min=1e-6)).clamp(min=1e-6))
        pyramid = build_pyramid(
            image_rgb_u8,
            corner_px[wanted].amin((0, 1)),
            corner_px[wanted].amax((0, 1)),
            float(level[wanted].max()),
        )
        reach = max(self.settings.outline * max(view.depth.shape), float(view.K[0, 0] / K[0, 0]))
        frame = _Frame(
            K=K,
            limit=limit,
            view=view,
            clearance=view.clearance_map(reach),
            corners=torch.cat((points, facing[:, None]), 1)[self.faces],
        )
        before = self.bank.n_offered
        for texels in wanted[self.texels.triangle].nonzero()[:, 0].split(CHUNK):
            texels, positions, trust = self._weigh(frame, texels)
            pixels = to_pixels(positions, K)[:, :2]
            colors = pyramid.sample(pixels, level[self.texels.triangle[texels]])
            # A closer head shows more detail: pixels on a millimetre of surface that faces us.
            detail = 1e-3 * K[0, 0] / positions[:, 2]
            # Half floats hold weights down to 6e-8 and up to 65,504.
            self.bank.insert(texels, colors, (trust * detail * weight).clamp(1e-6, 6e4))
        self.n_frames += self.bank.n_offered > before

    def _weigh(self, frame: _Frame, texels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Those of some texels (M,) that a frame shows well enough.

        Returns their index (M',) into the texel map, position (M', 3) in the camera frame and
        trust (M',) = cosine^k x clearance from outlines and image borders x visibility.
        """
        settings = self.settings
        values = self.texels.interpolate(frame.corners, texels)
        trust = values[:, 3].clamp(0, 1) ** settings.angle_power
        texels, values, trust = _drop_weak(settings.min_weight, trust, texels, values)

        trust = trust * frame.view.sample(frame.clearance, values[:, :3])
        pixels = to_pixels(values[:, :3], frame.K)[:, :2]
        border = torch.minimum(pixels + 0.5, frame.limit - 0.5 - pixels).amin(1)
        trust = trust * (border / settings.border_px).clamp(0, 1)
        texels, values, trust = _drop_weak(settings.min_weight, trust, texels, values)

        visible = 1 - frame.view.hidden(values[:, :3], values[:, 3])
        trust = torch.where(visible >= VISIBLE, trust * visible, torch.zeros_like(trust))
        texels, values, trust = _drop_weak(settings.min_weight, trust, texels, values)
        return texels, values[:, :3], trust

    @property
    def measured_fraction(self) -> float:
        """Share of the texels on the head that at least one frame has shown, 0 to 1."""
        return float(self.bank.measured.float().mean())

    def result(self) -> np.ndarray:
        """The texture so far: (H, W, 4) u8, sRGB colour, straight alpha.

        Alpha is `MEASURED`, `MIRRORED` (taken from the other side, in this side's tone),
        `FILLED` (spread smoothly from around, or a part's own colour where none of it was seen)
        or `OUTSIDE`. The colour has no holes: it continues beyond the charts, so no dark seam
        shows when the texture is filtered.
        """
        size, position = self.texels.size, self.texels.position
        color, alpha = torch.zeros(size * size, 3), torch.zeros(size * size, dtype=torch.uint8)
        color[position] = self.bank.merge()
        alpha[position[self.bank.measured]] = MEASURED
        color, alpha = color.reshape(size, size, 3), alpha.reshape(size, size)
        color, alpha = self._complete_from_mirror(color, alpha)

        part = torch.full((size * size,), -1, dtype=torch.int8)
        part[position] = self.part_of_face[self.texels.triangle].to(torch.int8)
        part = part.reshape(size, size)
        for index, default in enumerate((SKIN_COLOR, *(rgb for _, rgb in PARTS.values()))):
            inside = part == index
            holes = inside & (alpha == OUTSIDE)
            if not bool(holes.any()):
                continue
            known = inside & (alpha != OUTSIDE)
            if bool(known.any()):
                color[holes] = pull_push(color, known)[holes]
            else:
                linear = srgb_to_linear(np.array(default) / 255.0)
                color[holes] = torch.tensor(linear, dtype=torch.float32)
            alpha[holes] = FILLED
        color = pull_push(color, part >= 0)
        alpha = pad_alpha(alpha, self.settings.padding)
        return torch.cat((linear_to_srgb8(color), alpha[..., None]), -1).numpy()

    def _complete_from_mirror(self, color: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
        size = self.texels.size
        everything = torch.arange(len(self.texels.position))
        place = uv_to_pixels(self.texels.interpolate(self.mirrored_uv, everything), size)
        known = alpha == MEASURED
        sampled, share = sample_known(color, known, place)
        mirrored = torch.zeros(size * size, 3)
        mirrored[self.texels.position] = sampled
        mirrored_known = torch.zeros(size * size, dtype=torch.bool)
        mirrored_known[self.texels.position] = share > 0.5
        mirrored, mirrored_known = (
            mirrored.reshape(size, size, 3),
            mirrored_known.reshape(size, size),
        )
        new = mirrored_known & ~known
        if bool(new.any()):
            toned = match_tone(mirrored, color, known, mirrored_known)
            color = torch.where(new[..., None], toned, color)
            alpha = torch.where(new, torch.full_like(alpha, MIRRORED), alpha)
        return color, alpha


@dataclass(frozen=True)
class _Frame:
    K: Tensor  # (3, 3)
    limit: Tensor  # (2,) width and height
    view: DepthView
    clearance: Tensor  # (h, w) of the view
    corners: Tensor  # (T, 3, 4) position in the camera frame and view cosine


def _drop_weak(
    least: float, trust: Tensor, texels: Tensor, values: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    keep = (trust >= least).nonzero()[:, 0]
    return texels[keep], values[keep], trust[keep]


def _parts(faces: Tensor, regions: Mapping[str, Any], n_vertices: int) -> Tensor:
    """Part of every face (T,): 0 skin, then 1 + the place in `PARTS`."""
    of_vertex = torch.zeros(n_vertices, dtype=torch.int64)
    for index, (names, _) in enumerate(PARTS.values()):
        for name in names:
            if name in regions:
                of_vertex[torch.as_tensor(regions[name]).long().cpu()] = index + 1
    return of_vertex[faces[:, 0]]
