"""Coefficients of the head as the messages that a job streams."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backend.head import Head
from shared.messages import FrameResult, ModelResult


@dataclass(frozen=True)
class FrameMotion:
    """What moves in one frame."""

    expression: NDArray[np.float32]
    """(E,) weight of each expression."""
    joint_rotations: NDArray[np.float32]
    """(J, 3) rotation vectors; the first is the root's, in the camera frame."""
    translation: NDArray[np.float32]
    """(3,) metres, camera frame."""
    focal_px: float
    """Focal length in pixels."""


def model_result(head: Head, identity: Tensor, is_final: bool) -> ModelResult:
    """Describe the head of one person: identity (I,) in standard deviations."""
    neutral = head.shape(identity, identity.new_zeros(head.n_expression))
    return ModelResult(
        stage="final" if is_final else "preview",
        expression_names=list(head.expression_names),
        identity=_f4(identity),
        neutral=_f4(neutral),
        shape_keys=_f4(head.expression_basis),
        faces=head.faces.cpu().numpy().astype(np.int32),
        uv=_f4(head.uv[head.face_uv]),
        joints=_f4(head.joints(identity)),
        skin_weights=_f4(head.skin_weights),
    )


def frame_result(
    head: Head,
    identity: Tensor,
    motion: FrameMotion,
    *,
    frame_index: int,
    timestamp: float,
    found: bool,
    landmarks_2d: NDArray[np.float32] | None,
    landmark_sigma: NDArray[np.float32] | None,
    vertices: NDArray[np.float32] | None = None,
    visibility: NDArray[np.uint8] | None = None,
    soft_visibility: NDArray[np.uint8] | None = None,
) -> FrameResult:
    """Describe one frame; with vertices (N, 3) and visibility (N,) it is final.

    Landmarks are left out where the face was not found.
    """
    rotations = torch.as_tensor(motion.joint_rotations).to(identity)
    translation = torch.as_tensor(motion.translation).to(identity)
    transforms = head.joint_transforms(identity, rotations, translation)
    return FrameResult(
        stage="preview" if vertices is None else "final",
        frame_index=frame_index,
        timestamp=timestamp,
        found=found,
        focal_px=motion.focal_px,
        expression=motion.expression,
        joint_rotations=motion.joint_rotations,
        translation=motion.translation,
        head_pose=_f4(transforms[1]),
        eye_rotation=motion.joint_rotations[2:4],
        landmarks_2d=landmarks_2d if found else None,
        landmark_sigma=landmark_sigma if found else None,
        vertices=vertices,
        visibility=visibility,
        soft_visibility=soft_visibility,
    )


def _f4(tensor: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(tensor.detach().cpu().numpy().astype(np.float32))
