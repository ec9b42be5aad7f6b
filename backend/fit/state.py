"""Parameters of a fit: those of every frame, and those of the person and the cameras.

Columns of a frame: expression (E), rotations (3 for each of 4 joints), translation (3), zoom (1);
of what is shared: identity (K), then for every camera log focal (1), rotation (3), translation (3),
then the landmarks' offsets (3 each).
Rotations step by left increments, R <- exp(delta) R.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from backend.geometry.rotations import rotvec_to_rotmat

N_JOINTS = 4
ROTATION, TRANSLATION, ZOOM = slice(0, 12), slice(12, 15), slice(15, 16)
"""A frame's columns after its expression."""
POSE_SIZE = 16
CAMERA_SIZE = 7


@dataclass(frozen=True)
class State:
    """Parameters of F frames and C cameras."""

    expression: Tensor
    """(F,E)"""
    rotmat: Tensor
    """(F,4,3,3): the root's in the world, which is the first camera's frame, the others' in their
    parent's."""
    translation: Tensor
    """(F,3)"""
    zoom: Tensor
    """(F,) logarithm of every camera's focal length in this frame over that of the shot."""
    identity: Tensor
    """(K,) the head's coefficients, and those of its free-form correction after them."""
    log_focal: Tensor
    """(C,)"""
    camera_rotmat: Tensor
    """(C,3,3), with `camera_translation` (C,3) the map from the world to each camera."""
    camera_translation: Tensor
    offset: Tensor
    """(L,3) how far landmarks lie from where the head has them, in their deviations; (0,3) where
    that is not asked."""

    @property
    def n_cameras(self) -> int:
        return len(self.log_focal)

    @property
    def camera_columns(self) -> slice:
        """Of the shared parameters; offsets come after them."""
        k = len(self.identity)
        return slice(k, k + CAMERA_SIZE * self.n_cameras)

    @property
    def n_shared(self) -> int:
        return self.camera_columns.stop + self.offset.numel()

    def step(self, frame: Tensor, shared: Tensor) -> State:
        """The state after increments frame (F,E+16) and shared (K+7C+3L,)."""
        e, k = self.expression.shape[-1], len(self.identity)
        pose = frame[:, e:]
        turn = pose[:, ROTATION].reshape(-1, N_JOINTS, 3)
        camera = shared[self.camera_columns].view(-1, CAMERA_SIZE)
        turned = rotvec_to_rotmat(camera[:, 1:4])
        return State(
            self.expression + frame[:, :e],
            rotvec_to_rotmat(turn) @ self.rotmat,
            self.translation + pose[:, TRANSLATION],
            self.zoom + pose[:, ZOOM][:, 0],
            self.identity + shared[:k],
            self.log_focal + camera[:, 0],
            turned @ self.camera_rotmat,
            self.camera_translation + camera[:, 4:],
            self.offset + shared[self.camera_columns.stop :].view(-1, 3),
        )

    def frames(self, rows: Tensor | slice) -> State:
        """The same shot with some of the frames."""
        return replace(
            self, expression=self.expression[rows], rotmat=self.rotmat[rows],
            translation=self.translation[rows], zoom=self.zoom[rows],
        )  # fmt: skip

    def with_frames(self, rows: Tensor, part: State) -> State:
        """This shot with the frames in rows, and all that is shared, from `part`."""
        return replace(
            part,
            expression=self.expression.index_copy(0, rows, part.expression),
            rotmat=self.rotmat.index_copy(0, rows, part.rotmat),
            translation=self.translation.index_copy(0, rows, part.translation),
            zoom=self.zoom.index_copy(0, rows, part.zoom),
        )

    def with_identity_size(self, size: int) -> State:
        """With `size` identity coefficients: new ones are 0."""
        kept = self.identity[:size]
        return replace(self, identity=torch.cat([kept, kept.new_zeros(size - len(kept))]))


def one_camera(
    expression: Tensor, rotmat: Tensor, translation: Tensor, identity: Tensor, log_focal: Tensor
) -> State:
    """The state of a single camera, at the world's origin, without zoom; log_focal ()."""
    return State(
        expression, rotmat, translation, translation.new_zeros(len(translation)), identity,
        log_focal.reshape(1), torch.eye(3).to(translation)[None], translation.new_zeros(1, 3),
        translation.new_zeros(0, 3),
    )  # fmt: skip
