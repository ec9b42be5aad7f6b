"""From a job's final messages to a `Track`: the same path on this machine and from a server."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.track import Track
from shared.messages import FrameResult, ModelResult, TextureResult


def assemble_track(
    model: ModelResult,
    frames: Sequence[FrameResult],
    texture: TextureResult | NDArray[np.uint8] | None,
    K: NDArray[np.float64],
    image_size: tuple[int, int],
    frame_rate: Fraction,
) -> Track:
    """Put the results of one job together.

    model: the final head. frames: at least one result a frame, in any order; they must carry
    vertices and visibility. texture: the merged one, (H, W, 4) or a message, or None for none. K:
    (3, 3) pixels; each frame's own focal length replaces its. image_size: (W, H). Raises
    ValueError where parts do not fit.
    """
    frames = sorted(frames, key=lambda frame: frame.frame_index)
    n_landmarks = next((len(f.landmarks_2d) for f in frames if f.landmarks_2d is not None), 0)
    focal_px = np.array([frame.focal_px for frame in frames], np.float64)
    K_frames = np.repeat(K.astype(np.float64)[None], len(frames), axis=0)
    K_frames[:, 0, 0] = K_frames[:, 1, 1] = focal_px
    if not isinstance(texture, TextureResult):
        texture = TextureResult(
            texture=np.zeros((0, 0, 4), np.uint8) if texture is None else texture
        )
    return Track(
        vertices=np.stack([_present(frame.vertices) for frame in frames]),
        faces=model.faces,
        uv=model.uv,
        focal_px=focal_px,
        K=K_frames,
        head_pose=np.stack([frame.head_pose for frame in frames]),
        identity=model.identity,
        expression=np.stack([frame.expression for frame in frames]),
        expression_names=tuple(model.expression_names),
        eye_rotation=np.stack([frame.eye_rotation for frame in frames]),
        landmarks_2d=_stack_or_nan([f.landmarks_2d for f in frames], (n_landmarks, 2)),
        landmark_sigma=_stack_or_nan([f.landmark_sigma for f in frames], (n_landmarks,)),
        visibility=np.stack([_present(frame.visibility) for frame in frames]),
        texture=texture.texture,
        found=np.array([frame.found for frame in frames], bool),
        frame_index=np.array([frame.frame_index for frame in frames], np.int64),
        timestamps=np.array([frame.timestamp for frame in frames], np.float64),
        image_size=np.array(image_size, np.int64),
        frame_rate=np.array([frame_rate.numerator, frame_rate.denominator], np.int64),
        rest_vertices=model.neutral,
        shape_keys=model.shape_keys.astype(np.float16),
        joints=model.joints,
        skin_weights=model.skin_weights,
        joint_rotations=np.stack([frame.joint_rotations for frame in frames]),
        translation=np.stack([frame.translation for frame in frames]),
        **_optional(frames, texture),
    )


def _optional(frames: Sequence[FrameResult], texture: TextureResult) -> dict[str, Any]:
    """The fields that a track may lack, where the results have them."""
    result: dict[str, Any] = {}
    soft = [frame.soft_visibility for frame in frames if frame.soft_visibility is not None]
    if len(soft) == len(frames):
        result["soft_visibility"] = np.stack(soft)
    if texture.albedo is not None:
        result["albedo"] = texture.albedo
    if texture.lighting is not None:
        result["lighting"] = texture.lighting
    return result


def _present(array: NDArray[np.generic] | None) -> NDArray[np.generic]:
    if array is None:
        raise ValueError("a frame came without its vertices or visibility")
    return array


def _stack_or_nan(
    arrays: list[NDArray[np.float32] | None], shape: tuple[int, ...]
) -> NDArray[np.float32]:
    missing = np.full(shape, np.nan, np.float32)
    return np.stack([missing if array is None else array for array in arrays]).astype(np.float32)
