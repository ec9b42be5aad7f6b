"""From the track's axes to those with y up, which USD, glTF and ARKit share."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backend.track import Track
from shared.conventions import T_CAMERAOBJECT_CV


def to_y_up(points_cv: ArrayLike) -> NDArray[np.float32]:
    """Express points, directions or rotation vectors (..., 3) in axes with y up.

    Both of the track's frames become such: the camera's, in which the camera now looks along -z,
    and the head's, in which the face now looks along +z. It is half a turn about x, so rotation
    vectors turn with it and triangles keep their sides.
    """
    points: NDArray[np.float32] = np.asarray(points_cv, np.float64) @ T_CAMERAOBJECT_CV[:3, :3]
    return points.astype(np.float32)


def rate_of(track: Track) -> Fraction:
    """Return the clip's frames per second."""
    return Fraction(int(track.frame_rate[0]), int(track.frame_rate[1]))


def rgb_of(track: Track) -> NDArray[np.uint8] | None:
    """Return the texture (H, W, 3) without its alpha, which tells what was measured, or None."""
    return np.ascontiguousarray(track.texture[..., :3]) if track.texture.size else None
