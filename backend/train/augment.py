"""Random windows on stored training crops, as the tracker and the finder will cut them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from backend.detect.network import N_CONTOUR, N_DENSE
from backend.detect.windows import ROI_SCALE, Window, roi
from backend.head.landmarks import layout
from backend.train.procedural import (
    PhotometricSettings,
    augment,
    make_background,
    make_occluder,
    paste_sprite,
)
from backend.train.shards import decode_points

_SPRITES = 48
_SPRITE_SIZE = 72


@dataclass(frozen=True)
class AugmentSettings:
    """How training windows differ from the tracker's own; shifts in sides, angles in degrees."""

    wide: float = 0.25
    """Share of windows that are cut as carelessly as the finder's."""
    negative: float = 0.06
    """Share of windows that miss the face or take it at a wrong scale."""
    shift: float = 0.07
    """Largest shift of a common window."""
    scale: float = 0.12
    """Largest relative change of a common window's scale."""
    roll_deg: float = 15.0
    """Largest turn of a common window."""
    wide_shift: float = 0.22
    """The same for a wide window."""
    wide_scale: tuple[float, float] = (0.65, 1.5)
    """The same for a wide window."""
    wide_roll_deg: float = 40.0
    """The same for a wide window."""
    occluder: float = 0.25
    """Share of windows with something in front of the face."""
    cutout: float = 0.15
    """Share of windows of which a rectangle is painted over."""
    photometric: PhotometricSettings = field(default_factory=PhotometricSettings)
    """What happens to the colours."""


@dataclass(frozen=True)
class Cut:
    """One training window with its labels, in pixels of the window (centres at integers)."""

    image: NDArray[np.uint8]
    """(S,S,3) RGB."""
    points: NDArray[np.float32]
    """(L+17,2) dense320 or dense703, then the silhouette."""
    valid: NDArray[np.float32]
    """(L+17,) which of them may be trained on."""
    weight: float
    """Of the sample's labels; 0 without a face."""
    face: tuple[float, float, float]
    """Centre and side of the true region of interest; zeros without a face."""
    has_face: bool
    window: Window
    """What was cut, in pixels of the stored image, after mirroring."""
    mirrored: bool


