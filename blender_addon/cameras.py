# SPDX-License-Identifier: GPL-3.0-or-later
"""The cameras of a rig, from a track file or from messages; knows no bpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .shared.messages import CameraResult

RIG_FIELDS = (
    "rig_clips", "rig_rotation", "rig_translation", "rig_K", "rig_image_size", "rig_offset",
)  # fmt: skip
"""Fields of a track file that tell of several cameras; files of one camera may lack them."""


@dataclass(frozen=True, eq=False)
class CameraView:
    """A camera besides the first."""

    number: int
    """Counted from 0, so that the first of these is 1."""
    clip: str
    """Path of its clip, as the backend saw it."""
    offset: float
    """Frame t of the first clip shows the moment of frame t + offset of this one."""
    image_size: tuple[int, int]
    """Width and height of its pictures in pixels."""
    K: NDArray[np.float64]
    """(3, 3) intrinsics in pixels."""
    T_camera_first: NDArray[np.float64]
    """(4, 4) maps the first camera's frame to this one's, OpenCV axes."""


def cameras_of(arrays: dict[str, NDArray[Any]]) -> tuple[CameraView, ...]:
    """The further cameras of a track file's arrays; none where it has a single one."""
    if any(name not in arrays for name in RIG_FIELDS):
        return ()
    return tuple(
        CameraView(
            number,
            str(arrays["rig_clips"][number]),
            float(arrays["rig_offset"][number]),
            (int(arrays["rig_image_size"][number, 0]), int(arrays["rig_image_size"][number, 1])),
            arrays["rig_K"][number].astype(np.float64),
            _transform(arrays["rig_rotation"][number], arrays["rig_translation"][number]),
        )
        for number in range(1, len(arrays["rig_offset"]))
    )


def camera_of(message: CameraResult) -> CameraView:
    """A camera as a message tells of it."""
    return CameraView(
        message.number,
        message.clip,
        message.offset,
        message.image_size,
        np.array(message.K),
        _transform(message.rotation, message.translation),
    )


def _transform(rotation: NDArray[Any], translation: NDArray[Any]) -> NDArray[np.float64]:
    result = np.eye(4)
    result[:3, :3], result[:3, 3] = rotation, translation
    return result
