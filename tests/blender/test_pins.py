"""Pins, frames, masks, limits and lenses in Blender, solved again by a real service."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from backend.constraints import to_text
from backend.evaluate.fit_recovery import Simulation
from backend.evaluate.refine_speed import point_in_picture, simulated_track
from backend.head import Head
from backend.refine import REACH
from backend.track import Track
from shared.jobs import ExpressionLimit, PinnedPoint, ShotConstraints
from shared.messages import FrameResult, JobDone, ModelResult
from tests.blender.test_tracking import Service

pytestmark = pytest.mark.blender

FRAMES, FIRST = 40, 2
OFFSET = FIRST + 1
"""The scene's frame of the first row."""
PINNED = OFFSET + 20
SIZE = Simulation().image_size


def messages_of(track: Track) -> list[Any]:
    """A track as the messages of the job that it is the result of."""
    model = ModelResult(
        stage="final", expression_names=list(track.expression_names), identity=track.identity,
        neutral=track.rest_vertices, shape_keys=track.shape_keys.astype(np.float32),
        faces=track.faces, uv=track.uv, joints=track.joints, skin_weights=track.skin_weights,
    )  # fmt: skip
    frames = [
        FrameResult(
            stage="final", frame_index=int(track.frame_index[row]),
            timestamp=float(track.timestamps[row]), found=bool(track.found[row]),
            focal_px=float(track.focal_px[row]), expression=track.expression[row],
            joint_rotations=track.joint_rotations[row], translation=track.translation[row],
            head_pose=track.head_pose[row], eye_rotation=track.eye_rotation[row],
            landmarks_2d=track.landmarks_2d[row], landmark_sigma=track.landmark_sigma[row],
            vertices=track.vertices[row], visibility=track.visibility[row],
        )
        for row in range(track.n_frames)
    ]  # fmt: skip
    width, height = track.image_size.tolist()
    done = JobDone(
        image_size=(width, height), frame_rate=(25, 1), n_frames=track.n_frames, K=track.K[0],
        focal_sd_percent=float(track.focal_sd_percent[0]),
    )  # fmt: skip
    return [model, *frames, done]


def write_clip(path: Path, frames: int) -> None:
    """A grey clip of the simulation's size."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(25))
        stream.width, stream.height = SIZE
        for _ in range(frames):
            image = np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def shot(head: Head) -> Track:
    return simulated_track(head, Simulation(frames=FRAMES, seed=3, noise_px=0.5), FIRST)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that the service may read."""
    return tmp_path_factory.mktemp("pins")


@pytest.fixture(scope="module")
def arguments(
    tmp_path_factory: pytest.TempPathFactory, folder: Path, shot: Track
) -> Iterator[dict[str, Any]]:
    """A clip, and a service that has tracked it."""
    clip = folder / "clip.mp4"
    write_clip(clip, FIRST + FRAMES)
    service = Service(tmp_path_factory.mktemp("service"), clip, messages_of(shot))
    yield {"clip": clip, "connection": service.connection, "job_id": service.job_id}
    service.close()


def test_landmarks_are_where_the_head_is_shown(
    blender: Any, arguments: dict[str, Any], head: Head, shot: Track
) -> None:
    found = blender.run("refine_checks.py", "places", frames=FRAMES, offset=OFFSET, **arguments)
    assert found["gap"] < 0.05
    truth = [point_in_picture(head, shot, row) for row in (0, FRAMES - 1)]
    np.testing.assert_allclose(found["tips"], [*truth, *truth], atol=0.05)
    assert 0.5 < found["facing"] <= 1.0
    assert found["job"] == arguments["job_id"] and found["offset"] == 1
    assert found["n_limits"] == 52


