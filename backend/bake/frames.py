"""Which frames of a shot to bake: few, and from as many sides as the shot shows."""

from __future__ import annotations

import numpy as np

JAW_WEIGHT = 0.35
"""How far an open mouth counts beside the viewing direction: fully open is as far as 20 degrees."""

BLINK_LIMIT = 0.45
"""Frames whose mean eyeBlink exceeds this are taken only if nothing else is left."""


def select_frames(
    head_pose: np.ndarray,
    found: np.ndarray,
    max_frames: int = 32,
    expression: np.ndarray | None = None,
    expression_names: tuple[str, ...] | None = None,
) -> np.ndarray:
    """Choose frames that see the head from well-spread directions, mouth open and closed.

    head_pose: (F, 4, 4) T_camera_head. found: (F,) bool. max_frames: the most to choose.
    expression: (F, 52) coefficients with expression_names, for the mouth and for blinks. Returns
    sorted frame numbers (n,) int64, n <= max_frames. Starts with the frame seen most frontally and
    adds, one by one, the frame farthest from all chosen (Gonzalez 1985), so that any number of
    leading choices is well spread.
    """
    head_pose, found = np.asarray(head_pose, np.float64), np.asarray(found, bool)
    assert head_pose.shape[1:] == (4, 4) and found.shape == (len(head_pose),) and max_frames > 0
    features = viewing_directions(head_pose)
    usable = found & np.isfinite(features).all(1)
    preferred = usable
    if expression is not None and expression_names is not None:
        column = {name: index for index, name in enumerate(expression_names)}
        expression = np.asarray(expression, np.float64)
        jaw = expression[:, column["jawOpen"]]
        blink = expression[:, [column["eyeBlinkLeft"], column["eyeBlinkRight"]]].mean(1)
        features = np.concatenate((features, JAW_WEIGHT * jaw[:, None]), 1)
        preferred = usable & (blink <= BLINK_LIMIT)
    candidates = np.flatnonzero(preferred if preferred.any() else usable)
    if len(candidates) <= max_frames:
        return candidates
    points = features[candidates]
    # The face looks along -z of the head frame, so this is the most frontal frame.
    chosen = [int(points[:, 2].argmin())]
    distance = np.linalg.norm(points - points[chosen[0]], axis=1)
    while len(chosen) < max_frames:
        # A frame may be chosen once only, even when a still shot makes all distances zero.
        distance[chosen] = -1.0
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return np.sort(candidates[chosen])


def viewing_directions(head_pose: np.ndarray) -> np.ndarray:
    """Unit vectors from the head to the camera in the head frame, (F, 3), of (F, 4, 4) poses."""
    rotation, translation = head_pose[:, :3, :3], head_pose[:, :3, 3]
    direction = -np.einsum("fij,fi->fj", rotation, translation)
    return direction / np.linalg.norm(direction, axis=1, keepdims=True)


def spread_frames(head_pose: np.ndarray, found: np.ndarray, count: int) -> np.ndarray:
    """Frames that show a shot as it usually is: half spread over time, half over the views.

    head_pose: (F, 4, 4) T_camera_head, found: (F,) bool. Returns at most count sorted numbers.
    """
    found = np.asarray(found, bool)
    usable = np.flatnonzero(found)
    if len(usable) <= count:
        return usable
    places = np.linspace(0, len(usable) - 1, count - count // 2).round().astype(np.int64)
    in_time = usable[places]
    rest = found.copy()
    rest[in_time] = False
    in_view = select_frames(head_pose, rest, count - len(np.unique(in_time)))
    return np.union1d(in_time, in_view)
