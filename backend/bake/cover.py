"""What covers the head in a frame: hands, microphones, glasses, hair that falls over the face.

Nothing is learned: where the colour or the structure of the picture departs from what the shot
shows of the same place, and light does not explain it, something lies in front.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from backend.bake.consensus import NOISE, Consensus, features
from backend.bake.head_view import HeadView, fit_gain, gain_at


@dataclass(frozen=True)
class CoverSettings:
    """How far a picture may depart from the shot before a place counts as covered."""

    resolution: int = 192
    """Longest side of the picture of the head that is compared, in pixels."""
    texels: int = 256
    """Side of the texture in which the shot's usual look is kept."""
    key_frames: int = 24
    """Frames that the usual look is taken from; bounds the memory at about 70 MB."""
    misfit: float = 0.018
    """How far the mesh may be off its place, as a share of the face's width: colours within this
    distance explain a pixel too."""
    details: tuple[float, ...] = (0.03, 0.015)
    """Sizes of the details that are compared, as shares of the face's width."""
    expected: tuple[float, float] = (1.4, 2.6)
    """Departure, in standard deviations, at which a pixel speaks neither way: `usual` times that of
    the better half of the head in the frame, within these limits. A clean render shows a hand of
    the face's own colour at 2, and compressed footage departs by 1 without one."""
    usual: float = 3.2
    """See `expected`."""
    plain: tuple[float, float] = (4.0, 8.0)
    """Departure in colour around a pixel, in standard deviations, from which on its structure
    counts less, and not at all: a thing of a colour of its own shows where it ends by that."""
    smoothing: float = 0.05
    """Radius of the edge-aware smoothing, as a share of the face's width."""
    closing: float = 0.055
    """Gaps up to twice this share of the face's width between covered places are closed: half a
    finger."""
    high: float = 0.75
    """Smoothed evidence at which a place is covered for sure."""
    low: float = 0.0
    """Evidence that is enough beside such a place."""
    least_area: float = 0.004
    """Smallest covered region, as a share of the face's width squared."""


@dataclass(frozen=True)
class Cover:
    """What covers the head in one picture of it."""

    covered: Tensor
    """(h, w) 0 to 1."""
    gain: Tensor
    """(9, 3) change of light against the shot (`fit_gain`)."""


def find_cover(
    view: HeadView,
    consensus: Consensus,
    uv: Tensor,
    steady: Tensor,
    prior: Tensor | None = None,
    settings: CoverSettings | None = None,
) -> Cover:
    """Compare a frame with the shot's usual look.

    uv: (h, w, 2) texture coordinate of every pixel. steady: (h, w) 0 to 1, low on parts whose look
    changes by itself (eyes, mouth). prior: (h, w) evidence from elsewhere, above 0 for covered.
    """
    settings = settings or CoverSettings()
    on_head = view.on_head
    expected, spread, trust = consensus.at(uv)
    facing = ((view.cosine - 0.15) / 0.3).clamp(0, 1)
    weight = torch.where(on_head, trust * steady * facing, torch.zeros_like(trust))
    gain = _gain(view, expected, weight)
    lit = torch.where(on_head[..., None], view.color / gain_at(gain, view.normal), view.color)
    look = features(view.color)
    # Filters and connected regions of a picture this small are OpenCV's, wherever it was drawn.
    device = view.color.device
    lit, expected, spread, weight, on_head, look = (
        plane.cpu() for plane in (lit, expected, spread, weight, on_head, look)
    )
    departure, structure = _departure(view.face_px, lit, expected, spread, weight, settings)
    evidence = (departure - _expected(departure, weight, settings)).clamp(-1.5, 3.5)
    # That a plain patch of skin looks like skin says little: a hand does too.
    says = torch.where(evidence > 0, torch.ones_like(evidence), 0.15 + 0.85 * structure)
    evidence = evidence if prior is None else evidence + prior.cpu()
    radius = max(1, round(settings.smoothing * view.face_px))
    smooth = _smooth_along_edges(evidence, weight * says, look, radius)
    covered = _regions(smooth, evidence, weight, on_head, view.face_px, settings)
    return Cover(covered.to(device), gain)


