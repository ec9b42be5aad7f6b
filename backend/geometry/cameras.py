"""Pinhole projection in the OpenCV camera frame."""

from __future__ import annotations

import math

from torch import Tensor

# Nearer points are projected as if they lay here, so that no wild step divides by zero (metres).
NEAR = 0.02


def project(points: Tensor, focal_px: Tensor, centre: Tensor) -> Tensor:
    """Pixels (...,2) of points (...,3), camera frame, metres.

    focal_px: broadcasts against (...,1); centre: (2,) principal point. x_px = f X / Z + cx.
    """
    assert points.shape[-1] == 3 and centre.shape[-1] == 2
    depth = points[..., 2:].clamp_min(NEAR)
    return focal_px * points[..., :2] / depth + centre


def focal_from_field_of_view(field_of_view: float, width: int) -> float:
    """Focal length in pixels of a horizontal field of view (radians) over an image's width."""
    return 0.5 * width / math.tan(0.5 * field_of_view)


def field_of_view_from_focal(focal_px: float, width: int) -> float:
    """Horizontal field of view (radians) of a focal length in pixels over an image's width."""
    return 2.0 * math.atan(0.5 * width / focal_px)
