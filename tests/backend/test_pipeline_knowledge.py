"""What somebody knows of a shot goes through the pipeline: lenses, constraints, rigs, persons."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backend.cameras import FurtherCamera
from backend.errors import BadInputError
from backend.evaluate.refine_speed import point_in_picture
from backend.fit.observations import distort
from backend.footage import Footage, Frame, open_footage
from backend.footage.undistorted import UndistortedFootage
from backend.head import Head
from backend.identity import build_person
from backend.live.settings import LiveSettings
from backend.person import Person
from backend.picture_file import write_picture
from backend.pipeline import run_track
from backend.samples import PERFORMANCE
from backend.settings import LensSettings, TrackSettings, known_focal_px
from backend.track import Track
from shared.conventions import intrinsics
from shared.jobs import ExpressionLimit, PinnedPoint, ShotConstraints
from shared.messages import CameraResult, Event

FIRST, LAST = 5, 10
PLAIN = TrackSettings(texture_size=0, device="cpu")


def footage() -> Footage:
    return open_footage(PERFORMANCE, start=FIRST, end=LAST)


@pytest.fixture(scope="module")
def plain() -> Track:
    return run_track(footage(), PLAIN)


def test_the_lens_is_in_the_track(plain: Track) -> None:
    assert plain.focal_sd_percent.shape == (1,) and 0 < plain.focal_sd_percent[0] < 100
    settings = replace(PLAIN, focal_mm=40.0, sensor_mm=36.0, principal_point=(330.0, 225.0))
    width, height = plain.image_size.tolist()
    track = run_track(footage(), settings)
    np.testing.assert_allclose(track.focal_px, 40.0 * width / 36.0, rtol=1e-6)
    np.testing.assert_allclose(track.K[:, :2, 2], [[330.0, 225.0]] * track.n_frames)
    assert track.focal_sd_percent.size == 0
    # The head is where it is seen, whichever point the axis meets.
    for one in (plain, track):
        seen = one.vertices @ one.K[0].T.astype(np.float32)
        middle = np.median(seen[..., :2] / seen[..., 2:], axis=1)
        face = np.median(one.landmarks_2d, axis=1)
        assert np.abs(middle - face).max() < 0.2 * height
    zoomed = run_track(footage(), replace(PLAIN, zoom=True))
    assert 0 < np.ptp(zoomed.focal_px) < 0.1 * zoomed.focal_px[0]
    np.testing.assert_array_equal(zoomed.K[:, 0, 0], zoomed.focal_px)


def test_distortion_is_taken_out_of_landmarks_and_pictures() -> None:
    """A lens bends a grid; the footage without it is straight again."""
    lens, size = (-0.15, 0.02, 0.0), (200, 160)
    K = intrinsics(180.0, size)

    class Bent(Footage):
        path, image_size, n_frames, warnings = Path("bent"), size, 1, []

        def __iter__(self):  # type: ignore[no-untyped-def]
            x, y = np.meshgrid(np.arange(200.0), np.arange(160.0))
            # What a pixel of the bent picture shows: where it lies in the straight one.
            straight = np.stack([x, y], -1)
            for _ in range(20):
                straight += np.stack([x, y], -1) - distort(straight, K[:2, 2], 180.0, lens)
            bars = 127 + 120 * np.sin(straight[..., 0] / 5)
            yield Frame(0, 0.0, np.repeat(bars[..., None], 3, 2).astype(np.uint8))

    Bent.frame_rate = 25  # type: ignore[assignment]
    image = next(iter(UndistortedFootage(Bent(), K, lens))).image.astype(np.float64)
    wanted = 127 + 120 * np.sin(np.arange(200.0) / 5)
    inner = image[30:130, 40:160, 0] - wanted[40:160]
    assert np.abs(inner).mean() < 3.0
    bent = next(iter(Bent())).image[30:130, 40:160, 0] - wanted[40:160]
    assert np.abs(bent).mean() > 5 * np.abs(inner).mean()
    with pytest.raises(BadInputError, match="focal length"):
        run_track(footage(), replace(PLAIN, distortion=lens))


def test_distortion_goes_with_the_track(plain: Track) -> None:
    settings = replace(PLAIN, focal_px=800.0, distortion=(-0.05, 0.0, 0.0))
    track = run_track(footage(), settings)
    assert track.distortion.tolist() == [-0.05, 0.0, 0.0]
    np.testing.assert_array_equal(track.landmarks_2d, plain.landmarks_2d)


def test_constraints_reach_the_fit(plain: Track, tmp_path: Path) -> None:
    names = plain.expression_names
    most = int(plain.expression.max(0).argmax())
    limit = 0.3 * float(plain.expression[:, most].max())
    width, height = plain.image_size.tolist()
    mask = np.zeros((height, width, 3), np.uint8)
    chin = np.nanmean(plain.landmarks_2d[:, 8], axis=0)
    mask[int(chin[1]) - 12 :] = 255
    write_picture(tmp_path / "mask.png", mask)
    nose = plain.landmarks_2d[2, 30]
    wanted = nose + [7.0, 0.0]
    constraints = ShotConstraints(
        pins=[
            PinnedPoint(frame=FIRST + 2, point="ibug68/30", x=float(wanted[0]), y=float(wanted[1]))
        ],
        limits=[ExpressionLimit(name=names[most], low=0.0, high=limit)],
        mask=str(tmp_path / "mask.png"),
        neutral=FIRST + 4,
        ignore_frames=[(FIRST + 1, FIRST + 1)],
    )
    track = run_track(footage(), PLAIN, constraints=constraints)
    hidden = np.isinf(track.landmark_sigma)
    assert 0 < hidden.sum() < 0.3 * hidden.size
    across, down = np.moveaxis(track.landmarks_2d, -1, 0)
    inside = (across > 0) & (across < width - 1) & (down < height - 1)
    below = inside & (down > chin[1] - 11)
    assert hidden[below].all() and not hidden[track.landmarks_2d[..., 1] < chin[1] - 13].any()
    assert track.expression[:, most].max() <= limit + 1e-6
    assert np.abs(track.expression[4]).max() == 0.0
    assert '"neutral":9' in track.constraints and "mask.png" in track.constraints
    assert track.found.all()
    head = Head.load()
    tips = [point_in_picture(head, one, 2) for one in (plain, track)]
    assert np.linalg.norm(tips[1] - wanted) < 0.5 * np.linalg.norm(tips[0] - wanted)
    with pytest.raises(BadInputError, match="final quality"):
        run_track(footage(), replace(PLAIN, quality="preview"), constraints=constraints)
    events: list[Event] = []
    with pytest.raises(BadInputError, match="neutral frame 99"):
        run_track(footage(), PLAIN, events.append, constraints=ShotConstraints(neutral=99))
    assert not events, "an hour may have gone by"


def test_several_cameras_are_one_shot(plain: Track) -> None:
    """The same clip as a second camera that stands where the first does, and knows it."""
    events: list[Event] = []
    other = open_footage(PERFORMANCE, start=FIRST + 1, end=LAST)
    camera = FurtherCamera(other, 0.0, np.eye(3), np.zeros(3))
    track = run_track(footage(), PLAIN, events.append, cameras=[camera])
    results = [event for event in events if isinstance(event, CameraResult)]
    assert [(r.number, r.is_given) for r in results] == [(0, True), (1, True)]
    assert track.rig_clips == (str(PERFORMANCE), str(PERFORMANCE))
    np.testing.assert_allclose(track.rig_rotation[1], np.eye(3), atol=1e-6)
    # It starts a frame later.
    assert np.isnan(track.rig_landmarks_2d[1, 0]).all()
    np.testing.assert_allclose(track.rig_landmarks_2d[1, 3], plain.landmarks_2d[3], atol=3.0)
    np.testing.assert_allclose(track.rig_K[0], track.K[0])
    assert abs(track.rig_K[1, 0, 0] / track.rig_K[0, 0, 0] - 1) < 0.05
    for settings, says in (
        (replace(PLAIN, zoom=True), "one camera"),
        (replace(PLAIN, focal_px=800.0, distortion=(0.1, 0.0, 0.0)), "undistort"),
        (replace(PLAIN, quality="preview"), "final quality"),
        (replace(PLAIN, focal_px=800.0), "all cameras, or of none"),
    ):
        told: list[Event] = []
        with pytest.raises(BadInputError, match=says):
            run_track(footage(), settings, told.append, cameras=[camera])
        assert not told


def test_a_person_is_kept(plain: Track, tmp_path: Path) -> None:
    clip = tmp_path / PERFORMANCE.name
    clip.write_bytes(PERFORMANCE.read_bytes())
    person = build_person([clip], focal_px={0: 900.0}, device="cpu")
    assert person.sources[0].frames >= 12 and person.sources[0].focal_px == pytest.approx(900.0)
    path = tmp_path / "anna.npz"
    person.save(path)
    track = run_track(footage(), replace(PLAIN, person=path))
    np.testing.assert_array_equal(track.identity, person.identity)
    assert track.person == "anna.npz"
    again = run_track(open_footage(PERFORMANCE, start=20, end=23), replace(PLAIN, person=path))
    np.testing.assert_allclose(again.rest_vertices, track.rest_vertices, atol=1e-6)
    preview = run_track(footage(), replace(PLAIN, person=path, quality="preview"))
    np.testing.assert_allclose(preview.rest_vertices, track.rest_vertices, atol=1e-6)
    with pytest.raises(BadInputError, match="not a person"):
        plain.save(path)
        Person.load(path)


@pytest.mark.parametrize(
    "settings",
    [
        TrackSettings(focal_px=800.0, focal_mm=35.0, sensor_mm=36.0),
        TrackSettings(focal_mm=35.0),
        TrackSettings(focal_mm=-3.0, sensor_mm=36.0),
        TrackSettings(focal_mm=35.0, sensor_mm=0.0),
        TrackSettings(focal_px=800.0, field_of_view_deg=60.0),
        TrackSettings(field_of_view_deg=180.0),
        LiveSettings(focal_px=800.0, field_of_view_deg=60.0),
    ],
)
def test_focal_lengths_that_are_none(settings: LensSettings) -> None:
    with pytest.raises(BadInputError):
        known_focal_px(settings, (1920, 1080))


def test_focal_lengths() -> None:
    for settings in (TrackSettings, LiveSettings):
        assert known_focal_px(settings(), (640, 480)) is None
        assert known_focal_px(settings(focal_px=500.0), (640, 480)) == 500.0
        assert known_focal_px(settings(focal_mm=18.0, sensor_mm=36.0), (640, 480)) == 320.0
        angle = known_focal_px(settings(field_of_view_deg=90.0), (640, 480))
        assert angle == pytest.approx(320.0)
