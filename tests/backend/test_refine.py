"""A shot solved again: pins near and over the whole shot, against a simulated truth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from backend.errors import BadInputError, CancelledError
from backend.evaluate.fit_recovery import Simulation
from backend.evaluate.refine_speed import point_in_picture, run, simulated_track
from backend.evaluate.settings import BenchSettings
from backend.head import Head
from backend.head.landmarks import layout
from backend.picture_file import write_picture
from backend.refine import BLEND, REACH, changed_frames, refine_track
from backend.solved import Solved
from backend.stages import Reporter
from backend.track import Track
from shared.jobs import ExpressionLimit, PinnedPoint, ShotConstraints
from shared.messages import Event, FrameResult, ModelResult

FRAMES, PINNED = 30, 12


@dataclass(frozen=True)
class Case:
    head: Head
    track: Track


@pytest.fixture(scope="module")
def case() -> Case:
    """A fitted shot with frames 100 to 129, as a track."""
    head = Head.load()
    return Case(head, simulated_track(head, Simulation(frames=FRAMES, seed=3, noise_px=0.5), 100))


def tip(case: Case, track: Track, row: int) -> np.ndarray:
    """The nose's tip in pixels."""
    return point_in_picture(case.head, track, row)


def pin_at(case: Case, shift: tuple[float, float], frame: int = 100 + PINNED) -> PinnedPoint:
    x, y = tip(case, case.track, frame - 100) + shift
    return PinnedPoint(frame=frame, point="ibug68/30", x=float(x), y=float(y))


def test_a_track_gives_back_the_solve_that_made_it(case: Case) -> None:
    solved = Solved.of(case.track)
    assert solved.settings.focal_px is None, "the focal length was solved"
    rest = solved.person.shape(
        torch.from_numpy(case.track.identity), torch.zeros(case.head.n_expression)
    )
    np.testing.assert_allclose(rest.numpy(), case.track.rest_vertices, atol=1e-6)
    again = refine_track(case.track)
    assert again.near_rows == () and again.near_ms == 0.0 and again.whole_ms > 0
    # In the picture: depth and focal length are a flat valley.
    moved = [tip(case, again.track, row) - tip(case, case.track, row) for row in range(FRAMES)]
    assert np.linalg.norm(moved, axis=1).max() < 2.0
    assert abs(again.track.focal_px[0] / case.track.focal_px[0] - 1) < 0.05


def test_a_pin_moves_its_frame_and_leaves_the_far_ones(case: Case) -> None:
    wanted = ShotConstraints(pins=[pin_at(case, (8.0, -5.0))])
    target = np.array([wanted.pins[0].x, wanted.pins[0].y])
    events: list[Event] = []
    near = refine_track(
        case.track, wanted, whole=False, report=Reporter(events.append, lambda: False)
    )
    assert near.near_rows == ((PINNED - REACH, PINNED + REACH + 1),) and near.whole_ms is None
    before = np.linalg.norm(tip(case, case.track, PINNED) - target)
    assert np.linalg.norm(tip(case, near.track, PINNED) - target) < 0.3 * before
    rows = np.arange(FRAMES)
    far = (rows < PINNED - REACH) | (rows > PINNED + REACH)
    np.testing.assert_array_equal(near.track.expression[far], case.track.expression[far])
    np.testing.assert_allclose(near.track.vertices[far], case.track.vertices[far], atol=1e-5)
    np.testing.assert_array_equal(near.track.identity, case.track.identity)
    # No jump where the new frames meet the old ones.
    path = np.array([tip(case, near.track, row) - tip(case, case.track, row) for row in rows])
    step = np.abs(np.diff(path, axis=0)).max(1)
    assert step[[PINNED - REACH - 1, PINNED + REACH]].max() < 0.5 * before / BLEND
    streamed = [event.frame_index for event in events if isinstance(event, FrameResult)]
    assert streamed == list(range(100 + PINNED - REACH, 100 + PINNED + REACH + 1))
    np.testing.assert_array_equal(near.track.texture, case.track.texture)
    # The next solve knows what this one was told.
    again = refine_track(near.track, wanted, whole=False)
    assert again.near_rows == ()


