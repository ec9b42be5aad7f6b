"""Head pose and the canonical camera that looks at the normalised face (equations 5, 9, 10)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

FIXED_FOCAL_MM = 60.0
"""f_fixed of section 3.2."""
SENSOR_WIDTH_MM = 36.0
"""Width of the film that the normalised face fills."""
HALF_WIDTH_M = 0.11
"""Half the width of what the region of interest shows at the head, metres: where T starts."""


def rotation_from_6d(values: Tensor) -> Tensor:
    """Rotation matrices (...,3,3) of 6D vectors (...,6), by Gram and Schmidt (Zhou et al., 2019).

    The two vectors are the first two columns; zeros added to the identity's give the identity.
    """
    first = functional.normalize(values[..., :3], dim=-1)
    second = values[..., 3:]
    second = functional.normalize(second - (first * second).sum(-1, keepdim=True) * first, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second, dim=-1)], -1)


def focal_in_window(log_ratio: Tensor) -> Tensor:
    """f_fixed + f_d in window units, [-1,1] being the film's width.

    f_d = f_fixed (exp(log_ratio) - 1): the displacement that is added to 60 mm, written so that
    their sum stays positive.
    """
    displacement_mm = FIXED_FOCAL_MM * (torch.exp(log_ratio) - 1)
    return (FIXED_FOCAL_MM + displacement_mm) / (0.5 * SENSOR_WIDTH_MM)


def translation(values: Tensor, focal: Tensor) -> Tensor:
    """T (...,3) in metres of the encoder's output (...,3) and the focal length (...).

    The output is where the head's origin is seen, in window units, and the logarithm of its size:
    unlike metres, these can be read off a picture whatever its focal length.
    """
    depth = focal * HALF_WIDTH_M * torch.exp(-values[..., 2])
    across = values[..., :2] * (depth / focal)[..., None]
    return torch.cat([across, depth[..., None]], -1)


def seen(translation: Tensor, focal: Tensor) -> Tensor:
    """The inverse of `translation`: where the head's origin is seen and the log of its size."""
    depth = translation[..., 2:].clamp(min=0.05)
    across = focal[..., None] * translation[..., :2] / depth
    return torch.cat([across, torch.log(focal[..., None] * HALF_WIDTH_M / depth)], -1)


def transform(points: Tensor, rotation: Tensor, translation: Tensor) -> Tensor:
    """Equation 9: canonical points (...,K,3) in the camera's frame, OpenCV axes, metres."""
    return points @ rotation.transpose(-1, -2) + translation[..., None, :]


def project(points: Tensor, focal: Tensor) -> Tensor:
    """Equation 10: camera points (...,K,3) in window units (...,K,2); focal (...) likewise."""
    # A head cannot be nearer than this; a first guess may.
    depth = points[..., 2:].clamp(min=0.05)
    return focal[..., None, None] * points[..., :2] / depth
