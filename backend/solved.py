"""A track as the fit knows it: what a solve of it starts from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from backend.device import choose_device
from backend.errors import BadInputError
from backend.fit import FitSettings, Rig, ShotFit, corrected_head
from backend.head import Head
from backend.track import Track
from backend.views import Stacked, View, stack


@dataclass(frozen=True)
class Solved:
    """A track as the fit knows it."""

    track: Track
    head: Head
    """The mean head."""
    person: Head
    """The head whose mean is this person's correction."""
    fit: ShotFit
    views: list[View]
    stacked: Stacked
    settings: FitSettings
    """How it was solved."""

    @classmethod
    def of(cls, track: Track, device: str = "auto") -> Solved:
        """Raises `BadInputError` for a preview, and for other landmarks than the fit's."""
        head = _head(str(choose_device(device)))
        identity = head.template.new_tensor(track.identity)
        if track.landmarks_2d.shape[1] != 320:
            raise BadInputError(
                f"The track has {track.landmarks_2d.shape[1]} landmarks, not the 320 that are "
                "solved for: track the clip again."
            )
        if not track.identity.any() and not track.person:
            # No face that is solved is exactly the mean's.
            raise BadInputError(
                "The track is a preview, frame by frame: track the clip in final quality to "
                "refine it."
            )
        if not track.found.any():
            raise BadInputError("The track has no frame with a face.")
        rest = head.shape(identity, identity.new_zeros(head.n_expression)).cpu().numpy()
        correction = track.rest_vertices - rest
        joints = track.joints - head.joints(identity).cpu().numpy()
        person = corrected_head(head, torch.tensor(correction), torch.tensor(joints))
        views = _views(track)
        stacked = stack(views)
        focal = float(track.focal_px[0])
        zoom = None
        if np.ptp(track.focal_px) > 1e-6 * focal:
            focal = float(np.exp(np.log(track.focal_px).mean()))
            zoom = (track.focal_px / focal).astype(np.float32)
        rig = None
        if len(views) > 1:
            focals = track.rig_K[:, 0, 0] * stacked.scale
            rig = Rig(track.rig_rotation, track.rig_translation, focals)
        fit = ShotFit(
            track.identity, track.expression, track.joint_rotations, track.translation, focal,
            track.found, (), correction, joints, zoom, _doubt(track), rig,
        )  # fmt: skip
        settings = FitSettings(
            focal_px=None if _doubt(track) > 0 else focal,
            principal_point=(float(track.K[0, 0, 2]), float(track.K[0, 1, 2])),
            distortion=distortion_of(track),
            zoom=zoom is not None,
            correction_mm=0.0 if track.person else FitSettings().correction_mm,
        )
        return cls(track, head, person, fit, views, stacked, settings)

    def under(self, hidden: NDArray[np.bool_]) -> Solved:
        """The same without some landmarks (F,L) of the first camera; its track keeps them."""
        track = self.track
        seen = replace(track, landmark_sigma=_without(track.landmark_sigma, hidden))
        if len(track.rig_offset):
            rig = track.rig_landmark_sigma.copy()
            rig[0] = _without(rig[0], hidden)
            seen = replace(seen, rig_landmark_sigma=rig)
        return replace(self, stacked=stack(_views(seen)))


def _without(sigma: NDArray[np.float32], hidden: NDArray[np.bool_]) -> NDArray[np.float32]:
    return np.where(hidden, np.float32(np.inf), sigma)


@lru_cache(maxsize=2)
def _head(device: str) -> Head:
    return Head.load(device=device)


def _views(track: Track) -> list[View]:
    """What each camera of a track saw."""
    size, middle = size_of(track), (float(track.K[0, 0, 2]), float(track.K[0, 1, 2]))
    if not len(track.rig_offset):
        return [View("", 0.0, size, track.landmarks_2d, track.landmark_sigma, track.found, middle)]
    views = []
    for number, clip in enumerate(track.rig_clips):
        landmarks = track.rig_landmarks_2d[number]
        given = bool(track.rig_given[number])
        K = track.rig_K[number]
        width, height = track.rig_image_size[number].tolist()
        views.append(
            View(
                clip, float(track.rig_offset[number]), (width, height), landmarks,
                track.rig_landmark_sigma[number], np.isfinite(landmarks).all((1, 2)),
                (float(K[0, 2]), float(K[1, 2])),
                track.rig_rotation[number] if given else None,
                track.rig_translation[number] if given else None,
                None if _doubt(track) > 0 else float(K[0, 0]),
            )
        )  # fmt: skip
    return views


def size_of(track: Track) -> tuple[int, int]:
    """Width and height of the first camera's pictures."""
    return int(track.image_size[0]), int(track.image_size[1])


def rate_of(track: Track) -> Fraction:
    """Frames per second."""
    return Fraction(int(track.frame_rate[0]), int(track.frame_rate[1]))


def _doubt(track: Track) -> float:
    """Deviation of the focal length; 0 where it was given. Older files do not say: solved."""
    if track.focal_sd_percent.size:
        return float(track.focal_sd_percent[0])
    return 0.0


def distortion_of(track: Track) -> tuple[float, float, float]:
    """K1, K2, K3 of the lens, 0 for none."""
    k = track.distortion.tolist() if track.distortion.size else [0.0, 0.0, 0.0]
    return k[0], k[1], k[2]
