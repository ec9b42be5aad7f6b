"""The focal length from features of the skin: which frames, their tracks, and the solve."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2

from backend.fit.settings import ShotFit
from backend.head import Head

from .bundle import BundleSettings, Observed, Prior, Scene, Solved, minimise_bundle
from .follow import Followed, FollowSettings, follow_key
from .pictures import Picture, picture_of
from .posed import Array, PosedShot, pose_shot

# Fewer features, or frames with fewer, say nothing.
LEAST_TRACKS, LEAST_IN_FRAME = 20, 8


@dataclass(frozen=True)
class FeatureSettings:
    """How skin features are used."""

    frames: int = 50
    """Frames that are looked at, spread over the shot."""
    largest_px: int = 640
    """Side of the picture of the head beyond which frames are made smaller."""
    keys: int = 6
    """Key frames in which features are picked."""
    reach_deg: float = 45.0
    """Turn of the head from a key frame beyond which its features are not looked for."""
    least_frames: int = 5
    """A feature seen in fewer frames is left out."""
    most_tracks: int = 320
    """Tracks that are solved for; those in most frames are kept."""
    position_sd: float = 0.1
    """Least deviation of a found feature, pixels."""
    expression_share: float = 1.0
    """Share of the fitted expression's motion that may be wrong, each point for itself."""
    coefficient_sd: float = 0.1
    """Deviation of the fitted expression's coefficients where they are solved for."""
    modes: int = 0
    """Combinations of the coefficients that are solved for in every frame. Good for exact tracks;
    with real ones one clip went from -1 to +24 % (see docs/fitting.md)."""
    normal_sd: float = 0.02
    """Deviation of a feature from the fitted surface along its normal, metres: glasses and hair
    stand off it."""
    tangent_sd: float = 0.02
    """The same across it."""
    focal_sd: float = 1.0
    """Deviation of the logarithm of the first fit's focal length: it is a start, no more."""
    regions: int = 24
    """Parts of the head whose errors are taken for independent."""
    shared_error: float = 3.0
    """Factor on the deviation for errors that such parts share, as measured on rendered clips."""
    determined_percent: float = 20.0
    """Largest deviation with which a focal length counts as determined."""
    follow: FollowSettings = field(default_factory=FollowSettings)
    bundle: BundleSettings = field(default_factory=BundleSettings)


@dataclass(frozen=True)
class FocalSolve:
    """What the skin's features say of the focal length."""

    focal_px: float
    sd_percent: float
    """Its deviation, from how differently parts of the head pull."""
    determined: bool
    """Whether that is small enough to say anything."""
    tracks: int
    frames: int
    turn_deg: float
    """Largest turn of the head between two of the frames."""
    residual_px: float
    """Median distance of a found feature from its prediction."""


def spread_rows(found: NDArray[np.bool_], count: int) -> NDArray[np.int64]:
    """At most count rows with a face, spread evenly over all (F,) that have one."""
    rows = np.flatnonzero(found)
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int))]


def focal_from_skin(
    head: Head, fit: ShotFit, frames: Iterable[tuple[int, NDArray[np.uint8]]],
    principal_point: tuple[float, float], settings: FeatureSettings | None = None,
) -> FocalSolve | None:  # fmt: skip
    """The focal length of a shot, from how features of the skin move; None without features.

    Args: head, fit: the first fit, and the head it was made with; frames: pairs of a row of the fit
    and its picture (H,W,3) RGB, read once and in any order (see `spread_rows`); only the part that
    shows the head is kept. principal_point: pixels.
    """
    settings = settings or FeatureSettings()
    rows: list[int] = []
    pictures: list[Picture] = []
    for row, image in frames:
        one = pose_shot(head, fit, np.array([row]), principal_point)
        picture = picture_of(
            image, len(rows), one.pixels[0], one.vertices[0, :, 2], one.faces, settings.largest_px
        )
        if picture is not None:
            rows.append(row)
            pictures.append(picture)
    if len(rows) < settings.least_frames:
        return None
    posed = pose_shot(head, fit, np.array(rows), principal_point)
    solved = solve_tracks(follow_all(pictures, posed, settings), posed, settings)
    return None if solved is None else solved[0]


def choose_keys(rotmat: Array, count: int) -> NDArray[np.int64]:
    """Rows that differ most in the direction from which the head is seen, of rotmat (F,3,3)."""
    view = rotmat[:, 2]
    chosen = [int((view @ view.mean(0)).argmax())]
    nearest = view @ view[chosen[0]]
    while len(chosen) < min(count, len(view)):
        row = int(nearest.argmin())
        if nearest[row] > np.cos(np.radians(4.0)) and len(chosen) >= 2:
            break
        chosen.append(row)
        nearest = np.maximum(nearest, view @ view[row])
    return np.array(chosen)


