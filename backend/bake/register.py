"""Where in its frame the surface really is: frames are laid over what all of them show together.

A fitted mesh lies a few pixels beside the picture, in each frame differently. The mean of frames
that are so misplaced is blurred; laid over each other first, they keep their detail.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backend.bake.consensus import sample_image
from backend.bake.head_view import gain_at, see_head
from backend.bake.openings import Openings
from backend.bake.shot_cover import CoverableMesh
from backend.bake.texels import build_texel_map
from backend.geometry.rasterizer import interpolate, to_pixels, vertex_normals

Plane = NDArray[np.float32]

Key = TypeVar("Key")
"""What a frame goes by: its number, or camera and number."""

STILL = ("eye.L", "eye.R", "mouth", "teeth_upper", "teeth_lower", "tongue", "lashes")
"""Parts that move or change by themselves: what is around them says where they are."""


EYES = ("eye.L", "eye.R")
"""Of these the eyes are laid over each other too, each as a whole, where their lids are known."""


@dataclass(frozen=True)
class RegisterSettings:
    """How frames are laid over each other."""

    resolution: int = 384
    """Longest side of the picture of the head that is compared, in pixels."""
    texels: int = 512
    """Side of the texture in which the common look is gathered."""
    rounds: int = 2
    """How often the common look is gathered again from the frames as they were laid."""
    window: float = 0.045
    """Standard deviation of the patch that moves as one, as a share of the face's width."""
    light: float = 0.07
    """Changes over more than this share of the face's width are light, not detail."""
    limit: float = 0.035
    """Longest shift, as a share of the face's width: what is farther off is no misfit of a mesh."""
    stiffness: float = 3e-5
    """Pull towards no shift, against the mean squared gradient of the root of linear light."""


@dataclass(frozen=True)
class Shift:
    """How far the surface lies beside the mesh in one frame."""

    K: Tensor
    """(3, 3) camera of the crop in which it is kept."""
    pixels: Tensor
    """(h, w, 2) in pixels of the frame."""
    parts: dict[str, Tensor]
    """(2,) by opening (`openings.BEHIND`): what is behind it moves as a whole."""

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


class Registration(Generic[Key]):
    """Collects small pictures of some frames of a shot, then finds the shift of each.

    Memory: about 2 MB a frame.
    """

    def __init__(self, head: CoverableMesh, settings: RegisterSettings | None = None) -> None:
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
        detail = _detail(brightness.numpy(), on_head, settings.light * view.face_px)

        normals = vertex_normals(vertices, self.faces)
        toward = -torch.nn.functional.normalize(vertices, dim=-1)
        facing = ((normals * toward).sum(-1).clamp(min=0) ** 2) * visible
        pixels = torch.nan_to_num(to_pixels(vertices, view.K)[:, :2], nan=-10.0)
        corners = torch.cat((pixels, facing[:, None]), -1)[self.faces]
        values = self.texels.interpolate(corners, torch.arange(len(self.texels.position)))
        trust = values[:, 2] * (values[:, 2] > 0.05)
        eyes: dict[str, Plane] = {}
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
                    start = parts[number].get(name, _mean_shift(shifts[number], eye))
                    parts[number][name] = find_translation(usual, view.detail, weight, start, limit)
        result = {}
        for number, shift in shifts.items():
            scale = self._scale(number)
            own = {name: torch.from_numpy(part) * scale for name, part in parts[number].items()}
            result[number] = Shift(self.views[number].K, torch.from_numpy(shift) * scale, own)
        return result

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


def find_shift(
    usual: Plane,
    detail: Plane,
    weight: Plane,
    start: Plane,
    face_px: float,
    settings: RegisterSettings,
) -> Plane:
    """Shift (h, w, 2), x and y in pixels, by which a picture's detail lies beside the usual one.

    usual, detail, weight: (h, w); start: (h, w, 2). Lucas and Kanade, An Iterative Image
    Registration Technique (1981), in Gaussian windows and from coarse to fine; pulled towards no
    shift, and dropped where it explains nothing.
    """
    shift = start
    limit = settings.limit * face_px
    for halvings, steps in ((1, 4), (0, 3)):
        share = 0.5**halvings
        size = tuple(max(8, round(side * share)) for side in detail.shape[::-1])
        a, b, w, d = (cv2.resize(x, size, interpolation=cv2.INTER_AREA) for x in (
            usual, detail, weight, shift * share))  # fmt: skip
        sigma = max(2.0, settings.window * face_px * (share if halvings else 0.8))
        for _ in range(steps):
            d = _step(a, b, w, d, sigma, settings.stiffness, limit * share)
        shift = cv2.resize(d, detail.shape[::-1], interpolation=cv2.INTER_LINEAR) / share
    sigma = max(2.0, settings.window * face_px)
    before = _mean(weight * (detail - usual) ** 2, sigma)
    after = _mean(weight * (_moved(detail, shift) - usual) ** 2, sigma)
    # It has to explain a tenth of what does not fit, and is full where it explains a quarter.
    gain = 1 - after / np.maximum(before, 1e-9)
    kept = np.clip((gain - 0.05) / 0.15, 0, 1)
    presence = _mean(weight, sigma)
    # Between patches with and without a say, and beyond the head, the shift fades.
    spread = _mean((weight * kept)[..., None] * shift, sigma)
    spread /= np.maximum(presence, 0.02)[..., None]
    return np.ascontiguousarray(spread, np.float32)