def _gain(view: HeadView, expected: Tensor, weight: Tensor) -> Tensor:
    chosen = (weight.reshape(-1) > 0.1).nonzero()[:, 0]
    if len(chosen) < 50:
        return view.color.new_zeros(9, 3)
    step = max(1, len(chosen) // 6000)
    chosen = chosen[::step]
    return fit_gain(
        view.color.reshape(-1, 3)[chosen],
        expected.reshape(-1, 3)[chosen],
        view.normal.reshape(-1, 3)[chosen],
        weight.reshape(-1)[chosen],
    )


def _expected(departure: Tensor, weight: Tensor, settings: CoverSettings) -> float:
    """How far the better half of the head departs, as a limit for what a cover does."""
    judged = departure[weight > 0.3]
    low, high = settings.expected
    if len(judged) < 50:
        return high
    return min(max(settings.usual * float(judged.quantile(0.4)), low), high)


def _departure(
    face_px: float,
    lit: Tensor,
    expected: Tensor,
    spread: Tensor,
    weight: Tensor,
    settings: CoverSettings,
) -> tuple[Tensor, Tensor]:
    """How far each pixel is from what was expected, in standard deviations, and how much structure
    was expected there, 0 to 1: (h, w) each."""
    known = weight > 0
    observed, usual = features(lit), features(expected)
    usual = torch.where(known[..., None], usual, observed)
    reach = max(1, round(settings.misfit * face_px))
    # Brightness alone may be a shadow or a highlight, so it counts less than colour.
    least = torch.tensor(NOISE) * torch.tensor((3.0, 1.5, 1.5))
    tolerance = (least.square() + (1.5 * spread).square()).sqrt()
    apart = _apart(observed, usual, reach) / tolerance
    # Edges: those of a thing in front, and those of the face that are missing. The finer, the less
    # light explains, so that a hand of the same colour shows by its fingers.
    noise = (0.012**2 + spread[..., :1].square()).sqrt()
    details = []
    structure = torch.zeros_like(weight)
    for size in settings.details:
        there = _fine(observed[..., 0], known, size * face_px)
        wanted = _fine(usual[..., 0], known, size * face_px)
        details.append(_apart(there[..., None], wanted[..., None], reach + 1) / noise)
        structure = torch.maximum(structure, wanted.abs())
    # Beside a thing of another colour the face's own structure is upset, and its colour tells.
    colored = apart.square().sum(-1).sqrt()
    upset = max(1, round(2 * max(settings.details) * face_px))
    least_plain, plain = settings.plain
    says = 1 - ((_around(colored, upset) - least_plain) / (plain - least_plain)).clamp(0, 1)
    fine = 0.6 * says[..., None] * torch.cat(details, -1)
    departure = torch.cat((apart, fine), -1).square().sum(-1).sqrt()
    structure = (_around(structure, 2 * reach) / 0.08).clamp(0, 1)
    return departure, structure


def _apart(a: Tensor, b: Tensor, reach: int) -> Tensor:
    """Distance of each from the range of the other around it, the larger: (h, w, C)."""

    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)

    def outside(value: Tensor, of: Tensor) -> Tensor:
        most = torch.from_numpy(cv2.dilate(of.numpy(), kernel)).reshape(of.shape)
        least = torch.from_numpy(cv2.erode(of.numpy(), kernel)).reshape(of.shape)
        return torch.maximum(value - most, least - value).clamp(min=0)

    return torch.maximum(outside(a, b), outside(b, a))


def _around(value: Tensor, reach: int) -> Tensor:
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    return torch.from_numpy(cv2.dilate(value.contiguous().numpy(), kernel))


def _fine(value: Tensor, known: Tensor, sigma: float) -> Tensor:
    """What of a feature (h, w) changes within some pixels, where it is known."""
    share = known.float().numpy()
    sigma = max(1.0, sigma)
    plane = value.numpy()
    mean = cv2.GaussianBlur(plane * share, (0, 0), sigma)
    mean /= np.maximum(cv2.GaussianBlur(share, (0, 0), sigma), 1e-3)
    return torch.from_numpy((plane - mean) * share)