def test_the_whole_solve_takes_the_person_along(case: Case) -> None:
    wanted = ShotConstraints(
        pins=[pin_at(case, (8.0, -5.0))],
        limits=[ExpressionLimit(name="jawOpen", low=0.0, high=0.05)],
        neutral=105,
        ignore_frames=[(120, 121)],
    )
    events: list[Event] = []
    result = refine_track(case.track, wanted, report=Reporter(events.append, lambda: False))
    track = result.track
    jaw = track.expression_names.index("jawOpen")
    assert case.track.expression[:, jaw].max() > 0.1
    assert track.expression[:, jaw].max() <= 0.05 + 1e-6
    assert np.abs(track.expression[5]).max() < 1e-6 < np.abs(case.track.expression[5]).max()
    target = np.array([wanted.pins[0].x, wanted.pins[0].y])
    assert np.linalg.norm(tip(case, track, PINNED) - target) < 0.5 * np.hypot(8, 5)
    assert np.isfinite(track.vertices).all() and track.focal_sd_percent[0] > 0
    models = [event for event in events if isinstance(event, ModelResult)]
    assert len(models) == 1
    np.testing.assert_array_equal(models[0].identity, track.identity)
    # Size and lens stay; the correction answers.
    np.testing.assert_array_equal(track.identity, case.track.identity)
    assert np.abs(track.rest_vertices - case.track.rest_vertices).max() > 1e-5


def test_a_given_focal_length_is_held_from_then_on(case: Case, tmp_path: Path) -> None:
    result = refine_track(case.track, focal_px=1500.0, near=False)
    np.testing.assert_allclose(result.track.focal_px, 1500.0, rtol=1e-6)
    assert result.track.focal_sd_percent.size == 0
    result.track.save(tmp_path / "shot.npz")
    again = refine_track(Track.load(tmp_path / "shot.npz"), near=False)
    np.testing.assert_allclose(again.track.focal_px, 1500.0, rtol=1e-6)


def test_a_wide_pin_pulls_less_than_an_exact_one(case: Case) -> None:
    left = {}
    for sigma in (0.5, 40.0):
        pin = msgspec.structs.replace(pin_at(case, (8.0, -5.0)), sigma_px=sigma)
        near = refine_track(case.track, ShotConstraints(pins=[pin]), whole=False)
        left[sigma] = np.linalg.norm(tip(case, near.track, PINNED) - [pin.x, pin.y])
    assert left[0.5] < 3.0 < left[40.0]


def test_a_mask_hides_what_lies_under_it_and_can_be_taken_back(case: Case, tmp_path: Path) -> None:
    width, height = case.track.image_size.tolist()
    wrong = case.track.landmarks_2d.copy()
    # The detector has seen all of the lower face where it is not, for a while.
    low = wrong[..., 1] > wrong[:, 30:31, 1]
    low[: PINNED - 1], low[PINNED + 2 :] = False, False
    wrong[low] += (0.0, 12.0)
    track = replace(case.track, landmarks_2d=wrong)
    first, last = int(track.frame_index[0]), int(track.frame_index[-1])
    folder = tmp_path / "mask"
    folder.mkdir()
    for frame in range(last + 1):
        picture = np.zeros((height, width, 3), np.uint8)
        if abs(frame - first - PINNED) <= 1:
            left, top = (wrong[frame - first][low[frame - first]].min(0) - 3).astype(int)
            picture[top:, left:] = 255
        write_picture(folder / f"mask_{frame:04d}.png", picture)
    wanted = ShotConstraints(mask=str(folder / "mask_####.png"))
    spoilt = refine_track(track, near=False).track
    masked = refine_track(spoilt, wanted)
    assert masked.near_rows == ((PINNED - 1 - REACH, PINNED + REACH + 2),)
    lips = layout("ibug68").vertices[48:68, 0]

    def seen(one: Track) -> np.ndarray:
        points = one.vertices[PINNED][lips] @ one.K[PINNED].T
        return points[:, :2] / points[:, 2:]

    def gap(one: Track) -> float:
        return float(np.linalg.norm(seen(one) - seen(case.track), axis=1).mean())

    assert gap(masked.track) < 0.6 * gap(spoilt)
    # The landmarks are kept, so that the next mask may be another one.
    assert np.isfinite(masked.track.landmark_sigma).all()
    assert refine_track(masked.track, wanted, whole=False).near_rows == ()
    free = refine_track(masked.track, ShotConstraints(), whole=False)
    assert free.near_rows == masked.near_rows and gap(free.track) > gap(masked.track)


