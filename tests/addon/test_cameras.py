"""The cameras of a rig, out of a track file and out of messages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from backend.assembly import _rig
from shared import codec, messages
from tests.backend.test_track import SIZES, make_track

Addon = Callable[[str], ModuleType]
TURN = Rotation.from_euler("yx", [40, 5], degrees=True).as_matrix()
MOVE = np.array([-0.4, 0.0, 0.1])


def camera(number: int) -> messages.CameraResult:
    frames, count = SIZES["F"], SIZES["L"]
    return messages.CameraResult(
        number=number,
        clip=f"/shot/{'AB'[number]}.mp4",
        offset=3.5 * number,
        image_size=(640, 360),
        K=np.diag([900.0 + number, 900.0 + number, 1.0]),
        rotation=TURN if number else np.eye(3),
        translation=MOVE * number,
        landmarks_2d=np.zeros((frames, count, 2), np.float32),
        landmark_sigma=np.ones((frames, count), np.float32),
    )


def assert_second(cameras: tuple[Any, ...]) -> None:
    (view,) = cameras
    assert (view.number, view.clip, view.offset) == (1, "/shot/B.mp4", 3.5)
    assert view.image_size == (640, 360) and view.K[0, 0] == 901.0
    np.testing.assert_allclose(view.T_camera_first[:3, :3], TURN)
    np.testing.assert_allclose(view.T_camera_first[:3, 3], MOVE)


def test_a_track_file_tells_of_its_cameras(addon: Addon, tmp_path: Path) -> None:
    track = make_track()
    track.save(tmp_path / "one.npz")
    assert addon("shot").read_track(tmp_path / "one.npz").cameras == ()
    replace(track, **_rig([camera(1), camera(0)])).save(tmp_path / "two.npz")
    assert_second(addon("shot").read_track(tmp_path / "two.npz").cameras)


def test_messages_tell_of_cameras_and_the_scene_is_to_be_updated(addon: Addon) -> None:
    receiver = addon("shot").ShotReceiver((640, 360))
    # As the add-on decodes it, with its own copy of the protocol.
    decode = addon("shared.codec").decode_from_server
    before = receiver.frame_count
    for number in (0, 1):
        receiver.receive(decode([bytes(part) for part in codec.encode(camera(number))]))
    assert receiver.frame_count > before
    assert_second(tuple(receiver._cameras.values()))


def test_a_rig_file_is_read_by_the_same_code(addon: Addon, tmp_path: Path) -> None:
    rig = addon("shared.rig")
    with pytest.raises(rig.RigFileError, match="cannot be read"):
        rig.read_rig(tmp_path / "gone.json", ["A.mp4", "B.mp4"])
    (tmp_path / "rig.json").write_text(
        '{"cameras": [{"clip": "A.mp4", "f": 9}, {"clip": "B.mp4"}]}'
    )
    first, second = rig.read_rig(tmp_path / "rig.json", ["A.mp4", "B.mp4"])
    assert (first.focal_px, second.focal_px, second.rotmat) == (9.0, None, None)
    message = second.message("/shot/B.mp4")
    assert (message.clip, message.rotation, message.offset) == ("/shot/B.mp4", None, None)
