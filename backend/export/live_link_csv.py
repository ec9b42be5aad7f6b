"""A track as the table that Epic's Live Link Face app records; shared/live_link.py describes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from backend.atomic import atomic_path
from backend.errors import BadInputError
from backend.export.axes import rate_of, to_y_up
from backend.track import Track
from shared.arkit import EXPRESSION_NAMES
from shared.conventions import T_CAMERAOBJECT_CV, rotvec_to_rotmat
from shared.live_link import ANGLES, BLEND_SHAPE_COUNT, HEADER, table, timecode, yaw_pitch_roll

__all__ = ["ANGLES", "BLEND_SHAPE_COUNT", "HEADER", "timecode", "write", "yaw_pitch_roll"]


def write(track: Track, path: Path) -> list[Path]:
    """Write one row for every frame; docs/export.md describes it. Raises `BadInputError`.

    A frame without a face has a row too, with the pose that the track carries over from other
    frames: receivers count rows, or hold the last one, and would slip in time over a gap.
    """
    missing = set(EXPRESSION_NAMES) - set(track.expression_names)
    if missing:
        raise BadInputError(f"{path}: the track lacks {', '.join(sorted(missing)[:4])}.")
    order = [track.expression_names.index(name) for name in EXPRESSION_NAMES]
    head = track.head_pose[:, :3, :3].astype(np.float64)
    flip = T_CAMERAOBJECT_CV[:3, :3]
    text = table(
        track.frame_index.tolist(),
        rate_of(track),
        track.expression[:, order],
        flip @ head @ flip,
        rotvec_to_rotmat(to_y_up(track.eye_rotation)),
    )
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        file.write(text)
    return [path]