def find_translation(
    usual: Plane, detail: Plane, weight: Plane, start: Plane, limit: float, steps: int = 8
) -> Plane:
    """The one shift (2,), x and y in pixels, of a patch; the start where it explains no more.

    limit: how far it may go from the start.
    """
    rows, columns = np.nonzero(weight > 0.05)
    if len(rows) < 12:
        return start
    left, right = max(columns.min() - 4, 0), columns.max() + 5
    top, bottom = max(rows.min() - 4, 0), rows.max() + 5
    reach = int(np.ceil(limit + np.abs(start).max())) + 4
    x0, y0 = max(left - reach, 0), max(top - reach, 0)
    near = detail[y0 : bottom + reach, x0 : right + reach]
    a, w = (plane[y0 : bottom + reach, x0 : right + reach] for plane in (usual, weight))

    def misfit(shift: Plane) -> float:
        return float((w * np.abs(_moved(near, np.broadcast_to(shift, (*a.shape, 2))) - a)).sum())

    best, least = start, misfit(start)
    shift = start
    for _ in range(steps):
        moved = _moved(near, np.broadcast_to(shift, (*a.shape, 2)))
        mean = 0.5 * (moved + a)
        gradient = np.stack(
            (cv2.Scharr(mean, cv2.CV_32F, 1, 0), cv2.Scharr(mean, cv2.CV_32F, 0, 1)), -1
        ).reshape(-1, 2) / 32  # fmt: skip
        error = (moved - a).reshape(-1)
        trust = w.reshape(-1) / (1 + (error / 0.15) ** 2)
        normal = (gradient * trust[:, None]).T @ gradient + 1e-4 * trust.sum() * np.eye(2)
        shift = shift - np.linalg.solve(normal, (gradient * (trust * error)[:, None]).sum(0))
        shift = np.clip(shift, start - limit, start + limit).astype(np.float32)
        value = misfit(shift)
        if value < least:
            best, least = shift, value
    return best


def _mean_shift(shift: Plane, weight: Plane) -> Plane:
    total = max(float(weight.sum()), 1e-6)
    mean: Plane = ((shift * weight[..., None]).sum((0, 1)) / total).astype(np.float32)
    return mean


def _step(
    usual: Plane,
    detail: Plane,
    weight: Plane,
    shift: Plane,
    sigma: float,
    pull: float,
    limit: float,
) -> Plane:
    moved = _moved(detail, shift)
    mean = 0.5 * (moved + usual)
    gx = cv2.Scharr(mean, cv2.CV_32F, 1, 0) / 32
    gy = cv2.Scharr(mean, cv2.CV_32F, 0, 1) / 32
    error = moved - usual
    # A departure of more than 0.1 is a cover or a highlight (Geman and McClure's weight).
    trust = weight / (1 + (error / 0.06) ** 2) ** 2
    planes = np.stack((gx * gx, gx * gy, gy * gy, gx * error, gy * error, np.ones_like(gx)), -1)
    xx, xy, yy, xe, ye, share = np.moveaxis(_mean(trust[..., None] * planes, sigma), -1, 0)
    pull = pull * np.maximum(share, 0.05)
    xx, yy = xx + pull, yy + pull
    right_x, right_y = xe + pull * shift[..., 0], ye + pull * shift[..., 1]
    determinant = np.maximum(xx * yy - xy * xy, 1e-14)
    step = np.stack((yy * right_x - xy * right_y, xx * right_y - xy * right_x), -1)
    result = shift - step / determinant[..., None]
    length = np.linalg.norm(result, axis=-1, keepdims=True)
    shortened: Plane = (result * np.minimum(1, limit / np.maximum(length, 1e-6))).astype(np.float32)
    return shortened


def _moved(picture: Plane, shift: Plane) -> Plane:
    height, width = picture.shape
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    moved: Plane = cv2.remap(
        picture, x + shift[..., 0], y + shift[..., 1], cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    return moved


def _mean(value: Plane, sigma: float) -> Plane:
    blurred: Plane = cv2.GaussianBlur(value, (0, 0), sigma)
    return blurred


def _detail(brightness: Plane, on_head: NDArray[np.bool_], sigma: float) -> Plane:
    """What of a picture changes within some pixels on the head."""
    share = on_head.astype(np.float32)
    around = _mean(brightness * share, sigma) / np.maximum(_mean(share, sigma), 1e-3)
    return np.ascontiguousarray((brightness - around) * share, np.float32)
