"""Writing a picture, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from backend.atomic import atomic_path
from backend.errors import BadInputError


def write_picture(path: Path, image: NDArray[np.uint8]) -> None:
    """Write RGB (H,W,3) or RGBA (H,W,4) in the format of the suffix; raises `BadInputError`."""
    order = [2, 1, 0, 3][: image.shape[2]]
    try:
        # OpenCV's own imwrite fails on Windows where a path is not ASCII.
        done, data = cv2.imencode(path.suffix, np.ascontiguousarray(image[..., order]))
    except cv2.error as error:
        raise BadInputError(f"{path}: no format of pictures ({error}).") from error
    if not done:
        raise BadInputError(f"{path}: cannot be written as {path.suffix}.")
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.tobytes())
