"""Lift a portrait's pixels into the head's UV layout and complete what cannot be seen."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from backend.bake.fill import pull_push
from backend.bake.texels import build_texel_map
from backend.geometry.rasterizer import rasterize, to_pixels, vertex_normals
from backend.head import Head
from backend.head.landmarks import layout
from backend.head.model import HEAD_FILE

SKIN_SIZE = 512
_SKIN_ISLANDS = ("head", "neck", "mouth", "socket.L", "socket.R")
# Beyond these bounds of the template (metres, head frame) hair and hats may lie on the head.
_FOREHEAD_Y = -0.021
_TEMPLE_X = 0.054
_BROW_END_X = 0.050
_USUAL_BRIDGE, _USUAL_RIMS, _USUAL_FOREHEAD = 6.28, 5.56, 3.0
_LID_SHADE = 0.1
_SHADING_BLUR = 0.11
_SHADING_SHARE = 0.75


@dataclass(frozen=True)
class LiftedSkin:
    """One skin with what is known about it."""

    image: np.ndarray
    """(512,512,3) u8 RGB in the head's layout, first row at v = 1."""
    seen: np.ndarray
    """(512,512) 0 to 1: how much of a texel comes from the picture, its mirrored twin included."""
    coverage: float
    """Share of the front of the face that was seen."""
    sharpness: float
    """Mean gradient of the face's brightness in the texture, u8 a texel."""
    colourfulness: float
    """Mean chroma (Lab) of the face."""
    frames: float
    """Strength of lines across the bridge of the nose and below the eyes, as glasses draw them;
    2 is usual, more than 2.8 is glasses or hard shadows."""
    foreign: float
    """Strength of dark or coarse detail left on the forehead, as hair draws it; 1 is usual."""


