"""Where in its frame the surface really is: frames are laid over what all of them show together.

A fitted mesh lies a few pixels beside the picture, in each frame differently. The mean of frames
that are so misplaced is blurred; laid over each other first, they keep their detail.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backend.bake.align import (
    Plane,
    RegisterSettings,
    detail_of,
    find_shift,
    find_translation,
    mean_shift,
)
from backend.bake.consensus import sample_image
from backend.bake.head_view import gain_at, see_head
from backend.bake.iris import find_iris
from backend.bake.openings import Openings
from backend.bake.shot_cover import CoverableMesh
from backend.bake.texels import build_texel_map
from backend.geometry.rasterizer import interpolate, to_pixels, vertex_normals

Key = TypeVar("Key")
"""What a frame goes by: its number, or camera and number."""

STILL = ("eye.L", "eye.R", "mouth", "teeth_upper", "teeth_lower", "tongue", "lashes")
"""Parts that move or change by themselves: what is around them says where they are."""


EYES = ("eye.L", "eye.R")
"""Of these the eyes are laid over each other too, each as a whole, where their lids are known."""


class EyedMesh(CoverableMesh, Protocol):
    """What is needed of a head; one without eyes needs no template."""

    template: Tensor


PUPIL = 0.009
"""Metres around the eyeball's pole within which a frame's pixels are taken as even with metres."""


@dataclass(frozen=True)
class Shift:
    """How far the surface lies beside the mesh in one frame."""

    K: Tensor
    """(3, 3) camera of the crop in which it is kept."""
    pixels: Tensor
    """(h, w, 2) in pixels of the frame."""
    parts: dict[str, Tensor]
    """(2,) by opening (`openings.BEHIND`): what is behind it moves as a whole."""

    def to(self, device: torch.device) -> Shift:
        """The same shift on a device."""
        parts = {name: part.to(device) for name, part in self.parts.items()}
        return Shift(self.K.to(device), self.pixels.to(device), parts)

    def at(self, points: Tensor) -> Tensor:
        """Pixels (P, 2) to add to the projections of points (P, 3), metres, camera frame."""
        return sample_image(self.pixels, to_pixels(points, self.K)[:, :2])


@dataclass(frozen=True)
class _View:
    K: Tensor  # (3, 3) of the crop
    per_pixel: float  # pixels of the frame on one of the crop
    detail: Plane  # (h, w) fine structure of the picture
    weight: Plane  # (h, w)
    uv: Tensor  # (h, w, 2)
    place: Tensor  # (P, 2) texels in the crop
    trust: Tensor  # (P,)
    face_px: float
    eyes: dict[str, Plane] = field(default_factory=dict)  # (h, w) weight of each eye's pixels
    axes: dict[str, Tensor] = field(default_factory=dict)  # (2, 2) pixels a metre on each eye


class Registration(Generic[Key]):
    """Collects small pictures of some frames of a shot, then finds the shift of each.

    Memory: about 2 MB a frame.
    """

    def __init__(self, head: EyedMesh, settings: RegisterSettings | None = None) -> None:
        self.settings = settings or RegisterSettings()
        self.faces = torch.as_tensor(head.faces).long().cpu()
        uv, face_uv = torch.as_tensor(head.uv).float().cpu(), torch.as_tensor(head.face_uv).cpu()
        self.corner_uv = uv[face_uv.long()]
        self.texels = build_texel_map(uv, face_uv.long(), self.settings.texels)
        n_vertices = int(self.faces.max()) + 1
        self.counts = torch.ones(n_vertices)
        if "face" in head.regions:
            # Hair moves over the scalp, and a collar over the neck.
            self.counts[:] = 0.0
            self.counts[torch.as_tensor(head.regions["face"]).long().cpu()] = 1.0
        lashes = torch.zeros(n_vertices, dtype=torch.bool)
        for name in STILL:
            if name in head.regions:
                part = torch.as_tensor(head.regions[name]).long().cpu()
                self.counts[part] = 0.0
                if name == "lashes":
                    lashes[part] = True
        self.shown = ~lashes[self.faces].any(1)
        self.eyes: dict[str, Tensor] = {}
        for name in EYES:
            if name in head.regions:
                self.eyes[name] = torch.zeros(n_vertices)
                self.eyes[name][torch.as_tensor(head.regions[name]).long().cpu()] = 1.0
        self.eye_texels = {
            name: (part[self.faces[:, 0]] > 0)[self.texels.triangle]
            for name, part in self.eyes.items()
        }
        everything = torch.arange(len(self.texels.position))
        self.pupils: dict[str, tuple[Tensor, Tensor]] = {}
        self.eye_places: dict[str, Tensor] = {}
        """(P', 3) metres of each eye's texels from the middle of its eyeball, looking along -z."""
        for name, part in self.eyes.items():
            template = torch.as_tensor(head.template).float().cpu()
            middle = template[part > 0].mean(0)
            at = template - middle
            front = ((part > 0) & (at[:, 2] < 0) & (at[:, :2].norm(dim=-1) < PUPIL)).nonzero()[:, 0]
            self.pupils[name] = (front, at[front, :2])
            place = self.texels.interpolate(at[self.faces], everything[self.eye_texels[name]])
            self.eye_places[name] = place
        self.views: dict[Key, _View] = {}

    def look(
        self,
        number: Key,
        image_rgb: NDArray[np.uint8],
        vertices: Tensor,
        K: Tensor,
        visible: Tensor,
        gain: Tensor | None = None,
        openings: Openings | None = None,
    ) -> None:
        """Take a frame: (H, W, 3) u8 sRGB; vertices (N, 3) metres, camera frame; K (3, 3) pixels.

        visible: (N,) 0 to 1, by head, border and what covers it. gain: (9, 3) its change of light.
        openings: contours of its lids.
        """
        settings = self.settings
        faces = self.faces[self.shown]
        view = see_head(image_rgb, vertices, faces, K, settings.resolution)
        if view is None:
            return
        index, weights = view.face_index, view.barycentric
        flat = torch.arange(3 * len(faces)).reshape(-1, 3)
        uv = interpolate(self.corner_uv[self.shown].reshape(-1, 2), flat, index, weights)
        counted = interpolate((visible * self.counts)[:, None], faces, index, weights)[..., 0]
        color = view.color if gain is None else view.color / gain_at(gain, view.normal)
        brightness = (color @ color.new_tensor((0.25, 0.65, 0.1))).clamp(min=0).sqrt()
        on_head = view.on_head.numpy()
        # A little way in from the outlines: beyond them is another surface.
        reach = max(1, round(0.012 * view.face_px))
        solid = cv2.erode(on_head.astype(np.uint8), np.ones((2 * reach + 1,) * 2, np.uint8))
        weight = counted.numpy() * solid * np.clip((view.cosine.numpy() - 0.15) / 0.3, 0, 1)
        detail = detail_of(brightness.numpy(), on_head, settings.light * view.face_px)

        normals = vertex_normals(vertices, self.faces)
        toward = -torch.nn.functional.normalize(vertices, dim=-1)
        facing = ((normals * toward).sum(-1).clamp(min=0) ** 2) * visible
        pixels = torch.nan_to_num(to_pixels(vertices, view.K)[:, :2], nan=-10.0)
        corners = torch.cat((pixels, facing[:, None]), -1)[self.faces]
        values = self.texels.interpolate(corners, torch.arange(len(self.texels.position)))
        trust = values[:, 2] * (values[:, 2] > 0.05)
        eyes: dict[str, Plane] = {}
        axes: dict[str, Tensor] = {}
        if openings is not None:
            to_frame = K @ torch.linalg.inv(view.K)
            scale, origin = to_frame[[0, 1], [0, 1]], to_frame[:2, 2]
            rows, columns = view.on_head.nonzero().unbind(-1)
            for name, part in self.eyes.items():
                inside = self.eye_texels[name]
                place = scale * values[inside, :2] + origin
                trust[inside] = trust[inside] * openings.trust(name, place)
                drawn = interpolate((part * visible)[:, None], faces, index, weights)[..., 0]
                on_eye = drawn[rows, columns] > 0.5
                y, x = rows[on_eye], columns[on_eye]
                weight_of_eye = torch.zeros_like(drawn)
                weight_of_eye[y, x] = openings.trust(name, scale * torch.stack((x, y), -1) + origin)
                eyes[name] = weight_of_eye.numpy()
                front, at = self.pupils[name]
                axes[name] = _slope(at, pixels[front])
        self.views[number] = _View(
            K=view.K,
            per_pixel=float(K[0, 0] / view.K[0, 0]),
            detail=detail,
            weight=weight.astype(np.float32),
            uv=uv,
            place=values[:, :2].contiguous(),
            trust=trust,
            face_px=view.face_px,
            eyes=eyes,
            axes=axes,
        )

    def solve(self) -> dict[Key, Shift]:
        """The shift of every frame that was taken."""
        if len(self.views) < 2:
            return {}
        shifts = {
            number: np.zeros((*view.detail.shape, 2), np.float32)
            for number, view in self.views.items()
        }
        parts: dict[Key, dict[str, Plane]] = {number: {} for number in self.views}
        for _ in range(self.settings.rounds):
            look, known = self._gather(shifts, parts)
            for number, view in self.views.items():
                grid = torch.stack((2 * view.uv[..., 0] - 1, 1 - 2 * view.uv[..., 1]), -1)[None]
                drawn = torch.nn.functional.grid_sample(
                    torch.stack((look, known))[None], grid, align_corners=False
                )[0].numpy()
                usual = drawn[0] / np.maximum(drawn[1], 1e-3)
                weight = view.weight * (drawn[1] > 0.5)
                shifts[number] = find_shift(
                    usual, view.detail, weight, shifts[number], view.face_px, self.settings
                )
                limit = self.settings.limit * view.face_px
                for name, eye in view.eyes.items():
                    weight = eye * (drawn[1] > 0.5)
                    start = parts[number].get(name, mean_shift(shifts[number], eye))
                    parts[number][name] = find_translation(usual, view.detail, weight, start, limit)
        self._put_irises_in_front(shifts, parts)
        result = {}
        for number, shift in shifts.items():
            scale = self._scale(number)
            own = {name: torch.from_numpy(part) * scale for name, part in parts[number].items()}
            result[number] = Shift(self.views[number].K, torch.from_numpy(shift) * scale, own)
        return result

    def _put_irises_in_front(
        self, shifts: dict[Key, Plane], parts: dict[Key, dict[str, Plane]]
    ) -> None:
        """Move each eye alike in all frames until its iris lies on the eyeball's pole.

        There it turns with the eye; what misplaces it in all frames alike none of them tells.
        """
        look, known = (plane.reshape(-1) for plane in self._gather(shifts, parts))
        for name, at in self.eye_places.items():
            rows = self.texels.position[self.eye_texels[name]]
            front = at[:, 2] < 0
            centre = find_iris(at[front, :2], look[rows][front], known[rows][front])
            if centre is None:
                continue
            for number, view in self.views.items():
                if name in parts[number]:
                    moved = view.axes[name].numpy() @ centre.astype(np.float32)
                    parts[number][name] = parts[number][name] + moved

    def _scale(self, number: Key) -> float:
        return self.views[number].per_pixel

    def _gather(
        self, shifts: dict[Key, Plane], parts: dict[Key, dict[str, Plane]]
    ) -> tuple[Tensor, Tensor]:
        """The common look (S, S), times where it is known (S, S), 0 to 1."""
        seen, trusts = [], []
        for number, view in self.views.items():
            place = view.place + sample_image(torch.from_numpy(shifts[number]), view.place)
            for name, part in parts[number].items():
                inside = self.eye_texels[name]
                place[inside] = view.place[inside] + torch.from_numpy(part)
            seen.append(sample_image(torch.from_numpy(view.detail)[..., None], place)[:, 0])
            trusts.append(view.trust)
        values, weights = torch.stack(seen, 1), torch.stack(trusts, 1)
        for _ in range(2):
            mean = (values * weights).sum(1) / weights.sum(1).clamp(min=1e-6)
            apart = (values - mean[:, None]).abs()
            # What one frame alone shows there (a highlight, a blink) is left out.
            limit = 2.5 * (apart * weights).sum(1) / weights.sum(1).clamp(min=1e-6) + 0.01
            weights = weights * (apart < 2 * limit[:, None])
        mean = (values * weights).sum(1) / weights.sum(1).clamp(min=1e-6)
        size = self.settings.texels
        look, known = torch.zeros(2, size * size)
        reached = (weights.sum(1) > 0.1).float()
        look[self.texels.position], known[self.texels.position] = mean * reached, reached
        return look.reshape(size, size), known.reshape(size, size)


def _slope(metres: Tensor, pixels: Tensor) -> Tensor:
    """(2, 2) pixels that a metre along each axis makes: metres (P, 2), pixels (P, 2)."""
    ones = torch.ones(len(metres), 1)
    found = torch.linalg.lstsq(torch.cat((metres, ones), 1), pixels).solution
    return found[:2].T
