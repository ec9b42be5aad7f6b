"""When several cameras saw the same moment: time offsets from how the face moves, and landmarks at
the moments of another clip's frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import minimize_scalar
from scipy.spatial.transform import Rotation

from backend.fit.start import face_size, solve_pose
from backend.geometry.cameras import focal_from_field_of_view
from backend.head import Head
from backend.head.landmarks import layout

Array = NDArray[np.float64]
# iBUG's inner lips and lids, whose distances are what opens: pairs of landmarks.
LIPS = ((61, 67), (62, 66), (63, 65))
LIDS = ((37, 41), (38, 40), (43, 47), (44, 46))
# Of the frames that two clips share at an offset, at least so many, and so large a share of the
# shorter one.
LEAST_FRAMES, LEAST_SHARE = 12, 0.25
# Other offsets, from so many frames away, must be less likely by this factor's logarithm.
APART_FRAMES, LEAST_MARGIN = 6.0, 12.0
SMOOTHING_FRAMES = 1.0


@dataclass(frozen=True)
class Clip:
    """Landmarks of F frames of one camera."""

    times: Array
    """(F,) frame numbers at the first clip's rate, ascending."""
    landmarks_2d: NDArray[np.float32]
    """(F,L,2) pixels; NaN where not found."""
    landmark_sigma: NDArray[np.float32]
    """(F,L)"""
    found: NDArray[np.bool_]
    """(F,)"""
    image_size: tuple[int, int]


@dataclass(frozen=True)
class Offset:
    """Of a clip against another."""

    frames: float
    """Frame t of the first shows the moment of frame t + frames of the other."""
    margin: float
    """Logarithm of how many times as likely it is as offsets that are quite different."""

    @property
    def is_sure(self) -> bool:
        """Whether it is more than chance."""
        return self.margin >= LEAST_MARGIN


def signals(head: Head, clip: Clip, layout_name: str) -> Array:
    """(F,11) opening of mouth and eyes over the face's size, and the head's rotation matrix in the
    camera's frame; NaN where there is no face."""
    landmarks = np.where(clip.found[:, None, None], clip.landmarks_2d, np.nan).astype(np.float64)
    size = face_size(landmarks)
    result = np.full((len(landmarks), 11), np.nan)
    for column, pairs in enumerate((LIPS, LIDS)):
        a, b = np.array(pairs).T
        gap = np.linalg.norm(landmarks[:, a] - landmarks[:, b], axis=-1).mean(1)
        result[:, column] = gap / size
    rigid = head.landmarks(head.template, layout(layout_name)).double().cpu().numpy()
    width, height = clip.image_size
    focal = focal_from_field_of_view(np.pi / 4, width)
    K = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    for row in np.flatnonzero(clip.found):
        rotvec, _ = solve_pose(rigid, landmarks[row], clip.landmark_sigma[row], K)
        result[row, 2:] = Rotation.from_rotvec(rotvec).as_matrix().ravel()
    return result


def estimate_offset(head: Head, first: Clip, other: Clip, layout_name: str) -> Offset:
    """The offset at which the face moves most alike in both clips, to a fraction of a frame.

    It has the greatest likelihood if both clips' signals are one with normal errors: the sum over
    them of -n/2 log(1 - r^2), r being the correlation over the n frames that both have.
    """
    grid_a, values_a = _regular(first.times, signals(head, first, layout_name))
    grid_b, values_b = _regular(other.times, signals(head, other, layout_name))
    shorter = min(len(grid_a), len(grid_b))
    if shorter < 4:
        return Offset(0.0, 0.0)
    least = max(min(LEAST_FRAMES, shorter), LEAST_SHARE * shorter)
    curve = CubicSpline(grid_b, values_b)

    def likeness(offset: float) -> float:
        at = grid_a + offset
        inside = (at >= grid_b[0]) & (at <= grid_b[-1])
        if inside.sum() < least:
            return 0.0
        r = _correlations(values_a[inside], curve(at[inside])).clip(0.0, 0.9999)
        return float(-0.5 * inside.sum() * np.log1p(-(r**2)).sum())

    lags = np.arange(
        np.floor(grid_b[0] - grid_a[-1]), np.ceil(grid_b[-1] - grid_a[0]) + 1, dtype=np.float64
    )
    scores = np.array([likeness(lag) for lag in lags])
    best = float(lags[scores.argmax()])
    finer = minimize_scalar(
        lambda lag: -likeness(lag), bounds=(best - 1, best + 1), method="bounded",
        options={"xatol": 0.01},
    )  # fmt: skip
    if -finer.fun > scores.max():
        best = float(finer.x)
    others = scores[np.abs(lags - best) > APART_FRAMES]
    return Offset(best, likeness(best) - float(others.max(initial=0.0)))