def test_a_pin_moves_its_frame_and_can_be_undone(blender: Any, arguments: dict[str, Any]) -> None:
    found = blender.run("refine_checks.py", "pin", frame=PINNED, reach=REACH, **arguments)
    assert found["gap_before"] > 9.0 and found["gap_after"] < 0.3 * found["gap_before"]
    assert found["far"] < 0.02
    assert found["dirty"] and found["solved"] and found["new_job"]
    assert found["pins"] == [["ibug68/30", PINNED, "Nose Tip"]]
    assert found["outcome"].startswith(f"{2 * REACH + 1} frames")
    # Edits by hand: far away as they were, near the pin moved along; deleted keys stay so.
    edited, after = np.array(found["edited"]), np.array(found["after"])
    assert len(edited) == len(after) == FRAMES - 1
    near = PINNED - OFFSET - 1
    np.testing.assert_array_equal(edited[: near - REACH], after[: near - REACH])
    assert edited[1] == after[1]
    neighbours = after[[near - 1, near + 1]].mean()
    assert 0.15 < after[near] - neighbours < 0.45
    assert found["undone_pins"] == 0 and found["undone_job"]
    assert found["undone"] < 0.01


def test_pins_are_saved_and_can_be_taken_back(
    blender: Any, arguments: dict[str, Any], tmp_path: Path
) -> None:
    found = blender.run("refine_checks.py", "again", frame=PINNED, folder=tmp_path, **arguments)
    x, y = found["target"]
    assert found["kept"] == [["ibug68/30", PINNED, pytest.approx(x), pytest.approx(y), 0.25]]
    assert found["solved"] and found["same"] < 0.01
    assert found["unchanged"] == "Nothing has changed near any frame."
    assert found["left"] == 0
    assert found["gap_held"] < 2.0 < 6.0 < found["gap_freed"]


def test_what_is_set_holds_over_the_whole_shot(blender: Any, arguments: dict[str, Any]) -> None:
    found = blender.run("refine_checks.py", "whole", frame=PINNED, offset=OFFSET, **arguments)
    assert found["problem"] is None
    before, after = found["jaw"]
    assert before > 0.1 and after <= 0.05 + 1e-5
    spread, low, high, locked = found["smile"]
    assert spread > 0.01
    assert [low, high] == pytest.approx([locked, locked], abs=1e-4)
    assert found["neutral"] < 1e-4
    assert found["ignored"] == [[OFFSET + 8, OFFSET + 8], [OFFSET + 10, OFFSET + 10]]
    assert found["gap"] < 5.0
    assert found["person"] < 1e-6 < 1e-5 < found["freed"]
    assert found["lens"] == pytest.approx(50.0, abs=1e-3)
    assert found["zoom"] > 0.0


def test_a_mask_is_drawn_frame_by_frame(
    blender: Any, arguments: dict[str, Any], folder: Path
) -> None:
    masks = folder / "masks"
    found = blender.run("refine_checks.py", "mask", frame=PINNED, folder=masks, **arguments)
    assert "Save the .blend file first" in found["told"]
    assert found["problem"] is None and "frames solved" in found["outcome"]
    assert found["scenes"] == 0 and found["frame"] == 0
    path = Path(found["path"])
    assert path.name == "mask_######.png"
    pictures = sorted(path.parent.glob("*.png"))
    assert [p.name for p in pictures] == [f"mask_{i:06d}.png" for i in range(FIRST + FRAMES)]
    means = np.array([np.asarray(Image.open(p)).mean() for p in pictures])
    white = np.flatnonzero(means > 127)
    np.testing.assert_array_equal(white, np.array([PINNED - 1, PINNED, PINNED + 1]) - 1)
    assert means[white].min() > 250 and np.delete(means, white).max() < 127
    # Without any landmark of its own the frame lies between its neighbours.
    assert 0.0 < found["moved"] < 20.0
    still = np.asarray(Image.open(found["still"]))
    # Mask space is square, its 0 to 1 the picture's width: half of it, over all of the height.
    assert still.shape == (576, 1024)
    assert (still[:, :511] == 255).all() and (still[:, 513:] == 0).all()
    assert found["cleared"] == ""
    keyed = sorted(Path(found["shape_key"]).parent.glob("*.png"))
    columns = [np.asarray(Image.open(p)).mean(0).argmax() for p in keyed]
    assert columns[0] == 0 and columns[10] > 500
    assert all(np.diff(columns) >= 0)


