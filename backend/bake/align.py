"""How far a picture of a head lies beside another: in patches that move smoothly, or as a whole."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]


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


def mean_shift(shift: Plane, weight: Plane) -> Plane:
    """The mean (2,) of a shift (h, w, 2) under a weight (h, w)."""
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


def detail_of(brightness: Plane, on_head: NDArray[np.bool_], sigma: float) -> Plane:
    """What of a picture changes within some pixels on the head."""
    share = on_head.astype(np.float32)
    around = _mean(brightness * share, sigma) / np.maximum(_mean(share, sigma), 1e-3)
    return np.ascontiguousarray((brightness - around) * share, np.float32)
