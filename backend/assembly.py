"""From a job's final messages to a `Track`: the same path on this machine and from a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.track import Track
from shared.messages import CameraResult, FrameResult, JobDone, ModelResult, TextureResult


@dataclass(frozen=True)
class Known:
    """What a track says of its solve besides the results."""

    focal_sd_percent: float | None = None
    """Deviation of the solved focal length, per cent; None where it was given."""
    distortion: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """K1, K2, K3 of the lens."""
    constraints: str = ""
    """As `constraints.to_text` writes them."""
    person: str = ""
    """Name of the person whose face was kept."""


def assemble_track(
    model: ModelResult,
    frames: Sequence[FrameResult],
    texture: TextureResult | NDArray[np.uint8] | None,
    K: NDArray[np.float64],
    image_size: tuple[int, int],
    frame_rate: Fraction,
    cameras: Sequence[CameraResult] = (),
    known: Known | None = None,
) -> Track:
    """Put the results of one job together.

    model: the final head. frames: at least one result a frame, in any order; they must carry
    vertices and visibility. texture: the merged one, (H, W, 4) or a message, or None for none. K:
    (3, 3) pixels; each frame's own focal length replaces its. image_size: (W, H). cameras: those of
    a rig, the first one too. known: what else there is to say. Raises ValueError where parts do not
    fit.
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
        **_rig(cameras),
        **_known(known or Known()),
    )


def with_frames(track: Track, frames: Mapping[int, FrameResult]) -> Track:
    """The track with the motion of some rows replaced; what was seen of them stays."""
    change: dict[str, Any] = {}
    for name in ("vertices", "expression", "head_pose", "eye_rotation", "joint_rotations",
                 "translation", "focal_px", "K"):  # fmt: skip
        array = np.array(getattr(track, name))
        for row, frame in frames.items():
            if name == "K":
                array[row, [0, 1], [0, 1]] = frame.focal_px
            else:
                array[row] = getattr(frame, name)
        change[name] = array
    return replace(track, **change)


def _known(known: Known) -> dict[str, Any]:
    result: dict[str, Any] = {"constraints": known.constraints, "person": known.person}
    if known.focal_sd_percent is not None:
        result["focal_sd_percent"] = np.array([known.focal_sd_percent])
    if any(known.distortion):
        result["distortion"] = np.array(known.distortion, np.float64)
    return result


def _rig(cameras: Sequence[CameraResult]) -> dict[str, Any]:
    """The fields of several cameras."""
    if not cameras:
        return {}
    cameras = sorted(cameras, key=lambda camera: camera.number)
    return {
        "rig_rotation": np.stack([camera.rotation for camera in cameras]),
        "rig_translation": np.stack([camera.translation for camera in cameras]),
        "rig_K": np.stack([camera.K for camera in cameras]),
        "rig_image_size": np.array([camera.image_size for camera in cameras], np.int64),
        "rig_offset": np.array([camera.offset for camera in cameras], np.float64),
        "rig_given": np.array([camera.is_given for camera in cameras], np.uint8),
        "rig_landmarks_2d": np.stack([camera.landmarks_2d for camera in cameras]),
        "rig_landmark_sigma": np.stack([camera.landmark_sigma for camera in cameras]),
        "rig_clips": tuple(camera.clip for camera in cameras),
    }


class ResultCollector:
    """What has arrived of one job; later results replace earlier ones."""

    def __init__(self) -> None:
        self.model: ModelResult | None = None
        self.frames: dict[int, FrameResult] = {}
        self.texture: TextureResult | None = None
        self.cameras: dict[int, CameraResult] = {}
        self.done: JobDone | None = None

    def take(self, event: object) -> None:
        """Take one message of the job; what is no result is left aside."""
        if isinstance(event, ModelResult):
            self.model = event
        elif isinstance(event, FrameResult):
            self.frames[event.frame_index] = event
        elif isinstance(event, TextureResult):
            self.texture = event
        elif isinstance(event, CameraResult):
            self.cameras[event.number] = event
        elif isinstance(event, JobDone):
            self.done = event

    def onto(self, base: Track, constraints: str | None) -> Track:
        """The track of a refine job: base with the frames, head and cameras that have arrived.

        constraints: as the job was given them; None where they stay.
        """
        change: dict[str, Any] = {} if constraints is None else {"constraints": constraints}
        rows = {int(frame): row for row, frame in enumerate(base.frame_index)}
        base = with_frames(base, {rows[index]: frame for index, frame in self.frames.items()})
        if self.model is not None:
            change |= {
                "identity": self.model.identity,
                "rest_vertices": self.model.neutral,
                "shape_keys": self.model.shape_keys.astype(np.float16),
                "joints": self.model.joints,
            }
        if self.done is not None and self.done.whole_ms is not None:
            doubt = self.done.focal_sd_percent
            change["focal_sd_percent"] = np.array([] if doubt is None else [doubt], np.float64)
        return replace(base, **change, **_rig(list(self.cameras.values())))

    def track(self, known: Known) -> Track | None:
        """The track of a job that is done; None where parts are missing."""
        done, model = self.done, self.model
        if model is None or done is None:
            return None
        if done.K is None or not done.image_size or not done.frame_rate:
            return None
        return assemble_track(
            model,
            list(self.frames.values()),
            self.texture,
            done.K,
            done.image_size,
            Fraction(*done.frame_rate),
            list(self.cameras.values()),
            replace(known, focal_sd_percent=done.focal_sd_percent),
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
