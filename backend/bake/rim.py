"""Where a head ends before the background: what is behind it must not come into its texture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backend.bake.color import srgb8_to_linear
from backend.bake.consensus import sample_image
from backend.bake.depth_view import DepthView
from backend.geometry.rasterizer import to_pixels

ZONE = 0.05
"""How far in from the rim the background may show, as a share of the head's size: hair and clothes
differ from the mesh, and nothing is detected on scalp and neck."""
SHRINK = 4
"""How much smaller the picture is in which colours around the rim are gathered."""
UNSURE, SURE = 0.4, 0.65
"""Likeness to the head, 0 to 1, from which a colour in this zone is taken in part, and whole."""


@dataclass(frozen=True)
class Rim:
    """The colours on both sides of a head's outline in one frame."""

    view: DepthView
    values: Tensor
    """(h, w, 7) of the view: colour around it beyond the head and deeper in it, the square root of
    linear light, and how near the rim is, 0 to 1."""

    def likeness(self, points: Tensor, colors: Tensor) -> Tensor:
        """Trust (P,) in colours (P, 3), linear light, at points (P, 3), metres, camera frame.

        1 away from the rim; near it, by whether the colour is like the head or like what is beyond.
        """
        around = sample_image(self.values, to_pixels(points, self.view.K)[:, :2])
        return _likeness(colors.clamp(min=0).sqrt(), around)


def _likeness(root: Tensor, around: Tensor) -> Tensor:
    """Trust (...) in colours (..., 3), square roots, beside `Rim.values` there (..., 7)."""
    beyond = (root - around[..., :3]).norm(dim=-1)
    within = (root - around[..., 3:6]).norm(dim=-1)
    # Where both sides look alike neither can be told, and nothing is lost.
    share = (beyond + 0.02) / (beyond + within + 0.02)
    kept = ((share - UNSURE) / (SURE - UNSURE)).clamp(0, 1)
    return 1 - around[..., 6] * (1 - kept)


def rim_likeness(color: Tensor, on_head: Tensor) -> Tensor:
    """Trust (h, w) in the pixels of a small picture (h, w, 3) of a head, linear light.

    on_head: (h, w) bool. 1 away from the rim and beyond it; see `Rim.likeness`.
    """
    root = color.clamp(min=0).sqrt()
    values = _rim_values(root.cpu().numpy(), on_head.cpu().numpy())
    around = torch.as_tensor(values, device=color.device)
    return torch.where(on_head, _likeness(root, around), torch.ones_like(root[..., 0]))


def see_rim(view: DepthView, image_rgb: NDArray[np.uint8], K: Tensor) -> Rim:
    """The rim of a head in a frame: image (H, W, 3) u8 sRGB, K (3, 3) of the frame, pixels."""
    height, width = view.face_index.shape
    to_frame = (K.double() @ torch.linalg.inv(view.K.double())).cpu().numpy()
    small = cv2.warpAffine(
        image_rgb,
        to_frame[:2],
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    on_head = torch.isfinite(view.depth).cpu().numpy()
    # Colours over such distances need a small picture only.
    shrunk = (max(2, width // SHRINK), max(2, height // SHRINK))
    root = np.sqrt(srgb8_to_linear(cv2.resize(small, shrunk, interpolation=cv2.INTER_AREA)))
    return Rim(view, torch.as_tensor(_rim_values(root, on_head), device=K.device))


def _rim_values(root: NDArray[np.float32], on_head: NDArray[np.bool_]) -> NDArray[np.float32]:
    """`Rim.values` (h, w, 7) of a head (h, w) bool, from a picture (h', w', 3) that may be smaller;
    the square root of linear light."""
    height, width = on_head.shape
    shrunk = (root.shape[1], root.shape[0])
    reach = max(2.0, ZONE * max(height, width))
    # Zero padding would make a rim of the picture's border: the head goes on there.
    padded = cv2.copyMakeBorder(on_head.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    depth_in = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    planes = []
    for chosen in (~on_head, depth_in > 1.5 * reach):
        mask = chosen.astype(np.float32)
        weight = (cv2.resize(mask, shrunk, interpolation=cv2.INTER_AREA) > 0.99)[..., None]
        sigma = reach * shrunk[0] / width
        total = cv2.GaussianBlur(weight.astype(np.float32), (0, 0), sigma)[..., None] + 1e-4
        # Far from all that counts, its mean stands in.
        mean = (root * weight).sum((0, 1)) / max(float(weight.sum()), 1.0)
        spread = (cv2.GaussianBlur(root * weight, (0, 0), sigma) + 1e-4 * mean) / total
        planes.append(cv2.resize(spread, (width, height), interpolation=cv2.INTER_LINEAR))
    near = np.clip(2 - 2 * depth_in / reach, 0, 1)[..., None]
    return np.concatenate((*planes, near), -1).astype(np.float32)
