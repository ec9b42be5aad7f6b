"""What tracking and measuring ask of a detector, whichever it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from backend.detect.landmarks import FaceLandmarks
from backend.detect.window_detector import Quality
from backend.detect.windows import Window


class FaceDetector(Protocol):
    """Finds faces in images and their landmarks."""

    def find(
        self, image: NDArray[np.uint8], max_faces: int = 1, quality: Quality = "fast"
    ) -> list[FaceLandmarks]:
        """The faces of a whole image (H,W,3) RGB, largest first; empty where there is none."""

    def look(
        self, image: NDArray[np.uint8], windows: Sequence[Window], quality: Quality = "fast"
    ) -> list[FaceLandmarks]:
        """Landmarks in given windows, whether or not there is a face."""

    def is_face(self, face: FaceLandmarks, followed: bool = False) -> bool:
        """Whether landmarks are sure enough to be a face's; followed: the frame before had it."""
