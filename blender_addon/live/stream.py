# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs `mien live` and keeps the newest of what it prints; knows no bpy.

The camera is at this computer, and so is the program: nothing is stored on the way, and a frame
that Blender was too slow for is replaced by the next.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ..child_process import LineReader
from ..shared.conventions import intrinsics
from ..shot import HeadModel, Motion, Shot
from ..translations import rpt

FORMAT = 1
"""Newest format of lines that this version reads."""


@dataclass(frozen=True, eq=False)
class LivePose:
    """One frame."""

    index: int
    """Number of the frame among all that the source has given."""
    time_s: float
    """Seconds after the first frame."""
    expression: np.ndarray
    """(52,) weights."""
    rotations: np.ndarray
    """(4,3) rotation vectors of neck, head and eyes, camera frame."""
    translation: np.ndarray
    """(3,) metres, camera frame."""
    focal_px: float


class LiveStream:
    """One run of `mien live`; call `poll` often."""

    def __init__(self, command: Sequence[str], source: str, arguments: Sequence[str] = ()) -> None:
        """command: of the backend, without its arguments. Raises OSError."""
        self._folder = Path(tempfile.mkdtemp(prefix="mien-live-"))
        try:
            self._reader = LineReader(
                [*command, "live", source, "--head-folder", str(self._folder)]
                + ["--exit-with-stdin", *arguments]
            )
        except OSError:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        self.newest: LivePose | None = None
        """The last frame that showed a face."""
        self.head_file: Path | None = None
        """The newest head, until somebody takes it."""
        self.is_found = False
        """Whether the newest frame showed a face."""
        self.image_size = (1, 1)
        self.frame_rate = 0.0
        self.expression_names: tuple[str, ...] = ()
        self.frames = self.dropped = 0
        self.latency_ms = 0.0
        self.recorded: list[LivePose] = []
        """Frames since `is_recording` was set."""
        self.is_recording = False
        self.is_finished = False
        self.problem = ""
        """Why it ended, where that was not wanted."""
        self._said: list[str] = []
        self._refusal = ""

    def poll(self) -> bool:
        """Take what has come; returns whether there is a new frame."""
        if self.is_finished:
            return False
        before = self.frames
        status = self._reader.poll()
        while self._reader.lines:
            self._take(self._reader.lines.popleft())
        if status is not None:
            said = " ".join(self._said[-2:]) or rpt("The backend ended ({status}).", status=status)
            self._end(self._refusal or ("" if status == 0 else said))
        return self.frames > before

    def stop(self) -> None:
        """End it, and take what was still to come."""
        if not self.is_finished:
            self._reader.stop()
            while self._reader.lines:
                self._take(self._reader.lines.popleft())
            self._end("")

    def take_head(self) -> HeadModel | None:
        """The head, if there is a new one."""
        file, self.head_file = self.head_file, None
        return None if file is None else read_head(file)

    def close(self) -> None:
        """End it and remove its files."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _end(self, problem: str) -> None:
        self.problem, self.is_finished = problem, True

    def _take(self, line: str) -> None:
        if not line.startswith("{"):
            self._said.append(line)
            return
        if self._refusal:
            return
        try:
            message: dict[str, Any] = json.loads(line)
        except ValueError:
            return
        kind = message.get("type")
        if kind == "start":
            if message["format"] > FORMAT:
                self._refusal = "The backend is newer than this add-on: update the add-on."
                self._reader.stop()
                return
            self.image_size = (int(message["image_size"][0]), int(message["image_size"][1]))
            self.frame_rate = float(message["frame_rate"])
            self.expression_names = tuple(message["expression_names"])
        elif kind == "head":
            self.head_file = Path(message["file"])
        elif kind == "frame":
            self._take_frame(message)

    def _take_frame(self, message: dict[str, Any]) -> None:
        self.frames += 1
        self.dropped = int(message["dropped"])
        self.latency_ms = float(message["latency_ms"])
        self.is_found = bool(message["found"])
        if not self.is_found:
            return
        self.newest = LivePose(
            index=int(message["index"]),
            time_s=float(message["time"]),
            expression=np.array(message["expression"], np.float32),
            rotations=np.array(message["rotations"], np.float32),
            translation=np.array(message["translation"], np.float32),
            focal_px=float(message["focal_px"]),
        )
        if self.is_recording:
            self.recorded.append(self.newest)


def read_head(file: Path) -> HeadModel | None:
    """The head of a file that `mien live` has written; None where it is gone or damaged."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return HeadModel(
                expression_names=tuple(str(name) for name in arrays["expression_names"]),
                neutral=arrays["rest_vertices"].astype(np.float32),
                shape_keys=arrays["shape_keys"].astype(np.float32),
                faces=arrays["faces"].astype(np.int32),
                uv=arrays["uv"].astype(np.float32),
                joints=arrays["joints"].astype(np.float32),
                skin_weights=arrays["skin_weights"].astype(np.float32),
            )
    except (OSError, ValueError, KeyError):
        return None


def shot_of(
    model: HeadModel, poses: Sequence[LivePose], image_size: tuple[int, int], frame_rate: float,
    scene_rate: float,
) -> Shot:  # fmt: skip
    """A recording as a shot whose frames are the scene's: the newest pose of each.

    scene_rate: frames a second of the scene. Frames in which nothing came are left out; Blender's
    curves go straight through them.
    """
    began = poses[0].time_s
    chosen = {round((pose.time_s - began) * scene_rate): pose for pose in poses}
    rows = [chosen[frame] for frame in sorted(chosen)]
    focal = float(np.median([pose.focal_px for pose in rows]))
    rate = Fraction(frame_rate).limit_denominator(1001) if frame_rate > 0 else None
    return Shot(
        model=model,
        motion=Motion(
            frame_index=np.array(sorted(chosen), np.int64),
            expression=np.stack([pose.expression for pose in rows]),
            joint_rotations=np.stack([pose.rotations for pose in rows]),
            translation=np.stack([pose.translation for pose in rows]),
            focal_px=np.full(len(rows), focal),
            found=np.ones(len(rows), bool),
        ),
        K=intrinsics(focal, image_size),
        image_size=image_size,
        frame_rate=rate,
    )
