"""What a face looks like, so that the one who is followed can be told from others.

No network: colours of the face and of the hair around it, sampled where the dense landmarks are,
so that they belong to the same places of the head in every pose.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from backend.detect.landmarks import FaceLandmarks
from backend.detect.windows import Window, crop, roi
from backend.head.landmarks import HEAD_FILE, layout


@dataclass(frozen=True)
class AppearanceSettings:
    """How looks are compared; weights are those of a logistic regression on pairs of real faces."""

    size: int = 64
    """Pixels of the picture of the face that colours are sampled from: less holds what expression
    and blur leave alone."""
    reach: float = 1.35
    """Side of that picture in regions of interest: hair above the forehead is in it."""
    blur: float = 1.2
    """Standard deviation in its pixels by which it is smoothed: landmarks are as inexact."""
    least_facing: float = 0.2
    """Cosine between a place's normal and the view below which the place counts as hidden."""
    pattern: float = 2.0
    """Distance for each unit by which the lightness pattern's correlation falls short of 1, which
    neither exposure nor contrast change."""
    tone: float = 0.015
    """Distance for each unit of CIE a*b* by which the mean colour differs: little, for white
    balance changes it as well."""
    tint: float = 0.16
    """Distance for each unit of CIE a*b* by which places differ in colour once the mean is off."""
    same: float = 0.85
    """Largest distance to the memory at which a face is the remembered one."""
    strict: float = 0.6
    """The same for someone whose looks are the steadiest, as long as they are not away for long."""
    steadiness: float = 4.0
    """Between the two: so many times the mean distance that the person's own frames had."""
    rate: float = 0.03
    """Share of a new frame in the running average, once the memory is old enough."""
    mature: int = 3
    """Frames after which a memory decides who somebody is."""


@dataclass(frozen=True)
class Look:
    """What one face looks like in one frame."""

    lab: NDArray[np.float32]
    """(L,3) CIE L*a*b* at the landmarks of the layout dense320."""
    weight: NDArray[np.float32]
    """(L,) 0 to 1: how far each place faces the camera and lies in the image."""


def describe(
    image: NDArray[np.uint8], face: FaceLandmarks, settings: AppearanceSettings | None = None
) -> Look:
    """The looks of a face in an image (H,W,3) RGB, from landmarks of the layout dense320."""
    s = settings or AppearanceSettings()
    assert face.layout == "dense320", face.layout
    points = face.landmarks_2d.astype(np.float64)
    window = roi(points).jittered((0.0, -0.1), s.reach, 0.0)
    # Of a large face every few pixels are enough: what is averaged is far coarser.
    step = max(1, int(window.side / (2 * s.size)))
    thinned = Window(window.x / step, window.y / step, window.side / step, window.roll)
    picture = cv2.GaussianBlur(crop(image[::step, ::step], thinned, s.size), (0, 0), s.blur)
    lab = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    places = ((window.to_window(points) + 1) * (s.size / 2) - 0.5).astype(np.float32)
    colour = cv2.remap(lab, places[None], None, cv2.INTER_LINEAR)[0]
    corner = np.array(image.shape[1::-1]) - 1
    inside = ((points >= 0) & (points <= corner)).all(1)
    inside &= ((places >= 0) & (places <= s.size - 1)).all(1)
    facing = np.clip((_facing(points) - s.least_facing) / 0.3, 0, 1)
    return Look(colour, (facing * inside).astype(np.float32))


def distance(a: Look, b: Look, settings: AppearanceSettings | None = None) -> float:
    """How differently two faces look, 0 for not at all; infinite where they share no place.

    pattern (1 - r) + tone |d| + tint mean|d_i - d|, with r the correlation of L* over the places
    that both show, d_i their differences in a*b*, and d the mean of those; all weighted.
    """
    s = settings or AppearanceSettings()
    weight = a.weight * b.weight
    total = float(weight.sum())
    if total < 1.0:
        return float("inf")
    weight = weight / total
    one, other = a.lab - weight @ a.lab, b.lab - weight @ b.lab
    covariance = float(weight @ (one[:, 0] * other[:, 0]))
    variances = float(weight @ one[:, 0] ** 2) * float(weight @ other[:, 0] ** 2)
    correlation = covariance / np.sqrt(variances + 1e-6)
    tone = float(np.linalg.norm(weight @ (a.lab - b.lab)[:, 1:]))
    tint = float(weight @ np.linalg.norm((one - other)[:, 1:], axis=1))
    return s.pattern * (1 - float(correlation)) + s.tone * tone + s.tint * tint


class AppearanceMemory:
    """A running average of one person's looks, and how far their frames lie from it."""

    def __init__(self, settings: AppearanceSettings | None = None) -> None:
        self.settings = settings or AppearanceSettings()
        self.count = 0
        """Frames that were learned."""
        self.spread = 0.0
        """Running mean of the distances of those frames to what was known before them."""
        self._mean: Look | None = None

    @property
    def is_mature(self) -> bool:
        """Whether enough was learned to decide who somebody is."""
        return self.count >= self.settings.mature

    @property
    def limit(self) -> float:
        """Largest distance at which a face is the remembered one, in unchanged light."""
        s = self.settings
        return float(np.clip(s.steadiness * self.spread, s.strict, s.same))

    @property
    def mean(self) -> Look:
        """What is remembered."""
        assert self._mean is not None, "nothing was learned yet"
        return self._mean

    def distance(self, look: Look) -> float:
        """How far a look is from the remembered one."""
        assert self._mean is not None, "nothing was learned yet"
        # A place that was in sight once is known, however often it was hidden since.
        known = np.minimum(1.0, self._mean.weight / self.settings.rate)
        return distance(replace(self._mean, weight=known), look, self.settings)

    def learn(self, look: Look) -> None:
        """Take in a frame of the person; places that it does not show stay as they were."""
        if self._mean is None:
            self._mean, self.count = look, 1
            return
        rate = max(self.settings.rate, 1 / (1 + self.count))
        self.spread += max(self.settings.rate, 1 / self.count) * (self.distance(look) - self.spread)
        kept, new = (1 - rate) * self._mean.weight, rate * look.weight
        total = kept + new
        share = np.divide(new, total, out=np.zeros_like(new), where=total > 0)[:, None]
        lab = (1 - share) * self._mean.lab + share * look.lab
        weight = np.maximum(self._mean.weight, total)
        self._mean = Look(lab.astype(np.float32), weight.astype(np.float32))
        self.count += 1


@lru_cache(maxsize=1)
def _mean_head() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The landmarks' places as a pseudo-inverse (4,L) of [X 1], and their outward normals (L,3)."""
    with np.load(HEAD_FILE) as data:
        vertices, faces = data["template"].astype(np.float64), data["faces"].astype(np.int64)
    of_face = np.cross(
        vertices[faces[:, 1]] - vertices[faces[:, 0]], vertices[faces[:, 2]] - vertices[faces[:, 0]]
    )
    normals = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(normals, faces[:, corner], of_face)
    marks = layout("dense320")
    points = (vertices[marks.vertices] * marks.barycentric[..., None]).sum(1)
    normal = (normals[marks.vertices] * marks.barycentric[..., None]).sum(1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    return np.linalg.pinv(np.hstack([points, np.ones((len(points), 1))])), normal


def _facing(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(L,) cosine between each place's normal and the way to the camera.

    The camera is the affine one that takes the mean head nearest to the points (L,2).
    """
    inverse, normal = _mean_head()
    affine = (inverse @ points)[:3]
    forward = np.cross(affine[:, 0], affine[:, 1])
    return -(normal @ forward) / max(float(np.linalg.norm(forward)), 1e-12)
