"""Shots out of track files and out of messages, as they come over the wire."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from backend.track import Track
from shared import codec, messages

Addon = Callable[[str], ModuleType]
N, E, T, F = 7, 2, 3, 4
NAMES = ("jawOpen", "tongueOut")
RNG = np.random.default_rng(3)


def _f4(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def _model(stage: str) -> messages.ModelResult:
    return messages.ModelResult(
        stage=stage,  # type: ignore[arg-type]
        expression_names=list(NAMES),
        identity=_f4(3),
        neutral=_f4(N, 3),
        shape_keys=_f4(E, N, 3),
        faces=RNG.integers(0, N, (T, 3)).astype(np.int32),
        uv=_f4(T, 3, 2),
        joints=_f4(4, 3),
        skin_weights=_f4(N, 4),
    )


def _frame(index: int, stage: str = "preview", found: bool = True) -> messages.FrameResult:
    final = stage == "final"
    return messages.FrameResult(
        stage=stage,  # type: ignore[arg-type]
        frame_index=index,
        timestamp=index / 24,
        found=found,
        focal_px=700.0 if final else 500.0,
        expression=_f4(E),
        joint_rotations=_f4(4, 3),
        translation=_f4(3),
        head_pose=_f4(4, 4),
        eye_rotation=_f4(2, 3),
        vertices=_f4(N, 3) if final else None,
        visibility=RNG.integers(0, 2, N).astype(np.uint8) if final else None,
    )


@pytest.fixture
def receiver(addon: Addon) -> Any:
    return addon("shot").ShotReceiver((64, 48), Fraction(24))


@pytest.fixture
def send(addon: Addon, receiver: Any) -> Callable[[messages.Message], None]:
    """Send a message to the receiver over the wire's format."""
    decode = addon("shared.codec").decode_from_server

    def through_the_wire(message: messages.Message) -> None:
        receiver.receive(decode([bytes(frame) for frame in codec.encode(message)]))

    return through_the_wire


def test_no_shot_before_a_head_and_a_frame(receiver: Any, send: Any) -> None:
    assert receiver.shot() is None
    send(_model("preview"))
    assert receiver.shot() is None
    send(_frame(5))
    shot = receiver.shot()
    assert shot.motion.frame_index.tolist() == [5]
    assert shot.motion.visibility is None and shot.texture is None
    np.testing.assert_allclose(shot.K, [[500, 0, 31.5], [0, 500, 23.5], [0, 0, 1]])


def test_final_results_replace_previews_in_any_order(receiver: Any, send: Any) -> None:
    send(_model("preview"))
    for index in (9, 7, 8):
        send(_frame(index, found=index != 8))
    assert receiver.shot().motion.frame_index.tolist() == [7, 8, 9]
    assert receiver.shot().motion.found.tolist() == [True, False, True]
    final = _model("final")
    send(final)
    last = {index: _frame(index, "final") for index in (7, 8, 9)}
    for frame in last.values():
        assert receiver.shot().motion.visibility is None, "not all frames are final yet"
        send(frame)
    texture = RNG.integers(0, 255, (4, 4, 4)).astype(np.uint8)
    send(messages.TextureResult(texture=texture))
    K = np.array([[700.0, 0, 10], [0, 700, 20], [0, 0, 1]])
    send(messages.JobDone(image_size=(48, 64), frame_rate=(30000, 1001), n_frames=3, K=K))
    shot = receiver.shot()
    np.testing.assert_array_equal(shot.model.neutral, final.neutral)
    for row, frame in enumerate(last.values()):
        np.testing.assert_array_equal(shot.motion.expression[row], frame.expression)
        np.testing.assert_array_equal(shot.motion.visibility[row], frame.visibility)
    np.testing.assert_array_equal(shot.texture, texture)
    np.testing.assert_array_equal(shot.K, K)
    assert shot.image_size == (48, 64)
    assert shot.frame_rate == Fraction(30000, 1001)


def test_counts_say_what_is_new(receiver: Any, send: Any) -> None:
    counts = lambda: (receiver.model_count, receiver.frame_count, receiver.texture_count)  # noqa: E731
    send(messages.Progress(stage="detect", fraction=0.25, frame_index=3))
    assert counts() == (0, 0, 0) and receiver.progress.frame_index == 3
    send(_model("preview"))
    send(_frame(1))
    send(_frame(2))
    assert counts() == (1, 2, 0) and receiver.newest_frame == 2


