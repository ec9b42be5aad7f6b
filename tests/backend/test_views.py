"""Several cameras: rig files and offsets, pictures of different sizes, and the solved cameras."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from backend.cli.rig_options import RigFlag, RigSettings
from backend.errors import BadInputError
from backend.evaluate.scans import RecordedShot, Recording, record
from backend.fit import FitSettings, fit_views
from backend.head import Head
from backend.rig_file import read_offsets, read_rig
from backend.settings import TrackSettings, known_focal_px
from backend.views import View, camera_results, stack

CLIPS = (Path("/shot/A.mp4"), Path("/shot/B.mp4"), Path("/shot/C.mov"))
TURN = Rotation.from_euler("y", 40, degrees=True)


def entry(clip: str, R: Rotation | None, T: object, **more: object) -> dict[str, object]:
    place = {} if R is None else {"R": R.as_matrix().tolist(), "T": T}
    return {"clip": clip, **place, **more}


def write(path: Path, *cameras: dict[str, object]) -> Path:
    path.write_text(json.dumps({"cameras": cameras}))
    return path


def test_a_rig_is_told_about_its_first_camera(tmp_path: Path) -> None:
    """The file's own frame is that of no camera; a point goes the same way by both."""
    world = Rotation.from_euler("xyz", [20, -30, 5], degrees=True)
    rig = write(
        tmp_path / "rig.json",
        entry("elsewhere/B.mp4", TURN * world, [0.3, 0.1, 1.0], f=900.0, offset=2.5),
        entry("A.mp4", world, [-0.1, 0.2, 2.0], f=1200.0),
        entry("spare.mp4", world, [0, 0, 0]),
    )
    first, second = read_rig(rig, CLIPS[:2])
    np.testing.assert_allclose(first.rotmat, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(first.translation, 0.0, atol=1e-12)
    assert (first.focal_px, second.focal_px, second.offset) == (1200.0, 900.0, 2.5)
    point = np.array([0.4, -0.3, 0.2])
    in_first = world.apply(point) + [-0.1, 0.2, 2.0]
    in_second = (TURN * world).apply(point) + [0.3, 0.1, 1.0]
    np.testing.assert_allclose(second.rotmat @ in_first + second.translation, in_second)


@pytest.mark.parametrize(
    ("cameras", "says"),
    [
        ([entry("A.mp4", TURN, [0, 0, 0])], '0 cameras with the clip "B.mp4"'),
        ([entry("A.mp4", TURN, [0, 0, 0]), entry("B.mp4", None, None)], "not of B.mp4"),
        ([entry("A.mp4", None, None), entry("B.mp4", None, None, f=-1)], "must be positive"),
        ([entry("A.mp4", None, None), entry("B.mp4", None, None, F=1)], "is not a rig"),
        (
            [entry("A.mp4", TURN, [0, 0, 0]),
             {"clip": "B.mp4", "R": [[2, 0, 0], [0, 1, 0], [0, 0, 1]], "T": [0, 0, 0]}],
            "R of B.mp4 is not a rotation",
        ),
    ],
)  # fmt: skip
def test_rig_files_that_cannot_be_used(
    tmp_path: Path, cameras: list[dict[str, object]], says: str
) -> None:
    with pytest.raises(BadInputError, match=rf"rig\.json: .*{says}"):
        read_rig(write(tmp_path / "rig.json", *cameras), CLIPS[:2])
    with pytest.raises(BadInputError, match=r"gone\.json: cannot be read"):
        read_rig(tmp_path / "gone.json", CLIPS[:2])


def test_clips_of_one_name_are_told_by_their_folders(tmp_path: Path) -> None:
    """As cameras number them: each card has its own C0001.mp4."""
    clips = [Path("/shot/left/C0001.mp4"), Path("/shot/right/C0001.mp4")]
    entries = [
        entry(f"{folder}/C0001.mp4", None, None, f=focal)
        for folder, focal in (("shot/right", 900.0), ("left", 1200.0))
    ]
    known = read_rig(write(tmp_path / "rig.json", *entries), clips)
    assert [camera.focal_px for camera in known] == [1200.0, 900.0]
    alone = write(tmp_path / "one.json", entry("C0001.mp4", TURN, [0, 0, 0]))
    with pytest.raises(BadInputError, match=r'one camera for several clips .*"right/C0001.mp4"'):
        read_rig(alone, clips)
    both = write(tmp_path / "two.json", *[entry("C0001.mp4", TURN, [0, 0, 0])] * 2)
    with pytest.raises(BadInputError, match=r"has 2 cameras .*with their folders"):
        read_rig(both, clips)


def test_focal_lengths_of_the_file_come_before_the_one_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Opened:
        image_size = (1000, 500)

    monkeypatch.setattr("backend.footage.open_footage", lambda clip: Opened())
    rig = write(
        tmp_path / "rig.json", entry("A.mp4", None, None, f=1200.0), entry("B.mp4", None, None)
    )
    settings = TrackSettings(focal_mm=36.0, sensor_mm=24.0)
    first, further = RigSettings(rig=RigFlag(rig)).cameras(CLIPS[:2], settings)
    assert known_focal_px(first, (1000, 500)) == 1200.0
    assert [camera.focal_px for camera in further] == [1500.0]
    assert RigSettings(rig=RigFlag()).cameras(CLIPS[:2], TrackSettings())[0] == TrackSettings()


def test_offsets_name_clips() -> None:
    assert read_offsets(["B=+3.5", "C.mov=-2"], CLIPS) == {1: 3.5, 2: -2.0}
    assert read_offsets(["2=1", "A=0"], CLIPS) == {1: 1.0, 0: 0.0}
    for text in ("B", "B=x", "D=1", "B=nan", "A=2", "4=1"):
        with pytest.raises(BadInputError, match="--offset"):
            read_offsets([text], CLIPS)


@pytest.fixture(scope="module")
def recorded() -> RecordedShot:
    return record(Head.load(), Recording(frames=6, cameras=2, seed=5, noise=0.001, occluders=0.0))


def views(shot: RecordedShot, size: float, places: bool, focals: bool) -> list[View]:
    """The second camera's pictures are `size` times as large in every direction."""
    width, height = shot.image_size
    middle = (np.array(shot.image_size) - 1) / 2
    large = (round(width * size), round(height * size))
    centre = (np.array(large) - 1) / 2
    second = (shot.landmarks_2d[:, 1] - middle) * size + centre
    found = np.ones(6, bool)
    found[2] = False
    place = [(np.eye(3), np.zeros(3)), (shot.camera_rotmat[1], shot.camera_translation[1])]
    return [
        View(
            f"/{number}.mp4", 0.0, picture, points.astype(np.float32),
            (shot.landmark_sigma[:, number] * grown).astype(np.float32), seen, None,
            *(place[number] if places else (None, None)),
            shot.focal_px * grown if focals else None,
        )
        for number, (picture, points, grown, seen) in enumerate(
            [(shot.image_size, shot.landmarks_2d[:, 0], 1.0, np.ones(6, bool)),
             (large, second, size, found)]
        )
    ]  # fmt: skip


@pytest.mark.parametrize(("places", "focals"), [(False, False), (True, False), (True, True)])
def test_pictures_of_other_sizes_give_the_same_cameras(
    recorded: RecordedShot, places: bool, focals: bool
) -> None:
    shot, both = recorded, views(recorded, 1.5, places, focals)
    stacked = stack(both)
    np.testing.assert_allclose(stacked.landmarks_2d[:, 1], shot.landmarks_2d[:, 1], atol=0.02)
    assert stacked.to_first(1, tuple(both[1].centre)) == pytest.approx(tuple(both[0].centre))
    fit = fit_views(
        shot.head, shot.layout_name, stacked.landmarks_2d, stacked.landmark_sigma, stacked.found,
        shot.image_size, FitSettings(correction_mm=0.0), rig=stacked.rig,
    )  # fmt: skip
    first, second = camera_results(both, stacked, fit)
    between = Rotation.from_matrix(second.rotation @ shot.camera_rotmat[1].T)
    assert np.degrees(between.magnitude()) < (1e-4 if places else 1.5)
    limit = 1e-5 if focals else 0.05
    assert abs(first.K[0, 0] / shot.focal_px - 1) < limit
    assert abs(second.K[0, 0] / (1.5 * shot.focal_px) - 1) < limit
    assert (first.is_given, second.is_given) == (places, places)
    assert second.image_size == (1920, 1080)
    assert np.isnan(second.landmarks_2d[2]).all() and np.isfinite(second.landmarks_2d[3]).all()


def test_focal_lengths_alone_are_held(recorded: RecordedShot) -> None:
    both = views(recorded, 1.5, False, True)
    both[1] = replace(both[1], focal_px=1.1 * recorded.focal_px * 1.5)
    stacked = stack(both)
    assert stacked.rig is None
    np.testing.assert_allclose(stacked.scale[1] * both[1].focal_px, recorded.focal_px)
    with pytest.raises(BadInputError, match="all cameras, or of none"):
        stack([both[0], replace(both[1], focal_px=None)])
    with pytest.raises(BadInputError, match="there are 2"):
        stacked.to_first(2, (0.0, 0.0))