def _regular(times: Array, values: Array) -> tuple[Array, Array]:
    """Signals (F,n) on a grid of whole frames, gaps filled, smoothed a little."""
    grid = np.arange(np.ceil(times[0]), np.floor(times[-1]) + 1)
    columns = []
    for column in values.T:
        known = np.isfinite(column)
        if known.sum() < 2:
            columns.append(np.zeros(len(grid)))
            continue
        filled = np.interp(grid, times[known], column[known])
        columns.append(gaussian_filter1d(filled, SMOOTHING_FRAMES, mode="nearest"))
    return grid, np.stack(columns, 1)


def _correlations(a: Array, b: Array) -> Array:
    """(3,) of mouth, eyes and head, between signals (n,11).

    Two cameras see the same head turned by one unknown rotation: the head's is the largest
    correlation under any, the nuclear norm of the matrices' covariance.
    """
    a, b = a - a.mean(0), b - b.mean(0)
    norm = np.sqrt(np.square(a).sum(0) * np.square(b).sum(0))[:2]
    openings = (a * b).sum(0)[:2] / np.maximum(norm, 1e-12)
    one, two = (x[:, 2:].reshape(-1, 3, 3) for x in (a, b))
    covariance = np.einsum("tij,tkj->ik", two, one)
    size = np.sqrt(np.square(one).sum() * np.square(two).sum())
    turn = np.linalg.svd(covariance, compute_uv=False).sum() / max(size, 1e-12)
    return np.array([*openings, turn])


def resample(clip: Clip, times: Array) -> Clip:
    """The clip's landmarks at other times (G,), linear between neighbouring frames.

    Where one of the two neighbours has no face, or lies more than a frame and a half away, there is
    none; a deviation is the larger of the two.
    """
    count = len(clip.times)
    after = np.clip(np.searchsorted(clip.times, times), 1, max(count - 1, 1))
    before = after - 1 if count > 1 else after * 0
    after = np.minimum(after, count - 1)
    gap = np.maximum(clip.times[after] - clip.times[before], 1e-9)
    share = (times - clip.times[before]) / gap
    # The last hundredth of a frame is nobody's.
    share = np.where(np.abs(share) < 0.01, 0.0, np.where(np.abs(share - 1) < 0.01, 1.0, share))
    rate = np.median(np.diff(clip.times)) if count > 1 else 1.0
    use_a, use_b = share < 1, share > 0
    found = (share >= 0) & (share <= 1) & ((gap <= 1.5 * max(rate, 1.0)) | ~(use_a & use_b))
    found &= (clip.found[before] | ~use_a) & (clip.found[after] | ~use_b)
    w = share[:, None, None].astype(np.float32)
    a, b = clip.landmarks_2d[before], clip.landmarks_2d[after]
    landmarks = np.where(w == 0, a, np.where(w == 1, b, (1 - w) * a + w * b))
    one, two = clip.landmark_sigma[before], clip.landmark_sigma[after]
    u = share[:, None]
    sigma = np.where(u == 0, one, np.where(u == 1, two, np.maximum(one, two)))
    landmarks[~found], sigma[~found] = np.nan, np.nan
    return Clip(
        times, landmarks.astype(np.float32), sigma.astype(np.float32), found, clip.image_size
    )
