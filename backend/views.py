"""Several cameras of one shot as the fit takes them, and its cameras as they are told.

The fit knows one image size. Landmarks of other cameras are shifted and scaled to the first one's
pictures about their principal points, which is exact: a focal length grows with its picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from backend.errors import BadInputError
from backend.fit import Pin, Rig, ShotFit
from shared.conventions import intrinsics
from shared.messages import CameraResult

Array = NDArray[np.float64]


@dataclass(frozen=True)
class View:
    """What one camera saw at the moments of the shot's F frames, and what is known of it."""

    clip: str
    offset: float
    image_size: tuple[int, int]
    landmarks_2d: NDArray[np.float32]
    """(F,L,2) pixels of its own pictures."""
    landmark_sigma: NDArray[np.float32]
    """(F,L)"""
    found: NDArray[np.bool_]
    """(F,)"""
    principal_point: tuple[float, float] | None = None
    """Pixels; the middle of its pictures where None."""
    rotmat: Array | None = None
    """(3,3) of X_this = R X_first + T, where known."""
    translation: Array | None = None
    """(3,) metres."""
    focal_px: float | None = None
    """Where known."""

    @property
    def centre(self) -> Array:
        """(2,) principal point."""
        width, height = self.image_size
        return np.array(self.principal_point or ((width - 1) / 2, (height - 1) / 2))


@dataclass(frozen=True)
class Stacked:
    """C views as the fit takes them, in the pictures of the first."""

    landmarks_2d: Array
    """(F,C,L,2)"""
    landmark_sigma: Array
    """(F,C,L)"""
    found: NDArray[np.bool_]
    """(F,C)"""
    scale: Array
    """(C,) pixels of the first one's pictures for one of each camera's."""
    centres: Array
    """(C,2) in each camera's own pixels."""
    rig: Rig | None
    """Where the cameras' places are known; focal lengths in pixels of the first's pictures."""

    def to_first(self, camera: int, pixel: tuple[float, float]) -> tuple[float, float]:
        """A pixel of a camera's picture, in the first one's; raises `BadInputError`."""
        if not 0 <= camera < len(self.scale):
            raise BadInputError(
                f"A pin of camera {camera}: there are {len(self.scale)}, counted from 0."
            )
        moved = (np.asarray(pixel) - self.centres[camera]) * self.scale[camera] + self.centres[0]
        return float(moved[0]), float(moved[1])

    def pin_to_first(self, pin: Pin) -> Pin:
        """A pin of a camera's picture in pixels of the first one's; raises `BadInputError`."""
        position = self.to_first(pin.camera, pin.position)
        sigma = None if pin.sigma_px is None else pin.sigma_px * float(self.scale[pin.camera])
        return replace(pin, position=position, sigma_px=sigma)


def known_focals(focals: Sequence[float | None]) -> list[float]:
    """Focal lengths of all cameras, or nothing where none is known.

    Raises `BadInputError` where those of some alone are.
    """
    known = [focal for focal in focals if focal is not None]
    if known and len(known) != len(focals):
        raise BadInputError("Give the focal lengths of all cameras, or of none.")
    return known


def stack(views: Sequence[View]) -> Stacked:
    """Bring views together; raises `BadInputError` where focal lengths of some alone are known."""
    known = known_focals([view.focal_px for view in views])
    scale = np.array([views[0].image_size[0] / view.image_size[0] for view in views])
    rig = None
    if all(view.rotmat is not None and view.translation is not None for view in views):
        rig = Rig(
            np.stack([np.asarray(view.rotmat) for view in views]),
            np.stack([np.asarray(view.translation) for view in views]),
            np.array(known) * scale if known else None,
        )
    elif known:
        # The fit holds one focal length for all: pictures are scaled until they have it.
        scale = known[0] / np.array(known)
    centres = np.stack([view.centre for view in views])
    landmarks = [
        (view.landmarks_2d.astype(np.float64) - view.centre) * s + centres[0]
        for view, s in zip(views, scale, strict=True)
    ]
    sigma = [view.landmark_sigma * s for view, s in zip(views, scale, strict=True)]
    return Stacked(
        np.stack(landmarks, 1), np.stack(sigma, 1), np.stack([v.found for v in views], 1), scale,
        centres, rig,
    )  # fmt: skip


def camera_results(views: Sequence[View], stacked: Stacked, fit: ShotFit) -> list[CameraResult]:
    """The solved cameras as messages; none for a single one."""
    if len(views) == 1:
        return []
    assert fit.rig is not None and fit.rig.focal_px is not None
    results = []
    for number, view in enumerate(views):
        focal = float(fit.rig.focal_px[number] / stacked.scale[number])
        centre = (float(view.centre[0]), float(view.centre[1]))
        seen = view.found[:, None]
        results.append(
            CameraResult(
                number=number,
                clip=view.clip,
                offset=view.offset,
                image_size=view.image_size,
                K=intrinsics(focal, view.image_size, centre),
                rotation=np.asarray(fit.rig.rotmat[number], np.float64),
                translation=np.asarray(fit.rig.translation[number], np.float64),
                is_given=stacked.rig is not None,
                landmarks_2d=np.where(seen[..., None], view.landmarks_2d, np.nan).astype("f4"),
                landmark_sigma=np.where(seen, view.landmark_sigma, np.nan).astype("f4"),
            )
        )
    return results
