"""Footage with its lens's distortion taken out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from backend.footage.frame import Footage, Frame


def without_distortion(
    footage: Footage, K: NDArray[np.float64], distortion: NDArray[np.float64]
) -> Footage:
    """The footage as a track's K (3,3) describes it; distortion (3,), or (0,) for none."""
    if not distortion.any():
        return footage
    k1, k2, k3 = distortion.tolist()
    return UndistortedFootage(footage, K, (k1, k2, k3))


class UndistortedFootage(Footage):
    """The same frames as a lens without distortion would have filmed them."""

    def __init__(
        self, footage: Footage, K: NDArray[np.float64], distortion: tuple[float, float, float]
    ) -> None:
        """K (3,3) pixels; distortion: K1, K2, K3 of Blender's polynomial model."""
        self.footage = footage
        self.path, self.image_size = footage.path, footage.image_size
        self.frame_rate, self.n_frames = footage.frame_rate, footage.n_frames
        self.warnings = footage.warnings
        self._K, self._distortion = K, distortion

    @cached_property
    def _source(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Where each pixel comes from: x and y (H,W)."""
        width, height = self.image_size
        x = (np.arange(width)[None] - self._K[0, 2]) / self._K[0, 0]
        y = (np.arange(height)[:, None] - self._K[1, 2]) / self._K[1, 1]
        square = x**2 + y**2
        k1, k2, k3 = self._distortion
        bend = 1 + square * (k1 + square * (k2 + square * k3))
        return (
            (x * bend * self._K[0, 0] + self._K[0, 2]).astype(np.float32),
            (y * bend * self._K[1, 1] + self._K[1, 2]).astype(np.float32),
        )

    def __iter__(self) -> Iterator[Frame]:
        for frame in self.footage:
            image = cv2.remap(
                frame.image, *self._source, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
            yield replace(frame, image=image.astype(np.uint8))
