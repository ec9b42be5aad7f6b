# SPDX-License-Identifier: GPL-3.0-or-later
"""What a refine job gives back, and the shot that it makes of an earlier one; knows no bpy."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np

from ..cameras import CameraView, camera_of
from ..shared.messages import (
    CameraResult,
    FrameResult,
    JobDone,
    JobResult,
    ModelResult,
    Progress,
)
from ..shot import HeadModel, Shot, model_of


class RefineReceiver:
    """Collects the results of one refine job."""

    def __init__(self) -> None:
        self.progress: Progress | None = None
        self.model: HeadModel | None = None
        self.done: JobDone | None = None
        self.frames: dict[int, FrameResult] = {}
        """By frame index of the clip."""
        self.cameras: dict[int, CameraView] = {}

    def receive(self, message: Progress | JobResult) -> None:
        """Take one message of the job."""
        if isinstance(message, Progress):
            self.progress = message
        elif isinstance(message, ModelResult):
            self.model = model_of(message)
        elif isinstance(message, FrameResult):
            # The scene poses the vertices itself; those of a long shot would fill the memory.
            self.frames[message.frame_index] = msgspec.structs.replace(
                message, vertices=None, visibility=None, soft_visibility=None, landmarks_2d=None,
                landmark_sigma=None,
            )  # fmt: skip
        elif isinstance(message, CameraResult):
            if message.number > 0:
                self.cameras[message.number] = camera_of(message)
        elif isinstance(message, JobDone):
            self.done = message

    def onto(self, shot: Shot) -> Shot:
        """Return an earlier shot with what has arrived in its place."""
        motion = shot.motion
        change = {
            name: np.array(getattr(motion, name))
            for name in ("expression", "joint_rotations", "translation", "focal_px")
        }
        rows = {int(index): row for row, index in enumerate(motion.frame_index)}
        for index, frame in self.frames.items():
            row = rows.get(index)
            if row is None or len(frame.expression) != change["expression"].shape[1]:
                continue
            for name, values in change.items():
                values[row] = getattr(frame, name)
        # The principal point is the shot's; each frame has its own focal length.
        K = shot.K.copy()
        K[0, 0] = K[1, 1] = change["focal_px"][0]
        return replace(
            shot,
            model=self.model or shot.model,
            motion=replace(motion, **change),
            K=K,
            cameras=tuple(camera for _, camera in sorted(self.cameras.items())),
        )