def test_a_pin_where_a_mask_hides_the_face_waits_for_the_whole_solve(case: Case) -> None:
    sigma = case.track.landmark_sigma.copy()
    sigma[: PINNED + REACH] = np.inf
    wanted = ShotConstraints(pins=[pin_at(case, (8.0, 0.0), 103)])
    result = refine_track(replace(case.track, landmark_sigma=sigma), wanted)
    assert result.near_rows == ((0, 3 + REACH + 1),) and result.whole_ms is not None
    assert np.isfinite(result.track.vertices).all()


def test_the_person_can_be_held_and_the_lens_can_be_let_go(case: Case) -> None:
    wanted = ShotConstraints(pins=[pin_at(case, (8.0, -5.0))], neutral=105, further_neutrals=[110])
    held = refine_track(case.track, wanted, near=False, hold_person=True).track
    np.testing.assert_allclose(held.rest_vertices, case.track.rest_vertices, atol=1e-6)
    assert np.abs(held.expression[[5, 10]]).max() < 1e-6
    assert np.linalg.norm(tip(case, held, PINNED) - [wanted.pins[0].x, wanted.pins[0].y]) < 4.7
    zoom = refine_track(held, near=False, focal_mode="zoom").track
    assert np.ptp(zoom.focal_px) > 0
    one = refine_track(zoom, near=False, focal_mode="solve").track
    assert np.ptp(one.focal_px) == 0.0 and one.focal_sd_percent[0] > 0


def test_what_has_changed_is_found() -> None:
    a, b = (PinnedPoint(frame=f, point="vertex/3", x=1.0, y=2.0) for f in (4, 9))
    moved = PinnedPoint(frame=9, point="vertex/3", x=1.5, y=2.0)
    before = ShotConstraints(pins=[a, b], ignore_frames=[(20, 21)], neutral=3)
    assert changed_frames(before, before) == []
    assert changed_frames(before, ShotConstraints(pins=[a, moved])) == [3, 9, 20, 21]
    assert changed_frames(ShotConstraints(), before) == [3, 4, 9, 20, 21]


def test_refusals_and_cancelling(case: Case) -> None:
    with pytest.raises(BadInputError, match="100 to 129"):
        refine_track(
            case.track,
            ShotConstraints(pins=[PinnedPoint(frame=12, point="vertex/3", x=1.0, y=2.0)]),
        )
    with pytest.raises(BadInputError, match="camera 1"):
        refine_track(
            case.track,
            ShotConstraints(pins=[PinnedPoint(frame=112, point="vertex/3", x=1, y=2, camera=1)]),
        )
    with pytest.raises(BadInputError, match=r"new\.png"):
        refine_track(case.track, ShotConstraints(mask="/masks/new.png"))
    with pytest.raises(BadInputError, match="landmarks"):
        few = replace(
            case.track,
            landmarks_2d=case.track.landmarks_2d[:, :68],
            landmark_sigma=case.track.landmark_sigma[:, :68],
        )
        refine_track(few)
    with pytest.raises(BadInputError, match=r"is a preview.*final quality"):
        refine_track(replace(case.track, identity=np.zeros_like(case.track.identity)))
    with pytest.raises(
        BadInputError, match="Nothing is left to fit: all is hidden by the ignored frames"
    ):
        refine_track(case.track, ShotConstraints(ignore_frames=[(0, 200)]))
    with pytest.raises(CancelledError):
        refine_track(
            case.track,
            ShotConstraints(pins=[pin_at(case, (5.0, 0.0))]),
            report=Reporter(lambda event: None, lambda: True),
        )


def test_the_bench_gives_its_figures() -> None:
    figures = run(BenchSettings(quick=True))
    assert set(figures) == {
        "refine_ms", "refine_cpu_ms", "refine_first_ms", "refine_whole_60_ms",
        "refine_whole_60_cpu_ms", "refine_left_percent",
    }  # fmt: skip
    assert 0 < figures["refine_ms"] < figures["refine_whole_60_ms"]
    assert figures["refine_left_percent"] < 30