def follow_all(
    pictures: list[Picture], posed: PosedShot, settings: FeatureSettings
) -> list[Followed]:
    """Tracks of all key frames' features through the pictures."""
    rows = np.array([picture.row for picture in pictures])
    view = posed.rotmat[rows][:, 2]
    result = []
    for k in choose_keys(posed.rotmat[rows], settings.keys):
        near = view @ view[k] > np.cos(np.radians(settings.reach_deg))
        others = [pictures[i] for i in np.flatnonzero(near)]
        one = follow_key(pictures[k], others, posed, settings.follow)
        if one is not None:
            result.append(one)
    return result


def solve_tracks(
    tracks: list[Followed], posed: PosedShot, settings: FeatureSettings
) -> tuple[FocalSolve, Solved, Observed] | None:
    """The focal length in pixels of the frames from tracks; None where they are too few."""
    if not tracks:
        return None
    position = np.concatenate([t.position for t in tracks], 1)
    noise = np.concatenate([t.deviation for t in tracks], 1)
    triangle = np.concatenate([t.triangle for t in tracks])
    weights = np.concatenate([t.barycentric for t in tracks])
    seen = np.isfinite(position[..., 0])
    often = np.argsort(-seen.sum(0), kind="stable")[: settings.most_tracks]
    often = often[seen[:, often].sum(0) >= settings.least_frames]
    if len(often) < LEAST_TRACKS:
        return None
    position, noise, seen = position[:, often], noise[:, often], seen[:, often]
    corners, weights = posed.faces[triangle[often]], weights[often]
    rows = np.flatnonzero(seen.sum(1) >= LEAST_IN_FRAME)
    if len(rows) < settings.least_frames:
        return None
    position, noise, seen = position[rows], noise[rows], seen[rows]

    def at(x: Array) -> Array:
        return np.asarray((x[..., corners, :] * weights[..., None]).sum(-2))

    local, rest = at(posed.local[rows]), at(posed.neutral)
    moved = local - rest
    depth = (local @ posed.rotmat[rows].transpose(0, 2, 1) + posed.translation[rows][:, None])[
        ..., 2
    ]
    own = settings.expression_share * np.linalg.norm(moved - np.median(moved, 0), axis=-1)
    noise = np.where(seen, noise, 0.0)
    variance = settings.position_sd**2 + noise**2 + (posed.focal_px / depth * own) ** 2
    weight = np.where(seen, 1.0 / variance, 0.0)
    observed = Observed(
        np.where(seen[..., None], position, 0.0), weight, moved,
        _modes(at(posed.expression_basis) * settings.coefficient_sd, weight, settings.modes),
        posed.centre,
    )  # fmt: skip
    neutral = posed.neutral[corners]
    normal = np.cross(neutral[:, 1] - neutral[:, 0], neutral[:, 2] - neutral[:, 0])
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    prior = Prior(
        rest, normal, settings.normal_sd, settings.tangent_sd, float(np.log(posed.focal_px)),
        settings.focal_sd,
    )  # fmt: skip
    scene = Scene(
        posed.rotmat[rows], posed.translation[rows], rest, prior.log_focal,
        np.zeros((len(rows), len(observed.modes))),
    )  # fmt: skip
    solved = minimise_bundle(scene, observed, prior, settings.bundle)
    shared = _deviation(solved.influence, rest, settings.regions)
    sd = 100.0 * settings.shared_error * max(shared, solved.log_focal_sd)
    view = posed.rotmat[rows][:, 2]
    result = FocalSolve(
        focal_px=float(np.exp(solved.scene.log_focal)),
        sd_percent=sd,
        determined=sd <= settings.determined_percent,
        tracks=len(often),
        frames=len(rows),
        turn_deg=float(np.degrees(np.arccos(np.clip((view @ view.T).min(), -1.0, 1.0)))),
        residual_px=float(np.median(np.linalg.norm(solved.residual, axis=-1)[seen])),
    )
    return result, solved, observed


def _modes(by_coefficient: Array, weight: Array, count: int) -> Array:
    """(K,P,3) the strongest combinations of (E,P,3), whose coefficients have unit deviation."""
    flat = by_coefficient.reshape(len(by_coefficient), -1)
    seen = np.sqrt(weight.sum(0)).repeat(3)
    turn = np.linalg.svd(flat * seen, full_matrices=False)[0]
    return (turn.T[:count] @ flat).reshape(-1, *by_coefficient.shape[1:])


def _deviation(influence: Array, points: Array, regions: int) -> float:
    """Deviation of the log focal length when errors are shared within parts of the head.

    The parts' pulls (sums of influences) are independent, and sum to nothing at the minimum: the
    sandwich estimator with clusters.
    """
    count = min(regions, len(points) // 4)
    part = kmeans2(points, count, minit="++", seed=0)[1]
    pull = np.bincount(part, influence.sum(0), minlength=count)
    return float(np.sqrt((pull**2).sum() * count / max(count - 1, 1)))
