"""One texture for the head, merged over the frames of a shot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from backend.bake.color import linear_to_srgb8
from backend.bake.complete import (
    complete_from_mirror,
    complete_part,
    complete_smoothly,
    statistical_skin,
)
from backend.bake.depth_view import DepthView, render_depth_view
from backend.bake.fill import pad_alpha, pull_push
from backend.bake.head_view import gain_at
from backend.bake.openings import BEHIND, Openings
from backend.bake.parts import INNER, PARTS, USUAL, faces_in, part_of_faces, vertices_in
from backend.bake.register import Shift
from backend.bake.rim import see_rim
from backend.bake.sample_bank import SampleBank
from backend.bake.sampling import build_pyramid
from backend.bake.seams import blend_seams
from backend.bake.texels import build_texel_map, mirror_face_uv, uv_to_pixels
from backend.bake.texture_settings import TextureSettings
from backend.bake.visibility import VISIBLE, two_sided_vertices, view_cosine
from backend.device import device_with_doubles
from backend.geometry.rasterizer import ArrayLike, to_pixels, vertex_normals

MEASURED, MIRRORED, FILLED, OUTSIDE = 255, 128, 64, 0
"""Alpha of a texel: seen in the footage, taken from the other side, filled from around, no head."""

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


class TextureBaker:
    """Collects the colours of the head's surface from frames and merges them into one texture.

    Memory is bounded by the texture's size and `TextureSettings.samples`, not by the frames. Frames
    are drawn, sampled and merged on the head's device; results are on the processor.
    """

    def __init__(
        self, head: TexturedMesh, size: int = 2048, settings: TextureSettings | None = None
    ) -> None:
        """head: mesh, UV layout, mirror map and regions; size: side in texels, a power of two."""
        assert size >= 64 and size & (size - 1) == 0, "size must be a power of two"
        self.settings = settings or TextureSettings()
        self.device = device = device_with_doubles(head.faces.device)
        self.faces = head.faces.long().to(device)
        uv = torch.as_tensor(head.uv, device=device).float()
        face_uv = torch.as_tensor(head.face_uv, device=device)
        mirror = torch.as_tensor(head.mirror, device=device).long()
        self.texels = build_texel_map(uv, face_uv.long(), size)
        self.mirrored_uv = mirror_face_uv(self.faces, uv, face_uv.long(), mirror)
        self.two_sided = two_sided_vertices(self.faces, len(mirror))
        self.part_of_face = part_of_faces(self.faces, head.regions, len(mirror))
        # Lashes are far thinner than their cards: they must not hide the lids and eyes behind.
        self.occluders = self.part_of_face != 1 + list(PARTS).index("lashes")
        self.bank = SampleBank(len(self.texels.position), self.settings.samples, self.device)
        names = list(PARTS)
        inner = torch.tensor([1 + names.index(name) for name in INNER], device=device)
        self.inner_texel = torch.isin(self.part_of_face, inner)[self.texels.triangle]
        self.behind_texel = {
            name: faces_in(self.faces, head.regions, parts, len(mirror))[self.texels.triangle]
            for name, parts in BEHIND.items()
        }
        # A mesh without a face is held everywhere.
        face = vertices_in(head.regions, ("face",), len(mirror), device)
        face |= not bool(face.any())
        self.face_texel = (face[self.faces].all(1) & (self.part_of_face == 0))[self.texels.triangle]
        # A graphics card wants all at once.
        self.chunk = CHUNK if device.type == "cpu" else max(1, len(self.texels.position))
        self.loose_texel = ~(self.inner_texel | self.face_texel)
        self.n_frames = self.n_added = 0

    def add(
        self,
        image_rgb_u8: np.ndarray,
        vertices: ArrayLike,
        K: ArrayLike,
        weight: float = 1.0,
        visible: ArrayLike | None = None,
        emphasis: ArrayLike | None = None,
        gain: Tensor | None = None,
        shift: Shift | None = None,
        openings: Openings | None = None,
    ) -> None:
        """Take what one frame shows of the head.

        image_rgb_u8: (H, W, 3) sRGB. vertices: (N, 3) metres, camera frame; K: (3, 3) pixels.
        weight: trust in this frame against the others. visible: (N,) 0 to 1, how far nothing
        foreign covers each vertex; below `VISIBLE` nothing is taken. emphasis: (N,) trust in this
        frame by vertex. gain: (9, 3) how its light differs from the shot's (`fit_gain`), which is
        taken out. shift: how far the surface lies beside the mesh. openings: contours of lids and
        lips, within which eyes and the inside of the mouth lie. A head outside the image adds
        nothing.
        """
        points = torch.as_tensor(vertices, device=self.device).float()
        K = torch.as_tensor(K, device=self.device).float()
        gain = None if gain is None else gain.to(self.device)
        shift = None if shift is None else shift.to(self.device)
        openings = None if openings is None else openings.to(self.device)
        image_size = (image_rgb_u8.shape[1], image_rgb_u8.shape[0])
        if weight <= 0 or not bool(torch.isfinite(points).all()):
            return
        view = render_depth_view(
            points, self.faces[self.occluders], K, image_size, self.settings.depth
        )
        if view is None:
            return
        normals = vertex_normals(points, self.faces)
        facing = view_cosine(points, normals)
        facing = torch.where(self.two_sided, facing.abs(), facing)
        corner_px = to_pixels(points, K)[self.faces][..., :2]
        # Triangles that show their back, or too little of their front, or lie outside the image
        # have no texel to offer.
        limit = points.new_tensor(image_size)
        steepest = self.settings.min_weight ** (1 / self.settings.angle_power)
        wanted = (facing[self.faces] > steepest).any(1) & (corner_px.amax(1) > -0.5).all(1)
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
        rows = [points, facing[:, None]]
        for values in (visible, emphasis):
            rows.append(
                points.new_ones(len(points), 1)
                if values is None
                else torch.as_tensor(values, device=self.device).float()[:, None]
            )
        frame = _Frame(
            K=K,
            limit=limit,
            view=view,
            clearance=view.clearance_map(reach),
            inner_clearance=view.clearance_map(reach * self.settings.inner_outline),
            loose_clearance=view.clearance_map(
                reach * self.settings.loose_outline / self.settings.outline
            ),
            corners=torch.cat((*rows, normals), 1)[self.faces],
        )
        rim = see_rim(view, image_rgb_u8, K)
        before = self.bank.n_offered
        for texels in wanted[self.texels.triangle].nonzero()[:, 0].split(self.chunk):
            texels, values, trust = self._weigh(frame, texels)
            pixels = to_pixels(values[:, :3], K)[:, :2]
            if shift is not None:
                pixels = pixels + self._shift(shift, values[:, :3], texels)
            if openings is not None:
                trust = trust * self._through(openings, pixels, texels)
                texels, values, trust, pixels = _drop_weak(
                    self.settings.min_weight, trust, texels, values, pixels
                )
            colors = pyramid.sample(pixels, level[self.texels.triangle[texels]])
            loose = self.loose_texel[texels]
            likely = trust[loose] * rim.likeness(values[loose, :3], colors[loose])
            trust[loose] = torch.where(likely >= self.settings.loose_least, likely, 0.0)
            texels, values, trust, colors = _drop_weak(
                self.settings.min_weight, trust, texels, values, colors
            )
            # Burnt out or black: the true colour is not known.
            brightest = colors.amax(-1)
            lost = (brightest > 0.96) | (brightest < 0.0015)
            trust = torch.where(lost, trust * self.settings.clipped, trust)
            if gain is not None:
                normal = torch.nn.functional.normalize(values[:, 6:9], dim=-1)
                colors = colors / gain_at(gain, normal)
            # A closer head shows more detail: pixels on a millimetre of surface that faces us.
            detail = 1e-3 * K[0, 0] / values[:, 2]
            # Half floats hold weights down to 6e-8 and up to 65,504.
            weights = (trust * values[:, 5].clamp(min=0) * detail * weight).clamp(1e-6, 6e4)
            self.bank.insert(texels, colors, weights, self.n_added % 32_000)
        self.n_added += 1
        self.n_frames += self.bank.n_offered > before

    def _weigh(self, frame: _Frame, texels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Those of some texels (M,) that a frame shows well enough.

        Returns their index (M',) into the texel map, their values (M', 9) (`_Frame.corners`) and
        trust (M',) = cosine^k x clearance from outlines and image borders x visibility.
        """
        settings = self.settings
        values = self.texels.interpolate(frame.corners, texels)
        trust = values[:, 3].clamp(0, 1) ** settings.angle_power
        texels, values, trust = _drop_weak(settings.min_weight, trust, texels, values)

        clearance = frame.view.sample(frame.clearance, values[:, :3])
        inner = self.inner_texel[texels]
        if bool(inner.any()):
            clearance[inner] = frame.view.sample(frame.inner_clearance, values[inner, :3])
        loose = self.loose_texel[texels]
        if bool(loose.any()):
            clearance[loose] = frame.view.sample(frame.loose_clearance, values[loose, :3])
        foreign = values[:, 4]
        trust = trust * clearance * torch.where(foreign >= VISIBLE, foreign, 0.0)
        pixels = to_pixels(values[:, :3], frame.K)[:, :2]
        border = torch.minimum(pixels + 0.5, frame.limit - 0.5 - pixels).amin(1)
        trust = trust * (border / settings.border_px).clamp(0, 1)
        texels, values, trust = _drop_weak(settings.min_weight, trust, texels, values)

        visible = 1 - frame.view.hidden(values[:, :3], values[:, 3])
        trust = torch.where(visible >= VISIBLE, trust * visible, torch.zeros_like(trust))
        texels, values, trust = _drop_weak(settings.min_weight, trust, texels, values)
        return texels, values, trust

    def _shift(self, shift: Shift, points: Tensor, texels: Tensor) -> Tensor:
        """Pixels (M, 2) to add to texels (M,) at points (M, 3); eyes and mouth move as a whole."""
        pixels = shift.at(points)
        for name, behind in self.behind_texel.items():
            inside = behind[texels]
            pixels[inside] = shift.parts.get(name, pixels.new_zeros(2))
        return pixels

    def _through(self, openings: Openings, pixels: Tensor, texels: Tensor) -> Tensor:
        """Trust (M,) in texels (M,) at pixels (M, 2), by the lids and lips around them.

        Within these eyes and the inside of the mouth are seen, and beyond them the skin is.
        """
        share = pixels.new_ones(len(texels))
        skin = ~self.inner_texel[texels]
        for name in openings.contours:
            behind = self.behind_texel[name][texels]
            if bool(behind.any()):
                share[behind] = openings.trust(name, pixels[behind])
            before = skin & openings.is_near(name, pixels)
            if bool(before.any()):
                share[before] *= openings.skin(name, pixels[before])
        return share

    @property
    def outer(self) -> Tensor:
        """(S, S) bool: all texels but those of eyes, teeth, tongue and mouth."""
        return ~self._picture(self.inner_texel).cpu()

    @property
    def measured_fraction(self) -> float:
        """Share of the texels on the head that at least one frame has shown, 0 to 1."""
        return float(self.bank.measured.float().mean())

    def result(self) -> np.ndarray:
        """The texture so far: (H, W, 4) u8, sRGB colour, straight alpha (`linear_result`)."""
        color, alpha = self.linear_result()
        return torch.cat((linear_to_srgb8(color), alpha[..., None]), -1).numpy()

    def linear_result(self) -> tuple[Tensor, Tensor]:
        """The texture so far: colours (S, S, 3) in linear light and alpha (S, S) u8.

        Alpha is `MEASURED`, `MIRRORED` (taken from the other side, in this side's tone),
        `FILLED` (from the colour and the grain of what was seen, or a part's own colour where none
        of it was) or `OUTSIDE`. The colour has no holes: it continues beyond the charts, so no
        dark seam shows when the texture is filtered.
        """
        size, position = self.texels.size, self.texels.position
        settings = self.settings
        power = torch.where(self.inner_texel, settings.inner_power, 1.0)
        merged, agreement = self.bank.merge(power)
        if settings.seams:
            # Eyes and teeth are sharp, small and from few frames: they have no seams to blend.
            merged = blend_seams(merged, self.bank, position, size, ~self.inner_texel)
        of_texel = self.part_of_face[self.texels.triangle]
        skin_texel = of_texel == 0
        seen = self.bank.measured & ((agreement >= settings.agreement) | ~skin_texel)
        seen &= self._well_seen()
        # What is not measured is made up on the processor, once for a shot.
        known, color = self._picture(seen).cpu(), self._picture(merged).cpu()
        face = self._picture(self.face_texel).cpu()
        texels = self.texels.to("cpu")
        position, everything = texels.position, torch.arange(len(position))
        place = uv_to_pixels(texels.interpolate(self.mirrored_uv.cpu(), everything), size)
        color, mirrored = complete_from_mirror(color, known, position, place)

        alpha = known.byte() * MEASURED + mirrored.byte() * MIRRORED
        part = torch.full((size * size,), -1, dtype=torch.int8)
        part[position] = of_texel.to(torch.int8).cpu()
        part = part.reshape(size, size)
        known = known | mirrored
        names = list(PARTS)
        color = complete_smoothly(color, part == 0, known)
        if not bool(((part == 0) & known).any()):
            color = complete_part(color, part == 0, known, SKIN_COLOR)
        for index, name in enumerate(names, 1):
            inside = part == index
            if bool((inside & ~known).any()):
                lips = part == 0 if name == "mouth" else None
                tones = USUAL.get(name, (0.3, 0.7))
                color = complete_part(color, inside, known, PARTS[name][1], lips, tones)
        color = statistical_skin(color, part == 0, known, face)
        alpha[(part >= 0) & ~known] = FILLED
        color = pull_push(color, part >= 0)
        return color, pad_alpha(alpha, settings.padding)

    def _well_seen(self) -> Tensor:
        """(P,) bool: all texels but those of eyes, teeth and mouth that no frame shows clearly."""
        best = self.bank.weights.float().amax(1)
        part = self.part_of_face[self.texels.triangle]
        result = torch.ones_like(part, dtype=torch.bool)
        for name in INNER:
            inside = part == 1 + list(PARTS).index(name)
            measured = best[inside & (best > 0)]
            if len(measured):
                usual = float(measured.sort().values[int(0.75 * (len(measured) - 1))])
                least = self.settings.eye_least if name == "eyes" else self.settings.inner_least
                result[inside] = best[inside] >= least * usual
        return result

    def forget(self) -> None:
        """Start again without any sample."""
        self.bank = SampleBank(len(self.texels.position), self.settings.samples, self.device)
        self.n_frames = self.n_added = 0

    def samples(self) -> tuple[Tensor, Tensor]:
        """What was seen alone: colours (S, S, 3) in linear light, and where, (S, S) bool."""
        merged, _ = self.bank.merge()
        return self._picture(merged).cpu(), self._picture(self.bank.measured).cpu()

    def _picture(self, values: Tensor) -> Tensor:
        """Values of the texels (P, ...) as a picture (S, S, ...), zeros between the charts."""
        size = self.texels.size
        picture = values.new_zeros((size * size, *values.shape[1:]))
        picture[self.texels.position] = values
        return picture.reshape(size, size, *values.shape[1:])


@dataclass(frozen=True)
class _Frame:
    K: Tensor  # (3, 3)
    limit: Tensor  # (2,) width and height
    view: DepthView
    clearance: Tensor  # (h, w) of the view
    inner_clearance: Tensor  # (h, w), for eyes and mouth
    loose_clearance: Tensor  # (h, w), for scalp, ears and neck
    corners: Tensor  # (T, 3, 9) position (camera frame), view cosine, visible, emphasis, normal


def _drop_weak(
    least: float, trust: Tensor, texels: Tensor, values: Tensor, *others: Tensor
) -> tuple[Tensor, ...]:
    keep = (trust >= least).nonzero()[:, 0]
    return texels[keep], values[keep], trust[keep], *(other[keep] for other in others)