def test_the_interface_goes_on(blender: Any, arguments: dict[str, Any]) -> None:
    found = blender.run("refine_checks.py", "streamed", frame=PINNED - 4, **arguments)
    assert max(found["longest_ms"]) < 200
    assert np.median(found["shown_s"]) < 20
    assert found["older"] and found["newer"] == "cancelled" and found["kept"]


def test_errors_say_what_to_do(
    blender: Any, arguments: dict[str, Any], track_file: Path, folder: Path
) -> None:
    track = folder / "plain.npz"
    track.write_bytes(track_file.read_bytes())
    told = blender.run(
        "refine_checks.py", "refusals", track=track, clip=arguments["clip"],
        connection=arguments["connection"],
    )  # fmt: skip
    assert "Track a clip or import a track first" in told["nothing"]
    assert "'nose' is no landmark" in told["landmark"]
    assert "Frame 900 is not among the frames" in told["frame"]
    assert "x and y" in told["place"]
    assert "no pin 3" in told["index"]
    assert "end before they start" in told["range"]
    assert "Frame 900" in told["neutral"]
    assert "nothing between" in told["limit"]
    assert "Choose a mask first" in told["mask"]
    assert told["source"] == str(track)
    assert "landmarks" in told["landmarks"]
    assert "import its track file again" in told["unknown"]


def test_a_track_file_brings_its_pins(
    blender: Any, arguments: dict[str, Any], shot: Track, folder: Path
) -> None:
    known = ShotConstraints(
        pins=[PinnedPoint(frame=FIRST + 5, point="ibug68/30", x=600.0, y=350.0, sigma_px=2.0)],
        limits=[ExpressionLimit(name="jawOpen", low=0.0, high=0.4)],
    )
    path = folder / "known.npz"
    replace(shot, constraints=to_text(known)).save(path)
    found = blender.run(
        "refine_checks.py", "imported", track=path, clip=arguments["clip"],
        connection=arguments["connection"],
    )  # fmt: skip
    assert found["pins"] == [["ibug68/30", OFFSET + 5, 600.0, 350.0, 2.0]]
    assert found["limits"] == [["jawOpen", 0.0, 0.4]]
    assert found["solved"] and found["source"] and found["count"] == 1
    assert found["gap"] < 3.5


def test_nothing_is_left_when_it_is_switched_off(blender: Any) -> None:
    found = blender.run("refine_checks.py", "leaving")
    assert found["on"][0] >= 1 and found["on"][2:] == [True, True, True, 1]
    assert found["off"] == [0, 0, False, False, False, 0]
    assert found["again"] == found["on"]


def test_panels_say_what_they_should(
    blender: Any, arguments: dict[str, Any], track_file: Path
) -> None:
    drawn = blender.run("refine_checks.py", "panels", track=track_file, clip=arguments["clip"])
    for text in ("Edit Pins", "320", "Solve Near Changes", "Solve Between Keyframes"):
        assert text in drawn["nothing"] and text in drawn["pins"]
    assert "not been solved with yet" in drawn["pins"]
    assert "not been solved" not in drawn["nothing"]
    assert "Ctrl Click" in drawn["pins"] and "Nose Tip" in drawn["pins"]
    assert "Ignore Current Frame" in drawn["frames"] and "Frame 4" in drawn["frames"]
    assert "Use Mask" in drawn["mask"] and "Update Mask" in drawn["mask in use"]
    assert "jawOpen" in drawn["limits"]
    assert "Lock Identity" in drawn["hold"] and "Sensor Width" not in drawn["hold"]
    assert "Sensor Width" in drawn["hold in use"]
    assert "Ignore Frame No Longer" in drawn["menu"]
    assert "Track again" in drawn["unknown"]