class SkinLifter:
    """Everything about the head's texture that does not depend on the portrait."""

    def __init__(self, head: Head, size: int = SKIN_SIZE) -> None:
        self.head = head
        self.size = size
        with np.load(HEAD_FILE) as data:
            names = np.array([str(x) for x in data["island_names"]])
            self.island = names[data["face_island"]]
        self.map = build_texel_map(head.uv, head.face_uv, size)
        triangle = self.map.triangle.numpy()
        self.texel_island = self.island[triangle]
        second, third = self.map.weights.numpy().T
        self.weights = np.stack([1 - second - third, second, third], axis=1)
        self.corners = head.faces.numpy()[triangle]
        self.row, self.column = np.divmod(self.map.position.numpy(), size)
        self.place = self._on_texels(head.template.numpy())
        on_head = self.texel_island == "head"
        x, y, z = self.place.T
        front = on_head & (z < 0.035) & (y < 0.115) & (y > -0.075)
        self.front = self._image(front.astype(np.float32))
        self.head_mask = self._image(on_head.astype(np.float32)) > 0
        self.mouth_mask = self._image((self.texel_island == "mouth").astype(np.float32)) > 0
        self.socket_mask = (
            self._image(np.char.startswith(self.texel_island, "socket").astype(np.float32)) > 0
        )
        # Where colour decides whether it is skin: above the brows, the temples and all behind.
        doubtful = (y < _FOREHEAD_Y) | (np.abs(x) > _TEMPLE_X) | (z > 0.03)
        doubtful |= (y < 0.005) & (np.abs(x) > _BROW_END_X)
        self.doubtful = self._image((doubtful & on_head).astype(np.float32))
        self.throat = on_head & (y > 0.095) & (z > 0.025)
        core = on_head & (np.abs(x) < 0.05) & (y > 0.012) & (y < 0.052) & (z < 0.01)
        self.core = core
        rims = on_head & (np.abs(x) > 0.014) & (np.abs(x) < 0.05) & (y > 0.013) & (y < 0.034)
        bridge = on_head & (np.abs(x) < 0.008) & (y > -0.004) & (y < 0.020) & (z < 0)
        forehead = on_head & (y < -0.024) & (y > -0.06) & (np.abs(x) < 0.055) & (z < 0.035)
        self.rims = self._image((rims & (z < 0.01)).astype(np.float32)) > 0
        self.bridge = self._image(bridge.astype(np.float32)) > 0
        self.forehead = self._image(forehead.astype(np.float32)) > 0
        outline = head.landmarks(head.template, layout("ibug68"))[48:60, :2].numpy()
        self.lips = on_head & (z < -0.015) & _inside(self.place[:, :2], outline)
        lids = [head.regions[name] for name in ("lids.L", "lids.R")]
        lid = np.isin(np.arange(head.n_vertices), np.concatenate(lids))
        self.lids = on_head & lid[self.corners].all(axis=1)
        self._shown = np.flatnonzero(~np.char.startswith(self.island, "lashes"))
        self._eyes = np.char.startswith(self.island[self._shown], "eye")
        inner = {"mouth", "teeth_upper", "teeth_lower", "tongue"}
        self._inside = np.isin(self.island[self._shown], list(inner))

    def _on_texels(self, values: np.ndarray) -> np.ndarray:
        """Vertex values (N,C) at the texels (P,C)."""
        return np.einsum("pk,pkc->pc", self.weights, values[self.corners])

    def _image(self, values: np.ndarray) -> np.ndarray:
        """Texel values (P,...) as a picture (S,S,...), zeros between the charts."""
        out = np.zeros((self.size, self.size, *values.shape[1:]), values.dtype)
        out[self.row, self.column] = values
        return out

    def lift(self, image: np.ndarray, vertices: np.ndarray, K: np.ndarray) -> LiftedSkin:
        """The skin of one portrait.

        Args: image (H,W,3) u8 RGB; vertices (N,3) of the fitted head, camera frame, metres;
        K (3,3) pixels.
        """
        colour, weight, rim = self._sample(image, vertices, K)
        weight *= self._skin_coloured(colour, weight, np.maximum(self.doubtful, rim))
        seen_front = float((weight * self.front).sum() / self.front.sum())
        linear = np.log(colour.astype(np.float32) / 255 + 0.02)
        linear = self._even_light(linear, weight)
        flipped, other = self._twin(linear, weight), weight[:, ::-1]
        # The own side counts until it is nearly unseen; there the twin of the other side fades in.
        fade = np.clip(weight * 2.5, 0, 1)
        share = fade + (1 - fade) * np.clip(other * 2.5, 0, 1)
        both = (
            fade[..., None] * linear
            + ((1 - fade) * np.clip(other * 2.5, 0, 1))[..., None] * flipped
        )
        mixed = both / np.maximum(share, 1e-6)[..., None]
        image_out = self._complete(mixed, share)
        return self._judge(image_out, share, seen_front)

    def _judge(self, image: np.ndarray, share: np.ndarray, coverage: float) -> LiftedSkin:
        """A skin with the figures that tell good ones from bad."""
        lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
        light = lab[..., 0]
        gradient = np.hypot(cv2.Sobel(light, cv2.CV_32F, 1, 0), cv2.Sobel(light, cv2.CV_32F, 0, 1))
        known = (self.front > 0) & (share > 0.5)
        chroma = np.hypot(lab[..., 1], lab[..., 2])
        lines = np.abs(cv2.GaussianBlur(light, (0, 0), 0.8) - cv2.GaussianBlur(light, (0, 0), 4))
        strands = np.abs(cv2.GaussianBlur(light, (0, 0), 1.0) - cv2.GaussianBlur(light, (0, 0), 8))
        # The divisors are the medians over many portraits.
        return LiftedSkin(
            image,
            share,
            coverage,
            sharpness=float(gradient[known].mean()) / 8 * 2.55,
            colourfulness=float(chroma[known].mean()),
            frames=float(np.percentile(lines[self.bridge], 90)) / _USUAL_BRIDGE
            + float(np.percentile(lines[self.rims], 92)) / _USUAL_RIMS,
            foreign=float(np.percentile(strands[self.forehead], 90)) / _USUAL_FOREHEAD,
        )

    def _sample(
        self, image: np.ndarray, vertices: np.ndarray, K: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        """Colours (S,S,3) u8, weights (S,S) and whether it is the rim (S,S) of what is seen."""
        height, width = image.shape[:2]
        pixels = to_pixels(torch.from_numpy(vertices).float(), torch.from_numpy(K).float())
        faces = self.head.faces[torch.from_numpy(self._shown)]
        found = rasterize(pixels, faces, (width, height))
        index, depth = found[0].numpy(), found[2].numpy()
        at = self._on_texels(pixels.numpy())
        z = self._on_texels(vertices)[:, 2]
        size_px = 0.093 * K[0, 0] / float(np.median(vertices[:, 2]))  # inter-ocular distance
        x, y = at[:, 0].astype(np.float32), at[:, 1].astype(np.float32)
        inside = (x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1)
        map_x, map_y = self._image(x), self._image(y)

        def sample(picture: np.ndarray, how: int, border: int = cv2.BORDER_CONSTANT) -> np.ndarray:
            return cv2.remap(picture, map_x, map_y, how, borderMode=border)[self.row, self.column]

        nearest = sample(depth, cv2.INTER_NEAREST)
        clear = np.clip((nearest + 0.007 - z) / 0.004, 0, 1)
        normals = vertex_normals(torch.from_numpy(vertices), self.head.faces).numpy()
        normal = self._on_texels(normals)
        view = self._on_texels(vertices)
        cosine = (
            -(normal * view).sum(1) / np.linalg.norm(normal, axis=1) / np.linalg.norm(view, axis=1)
        )
        facing = np.clip((cosine - 0.25) / 0.35, 0, 1)

        # Eyeballs, teeth and the mouth's inside must not be painted on lids and lips, so the skin
        # keeps a distance from their pixels; so does it from the head's outline.
        def away(mask: np.ndarray, start: float, end: float) -> np.ndarray:
            distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
            value = sample(distance, cv2.INTER_LINEAR)
            return np.clip((value - start * size_px) / ((end - start) * size_px), 0, 1)

        shown = np.maximum(index, 0)
        eye = (index >= 0) & self._eyes[shown]
        mouth = (index >= 0) & self._inside[shown]
        weight = inside * clear * facing * away(eye, 0.018, 0.036) * away(mouth, 0.002, 0.011)
        weight *= away(index < 0, 0.02, 0.07)
        weight[self.texel_island != "head"] *= (
            self.texel_island[self.texel_island != "head"] == "neck"
        )
        # Collars and hair lie there: the neck and the throat are completed.
        weight[(self.texel_island == "neck") | self.throat] = 0
        rim = (cosine < 0.62) & (self.texel_island == "head")
        colour = sample(image, cv2.INTER_CUBIC, cv2.BORDER_REPLICATE)
        return (
            self._image(colour),
            self._image(weight.astype(np.float32)),
            self._image(rim.astype(np.float32)),
        )

    def _skin_coloured(
        self, colour: np.ndarray, weight: np.ndarray, doubtful: np.ndarray
    ) -> np.ndarray:
        """Weights (S,S): 0 where hair, hats or clothes lie in the doubtful regions."""
        lab = cv2.cvtColor(colour.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
        rows, columns = self.row[self.core], self.column[self.core]
        good = weight[rows, columns] > 0.5
        if good.sum() < 200:
            return np.ones_like(weight)
        sample = lab[rows[good], columns[good]]
        centre = np.median(sample, axis=0)
        spread = 1.4826 * np.median(np.abs(sample - centre), axis=0)
        # Light falls off towards the sides: brightness may differ more than colour.
        sigma = np.maximum(spread, [7.0, 2.5, 3.0]) * [2.0, 1.6, 1.6]
        blurred = cv2.GaussianBlur(lab, (0, 0), 1.2)
        offset = (blurred - centre) / sigma
        # A highlight is bright and pale: more light lowers the chroma along with it.
        bright = np.clip(offset[..., 0], 0, None)
        offset[..., 0] *= np.where(offset[..., 0] > 0, 0.3, 1.3)
        offset[..., 1:] *= 1 / (1 + 0.5 * bright[..., None])
        distance = np.sqrt((offset**2).sum(-1))
        # Strands are fine and of high contrast, skin is not.
        grey = lab[..., 0]
        detail = np.sqrt(
            np.maximum(
                cv2.GaussianBlur(grey**2, (0, 0), 3) - cv2.GaussianBlur(grey, (0, 0), 3) ** 2, 0
            )
        )
        distance = distance + np.clip(detail - 5.0, 0, 10) * 0.25
        bad = ((distance > 2.2) & (doubtful > 0) & (weight > 0)).astype(np.uint8)
        bad = cv2.morphologyEx(bad, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        bad = self._behind_hair(bad, doubtful)
        far = cv2.distanceTransform(1 - bad, cv2.DIST_L2, 5)
        return np.clip((far - 2.0) / 6.0, 0, 1)

    def _behind_hair(self, bad: np.ndarray, doubtful: np.ndarray) -> np.ndarray:
        """Everything further from the face than a hair line is hair as well."""
        centre = np.array([0.5 * self.size, 0.715 * self.size])  # column, row: between the eyes
        grid = np.stack(np.meshgrid(np.arange(self.size), np.arange(self.size)), -1) - centre
        radius, angle = np.hypot(grid[..., 0], grid[..., 1]), np.arctan2(grid[..., 1], grid[..., 0])
        polar = cv2.warpPolar(
            bad, (self.size, 720), tuple(centre), 1.2 * self.size, cv2.WARP_POLAR_LINEAR
        )
        run = cv2.boxFilter(polar.astype(np.float32), -1, (9, 5)) > 0.7
        after = np.maximum.accumulate(run, axis=1).astype(np.float32)
        rows = (np.mod(angle, 2 * np.pi) / (2 * np.pi) * 720).astype(np.float32)
        columns = (radius / (1.2 * self.size) * self.size).astype(np.float32)
        shadow = cv2.remap(after, columns, rows, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
        return np.maximum(bad, ((shadow > 0) & (doubtful > 0)).astype(np.uint8))

    def _even_light(self, log_colour: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Divide by the smooth part of the shading that differs between the sides."""
        both = weight * weight[:, ::-1] * (self.front > 0)
        if both.sum() < 500:
            return log_colour
        brightness = log_colour.mean(-1)
        difference = 0.5 * (brightness - brightness[:, ::-1]) * both
        sigma = _SHADING_BLUR * self.size
        smooth = cv2.GaussianBlur(difference, (0, 0), sigma) / (
            cv2.GaussianBlur(both, (0, 0), sigma) + 1e-3
        )
        return log_colour - _SHADING_SHARE * np.clip(smooth, -0.8, 0.8)[..., None]

    def _twin(self, log_colour: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """The mirrored picture in the tone of the side that it completes."""
        flipped = log_colour[:, ::-1]
        both = (np.minimum(weight, weight[:, ::-1]) > 0.6).astype(np.float32)
        difference = np.clip(log_colour - flipped, -0.7, 0.7) * both[..., None]
        spread = pull_push(torch.from_numpy(difference).float(), torch.from_numpy(both)).numpy()
        return flipped + cv2.GaussianBlur(spread, (0, 0), 0.02 * self.size)

    def _complete(self, log_colour: np.ndarray, share: np.ndarray) -> np.ndarray:
        """Fill everything unseen from around, running out into the face's mean colour."""
        core = (self.front > 0) & (share > 0.6) & self.head_mask
        if not core.any():
            raise ValueError("nothing of the face was seen")
        mean = np.median(log_colour[core], axis=0)
        weight = np.where(self.head_mask, share, 0.0)
        # A faint prior of the mean colour on every texel: far from anything seen it takes over.
        residual = (log_colour - mean) * weight[..., None]
        near = pull_push(
            torch.from_numpy(
                residual / np.maximum(weight, 1e-6)[..., None] * (weight[..., None] > 0)
            ).float(),
            torch.from_numpy(weight).float(),
        ).numpy()
        distance = cv2.distanceTransform((weight < 0.5).astype(np.uint8), cv2.DIST_L2, 5)
        reach = np.exp(-distance / (0.09 * self.size))[..., None]
        # Shadows at the edge of what was seen must not run out over the head.
        blurred = np.clip(cv2.GaussianBlur(near, (0, 0), 0.012 * self.size), -0.25, 0.2)
        filled = np.where(
            weight[..., None] > 0.98,
            near,
            weight[..., None] * near + (1 - weight[..., None]) * blurred,
        )
        out = mean + filled * np.where(weight > 0.5, 1.0, reach[..., 0])[..., None]
        rows, columns = self.row[self.lips], self.column[self.lips]
        lips_seen = share[rows, columns] > 0.5
        lip = (
            np.median(log_colour[rows[lips_seen], columns[lips_seen]], axis=0)
            if lips_seen.any()
            else mean
        )
        # Of smiling lips the inner part is not seen: it has the colour of the rest.
        unseen = (1 - share[rows, columns])[:, None]
        out[rows, columns] = (1 - unseen) * out[rows, columns] + unseen * lip
        # Nor must brows and lashes run out over the lids that open eyes fold away.
        rows, columns = self.row[self.lids], self.column[self.lids]
        unseen = 0.75 * (1 - share[rows, columns])[:, None]
        out[rows, columns] = (1 - unseen) * out[rows, columns] + unseen * (mean - _LID_SHADE)
        out[self.mouth_mask] = 0.5 * (lip + mean) + np.array([-0.05, -0.35, -0.25])
        out[self.socket_mask] = mean + np.array([0.02, -0.22, -0.18])
        charts = np.zeros((self.size, self.size), np.uint8)
        charts[self.row, self.column] = 1
        out[(charts == 0)] = mean
        # A few texels around each chart carry its colour, so that filtering finds no seam.
        _, label = cv2.distanceTransformWithLabels(
            1 - charts, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
        )
        owner = np.zeros(label.max() + 1, np.int64)
        owner[label[charts > 0]] = np.flatnonzero(charts.ravel())
        out = out.reshape(-1, 3)[owner[label]]
        return np.clip((np.exp(out) - 0.02) * 255 + 0.5, 0, 255).astype(np.uint8)


def _inside(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """(P,) whether points (P,2) lie in a polygon (k,2)."""
    inside = np.zeros(len(points), dtype=bool)
    x, y = points.T
    for (x1, y1), (x2, y2) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if y1 != y2:
            crosses = (y1 > y) != (y2 > y)
            inside ^= crosses & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
    return inside