@pytest.fixture
def track(tmp_path: Path) -> Path:
    frames = np.arange(F) + 10
    K = np.repeat(np.array([[[600.0, 0, 5], [0, 600, 6], [0, 0, 1]]]), F, axis=0)
    Track(
        vertices=_f4(F, N, 3),
        faces=RNG.integers(0, N, (T, 3)).astype(np.int32),
        uv=_f4(T, 3, 2),
        focal_px=np.full(F, 600.0),
        K=K,
        head_pose=_f4(F, 4, 4),
        identity=_f4(3),
        expression=_f4(F, E),
        expression_names=NAMES,
        eye_rotation=_f4(F, 2, 3),
        landmarks_2d=_f4(F, 5, 2),
        landmark_sigma=_f4(F, 5),
        visibility=np.ones((F, N), np.uint8),
        texture=np.zeros((0, 0, 4), np.uint8),
        found=np.ones(F, bool),
        frame_index=frames,
        timestamps=frames / 24.0,
        image_size=np.array([64, 48]),
        frame_rate=np.array([24, 1]),
        rest_vertices=_f4(N, 3),
        shape_keys=RNG.normal(size=(E, N, 3)).astype(np.float16),
        joints=_f4(4, 3),
        skin_weights=_f4(N, 4),
        joint_rotations=_f4(F, 4, 3),
        translation=_f4(F, 3),
    ).save(tmp_path / "track.npz")
    return tmp_path / "track.npz"


def test_reads_what_the_backend_writes(addon: Addon, track: Path) -> None:
    shot = addon("shot").read_track(track)
    expected = Track.load(track)
    np.testing.assert_array_equal(shot.motion.expression, expected.expression)
    np.testing.assert_array_equal(shot.model.neutral, expected.rest_vertices)
    np.testing.assert_array_equal(shot.model.shape_keys, expected.shape_keys)
    np.testing.assert_array_equal(shot.motion.joint_rotations, expected.joint_rotations)
    assert shot.model.expression_names == NAMES
    assert shot.image_size == (64, 48) and shot.frame_rate == 24
    assert shot.texture is None


def test_newer_and_foreign_files_are_refused(addon: Addon, track: Path) -> None:
    module = addon("shot")
    with np.load(track) as file:
        arrays = dict(file)
    np.savez(track, **{**arrays, "format_version": np.int64(99)})
    with pytest.raises(module.TrackFileError, match=r"newer version.*Update"):
        module.read_track(track)
    del arrays["joints"]
    np.savez(track, **arrays)
    with pytest.raises(module.TrackFileError, match=r"track\.npz: is damaged, or not a track"):
        module.read_track(track)
    np.savez(track, **{**arrays, "joints": np.array([{}], dtype=object)})
    with pytest.raises(module.TrackFileError, match="is damaged"):
        module.read_track(track)


def test_a_shot_stays_as_it_was_while_frames_go_on(receiver: Any, send: Any) -> None:
    send(_model("preview"))
    sent = [_frame(index) for index in range(600)]
    for frame in sent[:300]:
        send(frame)
    first = receiver.shot()
    for frame in sent[300:]:
        send(frame)
    again = _frame(5, found=False)
    send(again)
    assert first.motion.frame_index.tolist() == list(range(300)) and first.motion.found[5]
    motion = receiver.shot().motion
    assert motion.frame_index.tolist() == list(range(600)) and not motion.found[5]
    sent[5] = again
    for row, frame in enumerate(sent):
        np.testing.assert_array_equal(motion.expression[row], frame.expression)
        np.testing.assert_array_equal(motion.joint_rotations[row], frame.joint_rotations)


def test_the_lens_of_a_job_is_told_at_its_end(receiver: Any, send: Any) -> None:
    send(_model("final"))
    send(_frame(0, "final"))
    assert receiver.shot().distortion == ()
    send(messages.JobDone(image_size=(64, 48), n_frames=1, distortion=(-0.1, 0.02, 0.0)))
    assert receiver.shot().distortion == (-0.1, 0.02, 0.0)