class WindowSampler:
    """Draws windows; keeps a pool of occluders and backgrounds, since making one takes long.

    landmarks: how many of dense703 a cut is labelled with.
    """

    def __init__(
        self, settings: AugmentSettings, rng: np.random.Generator, landmarks: int = N_DENSE
    ) -> None:
        self.settings = settings
        self.rng = rng
        self._landmarks = landmarks
        self._mirror = layout("dense703").mirror[:landmarks]
        self._sprites = [make_occluder(rng, _SPRITE_SIZE) for _ in range(_SPRITES)]
        self._backgrounds = [make_background(rng, 160, 160) for _ in range(_SPRITES)]

    def cut(
        self,
        sample: Mapping[str, NDArray],
        size: int,
        canvas: float = 1.0,
        whole: bool = False,
    ) -> Cut:
        """Cut a random window of `size` pixels out of a stored sample.

        canvas: side of the cut over that of the finder's window; above 1 the face may lie anywhere
        in a larger picture, for training over all of its windows at once. whole: keep nearly the
        whole stored image, as the frame that it is.
        """
        image = np.asarray(sample["images"])
        points, valid = _labels(sample, self._landmarks)
        has_face = bool(sample["has_face"])
        mirrored = self.rng.random() < 0.5
        if mirrored:
            image = image[:, ::-1]
            points = points * [-1, 1] + [image.shape[1] - 1, 0]
            points, valid = _mirrored(points, valid, self._mirror)
        face = roi(points) if has_face else _anywhere(image.shape[0])
        window = self._frame(image.shape[0]) if whole else self._window(face, canvas)
        cut = self._warp(image, window, size)
        cut = self._occlude(cut)
        cut = augment(cut, self.rng, self.settings.photometric)
        to_pixels = 0.5 * size
        centre = (window.to_window(np.array([face.x, face.y])) + 1) * to_pixels - 0.5
        return Cut(
            image=cut,
            points=((window.to_window(points) + 1) * to_pixels - 0.5).astype(np.float32),
            valid=valid,
            weight=float(sample["weight"]) if has_face else 0.0,
            face=(float(centre[0]), float(centre[1]), face.side / window.side * size)
            if has_face
            else (0.0, 0.0, 0.0),
            has_face=has_face,
            window=window,
            mirrored=mirrored,
        )

    def _frame(self, size: int) -> Window:
        """A whole frame, a little moved and turned, sometimes a lot."""
        rng = self.rng
        roll = rng.normal(0, 0.1) if rng.random() < 0.8 else rng.uniform(-0.9, 0.9)
        frame = Window((size - 1) / 2, (size - 1) / 2, float(size))
        x, y = rng.uniform(-0.05, 0.05, 2)
        return frame.jittered((float(x), float(y)), float(rng.uniform(0.9, 1.1)), float(roll))

    def _window(self, face: Window, canvas: float) -> Window:
        s, rng = self.settings, self.rng
        if canvas > 1:
            low, high = (np.log(v) for v in s.wide_scale)
            scale = canvas * float(np.exp(rng.uniform(low, high)))
            reach = 0.5 * (1 - 1 / canvas) + 0.1
            shift, roll = rng.uniform(-reach, reach, 2), s.wide_roll_deg
        else:
            kind = rng.random()
            if kind < s.negative:
                return self._off_face(face)
            if kind < s.negative + s.wide:
                low, high = (np.log(v) for v in s.wide_scale)
                scale = float(np.exp(rng.uniform(low, high)))
                shift, roll = rng.uniform(-s.wide_shift, s.wide_shift, 2), s.wide_roll_deg
            else:
                scale = float(np.exp(rng.uniform(-s.scale, s.scale)))
                shift, roll = rng.uniform(-s.shift, s.shift, 2), s.roll_deg
        angle = np.deg2rad(rng.uniform(-roll, roll))
        return face.jittered((float(shift[0]), float(shift[1])), scale, angle)

    def _off_face(self, face: Window) -> Window:
        rng = self.rng
        roll = float(rng.uniform(-0.7, 0.7))
        if rng.random() < 0.5:  # a part of the face, or the face far too small
            scale = float(np.exp(rng.uniform(np.log(0.15), np.log(0.4))))
            if rng.random() < 0.5:
                scale = float(rng.uniform(2.5, 4.0))
            return face.jittered(tuple(rng.uniform(-0.3, 0.3, 2)), scale, roll)
        angle = rng.uniform(0, 2 * np.pi)
        reach = rng.uniform(0.55, 0.9)
        shift = (float(reach * np.cos(angle)), float(reach * np.sin(angle)))
        return face.jittered(shift, float(rng.uniform(0.6, 1.6)), roll)

    def _warp(self, image: NDArray[np.uint8], window: Window, size: int) -> NDArray[np.uint8]:
        rng = self.rng
        matrix = window.matrix(size)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        if window.side > 2.0 * size:  # only the smallest faces would alias
            image = cv2.GaussianBlur(image, (0, 0), 0.4 * window.side / size)
        kind = rng.random()
        if kind < 0.25:
            border, colour = cv2.BORDER_CONSTANT, (127, 127, 127)
        elif kind < 0.4:
            border, colour = cv2.BORDER_CONSTANT, tuple(rng.integers(0, 256, 3).tolist())
        elif kind < 0.7:
            border, colour = cv2.BORDER_REPLICATE, (0, 0, 0)
        elif kind < 0.8:
            border, colour = cv2.BORDER_REFLECT_101, (0, 0, 0)
        else:
            number = int(rng.integers(_SPRITES))
            if rng.random() < 0.1:
                self._backgrounds[number] = make_background(rng, 160, 160)
            out = cv2.resize(self._backgrounds[number], (size, size))
            return cv2.warpAffine(
                image, matrix, (size, size), dst=out, flags=flags, borderMode=cv2.BORDER_TRANSPARENT
            )
        return cv2.warpAffine(
            image, matrix, (size, size), flags=flags, borderMode=border, borderValue=colour
        )

    def _occlude(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        s, rng = self.settings, self.rng
        size = image.shape[0]
        if rng.random() < s.occluder:
            number = int(rng.integers(_SPRITES))
            if rng.random() < 0.1:
                self._sprites[number] = make_occluder(rng, _SPRITE_SIZE)
            # Around the lower half of the face most often: hands, cups and microphones.
            x, y = rng.normal(0.5, 0.28), rng.normal(0.68, 0.25)
            side = size * rng.uniform(0.3, 0.85)
            centre = (float(x) * size, float(y) * size)
            angle = float(rng.normal(0, 0.8))
            image, _ = paste_sprite(image, self._sprites[number], centre, float(side), angle)
        if rng.random() < s.cutout:
            image = np.ascontiguousarray(image)
            w, h = (rng.uniform(0.1, 0.45, 2) * size).astype(int)
            x0, y0 = int(rng.integers(size - w)), int(rng.integers(size - h))
            image[y0 : y0 + h, x0 : x0 + w] = rng.integers(0, 256, 3)
        return image


def _labels(
    sample: Mapping[str, NDArray], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    dense = decode_points(np.asarray(sample["landmarks"][:count]))
    contour = evenly_spaced(decode_points(np.asarray(sample["contour"])))
    valid = np.ones(count + N_CONTOUR, np.float32)
    valid[:count] = np.asarray(sample["valid"][:count]) > 0
    return np.concatenate([dense, contour]).astype(np.float64), valid


def evenly_spaced(contour: NDArray) -> NDArray[np.float32]:
    """A silhouette (17,2) with even steps from either ear to the chin, as people set its points.

    The points of the 3D jaw, from which it is chosen, crowd at the jaw's corner.
    """
    out = np.array(contour, np.float32)
    for part in (slice(0, 9), slice(8, 17)):
        points = out[part]
        length = np.concatenate([[0], np.linalg.norm(np.diff(points, axis=0), axis=1).cumsum()])
        wanted = np.linspace(0, length[-1], 9)
        out[part] = np.stack([np.interp(wanted, length, points[:, k]) for k in (0, 1)], 1)
    return out


def _mirrored(
    points: NDArray[np.float64], valid: NDArray[np.float32], mirror: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Points of a mirrored image, renamed to their other sides."""
    contour = np.arange(len(mirror) + N_CONTOUR - 1, len(mirror) - 1, -1)
    order = np.concatenate([mirror, contour])
    return points[order], valid[order]


def _anywhere(size: int) -> Window:
    """The window of a sample without a face: as a face of the stored crops would have it."""
    return Window((size - 1) / 2, (size - 1) / 2, size / 2 * ROI_SCALE)