def _smooth_along_edges(value: Tensor, weight: Tensor, guide: Tensor, radius: int) -> Tensor:
    """Weighted mean around each pixel of those that look alike: (h, w).

    A guided filter (He et al., Guided Image Filtering, 2010) on a weighted value: numerator and
    weight are both filtered, so that pixels that say nothing take what their surroundings say.
    """
    scale = np.array((1.0, 2.0, 2.0), np.float32)
    planes = guide.numpy().astype(np.float32) * scale
    pair = torch.stack((value * weight, weight), -1).numpy().astype(np.float32)
    near, around, far = _guided(planes, pair, radius), _box(pair, radius), _box(pair, 3 * radius)
    # Parts that say nothing (an iris, a gap) look like nothing around them: there the filter has
    # no slope to follow, and the plain mean speaks. Where even that is empty, the wider one does.
    share = np.clip(4 * np.minimum(near[..., 1], around[..., 1]) - 0.4, 0, 1)[..., None]
    mixed = share * near + (1 - share) * around + 0.05 * far
    smooth = mixed[..., 0] / np.maximum(mixed[..., 1], 0.02)
    return torch.from_numpy(np.clip(smooth, -1.5, 3.5))


def _box(planes: np.ndarray, radius: int) -> np.ndarray:
    kernel = (2 * radius + 1, 2 * radius + 1)
    return cv2.blur(planes, kernel, borderType=cv2.BORDER_REFLECT).reshape(planes.shape)


_PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))


def _guided(guide: np.ndarray, value: np.ndarray, radius: int, noise: float = 4e-4) -> np.ndarray:
    """Filter value (h, w, C) along the edges of a guide (h, w, 3)."""
    mean_guide, mean_value = _box(guide, radius), _box(value, radius)
    products = np.stack([guide[..., i] * guide[..., j] for i, j in _PAIRS], -1)
    variance = _box(products[..., :3], radius), _box(products[..., 3:], radius)
    a, b, c = (variance[0][..., k] - mean_guide[..., 0] * mean_guide[..., k] for k in range(3))
    d, e = (variance[1][..., k] - mean_guide[..., 1] * mean_guide[..., 1 + k] for k in range(2))
    f = variance[1][..., 2] - mean_guide[..., 2] ** 2
    a, d, f = a + noise, d + noise, f + noise
    # The inverse of a symmetric 3 x 3 matrix by its cofactors.
    cofactors = (
        (d * f - e * e, c * e - b * f, b * e - c * d),
        (c * e - b * f, a * f - c * c, b * c - a * e),
        (b * e - c * d, b * c - a * e, a * d - b * b),
    )
    determinant = a * cofactors[0][0] + b * cofactors[0][1] + c * cofactors[0][2]
    result = np.empty_like(value)
    for channel in range(value.shape[2]):
        joint = _box(guide * value[..., channel, None], radius)
        joint -= mean_guide * mean_value[..., channel, None]
        slope = np.stack(
            [sum(row[k] * joint[..., k] for k in range(3)) / determinant for row in cofactors], -1
        ).astype(np.float32)
        base = mean_value[..., channel] - (slope * mean_guide).sum(-1)
        result[..., channel] = (_box(slope, radius) * guide).sum(-1) + _box(base, radius)
    return result


def _regions(
    smooth: Tensor,
    evidence: Tensor,
    weight: Tensor,
    on_head: Tensor,
    face_px: float,
    settings: CoverSettings,
) -> Tensor:
    """Connected regions with strong evidence in them, closed and softened: (h, w) 0 to 1."""
    value, inside = smooth.numpy(), on_head.numpy()
    strong = (value >= settings.high) & inside & (weight > 0.05).numpy()
    if not strong.any():
        return torch.zeros_like(smooth)
    # Smoothing reaches beyond a cover's rim; the pixels themselves say where it ends. Those that
    # say nothing (eyes, an open mouth, the head's outline) follow the smoothed evidence.
    speaks = (weight > 0.1).numpy()
    own = cv2.medianBlur((evidence.numpy() > 0).astype(np.uint8), 3) > 0
    weak = ((value >= settings.low) & inside & (own | ~speaks)).astype(np.uint8)
    radius = max(1, round(settings.closing * face_px))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    rim = 2 * radius
    # Where the head ends, what covers it usually goes on: the rim does not open a closed region.
    padded = cv2.copyMakeBorder(weak, rim, rim, rim, rim, cv2.BORDER_REPLICATE)
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, kernel)[rim:-rim, rim:-rim]
    closed &= inside.astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(closed, connectivity=8)
    sure = np.bincount(labels[strong], minlength=len(stats))
    keep = (sure > 0.3 * settings.least_area * face_px**2) & (
        stats[:, cv2.CC_STAT_AREA] > settings.least_area * face_px**2
    )
    keep[0] = False
    mask = keep[labels].astype(np.float32)
    return torch.from_numpy(cv2.GaussianBlur(mask, (0, 0), max(0.6, 0.01 * face_px)))
