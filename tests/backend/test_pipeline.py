"""The pipeline in this process: what it reports and when, and that it stops when told to."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from backend.cli.progress import STAGES
from backend.errors import BadInputError, CancelledError
from backend.footage import Footage, open_footage
from backend.pipeline import run_track
from backend.samples import PERFORMANCE
from backend.settings import TrackSettings
from backend.stages import warn_of_lens
from shared.messages import Event, FrameResult, ModelResult, Progress, TextureResult

FRAMES = 3


@pytest.fixture
def footage() -> Footage:
    return open_footage(PERFORMANCE, start=5, end=5 + FRAMES - 1)


def test_results_come_in_order_and_make_the_track(footage: Footage) -> None:
    events: list[Event] = []
    track = run_track(footage, TrackSettings(texture_size=64), events.append)

    results = [event for event in events if not isinstance(event, Progress)]
    # What covers the face may change what is seen of frames: these come once more, before the last.
    again = results[8:-1]
    results = [*results[:8], results[-1]]
    frames = [5, 6, 7]
    assert [type(event) for event in results] == [
        ModelResult, *[FrameResult] * FRAMES, ModelResult, *[FrameResult] * FRAMES, TextureResult,
    ]  # fmt: skip
    assert [event.stage for event in results[:-1]] == ["preview"] * 4 + ["final"] * 4
    assert [event.frame_index for event in results if isinstance(event, FrameResult)] == frames * 2
    previews, finals = results[1:4], results[5:8]
    assert all(event.vertices is None and event.visibility is None for event in previews)
    np.testing.assert_array_equal(np.stack([event.vertices for event in finals]), track.vertices)
    newest = {event.frame_index: event for event in (*finals, *again)}
    assert list(newest) == frames and len(again) <= FRAMES
    for name in ("vertices", "visibility", "soft_visibility"):
        told = np.stack([getattr(event, name) for event in newest.values()])
        np.testing.assert_array_equal(told, getattr(track, name), err_msg=name)
    np.testing.assert_array_equal(results[4].identity, track.identity)
    np.testing.assert_array_equal(results[-1].texture, track.texture)

    stages = [(event.stage, event.fraction) for event in events if isinstance(event, Progress)]
    assert list(dict.fromkeys(stage for stage, _ in stages)) == [
        "detect", "fit", "pose", "cover", "texture",
    ]  # fmt: skip
    # Every stage has its share of the whole job: a farm's percentages would jump otherwise.
    assert [stage for stage, _ in dict(stages).items()] == list(STAGES)
    assert all(a[0] != b[0] or a[1] <= b[1] for a, b in pairwise(stages)), "progress fell"
    assert {stage: fraction for stage, fraction in stages} == dict.fromkeys(
        ("detect", "fit", "pose", "cover", "texture"), 1.0
    )


@pytest.mark.parametrize("stage", ["detect", "fit", "pose", "texture"])
def test_a_cancelled_job_stops_in_every_stage(footage: Footage, stage: str) -> None:
    seen: list[str] = []

    def note(event: Event) -> None:
        if isinstance(event, Progress):
            seen.append(event.stage)

    with pytest.raises(CancelledError):
        run_track(footage, TrackSettings(texture_size=64), note, lambda: stage in seen)
    # It may have been told once more while it was on its way, not more.
    assert seen.count(stage) <= 2


def test_a_given_focal_length_is_kept(footage: Footage) -> None:
    track = run_track(footage, TrackSettings(focal_px=700.0, texture_size=0))
    np.testing.assert_allclose(track.focal_px, 700, rtol=1e-6)
    np.testing.assert_array_equal(track.K[:, 0, 0], track.focal_px)
    assert track.texture.size == 0


def test_the_preview_is_what_was_streamed(footage: Footage) -> None:
    events: list[Event] = []
    track = run_track(footage, TrackSettings(quality="preview"), events.append)
    previews = [e for e in events if isinstance(e, FrameResult) and e.stage == "preview"]
    np.testing.assert_array_equal(track.translation, np.stack([e.translation for e in previews]))
    np.testing.assert_array_equal(track.expression, np.stack([e.expression for e in previews]))
    assert not track.identity.any() and track.texture.size == 0
    assert "fit" not in {event.stage for event in events if isinstance(event, Progress)}


@pytest.mark.parametrize(
    ("distortion", "folds_at"),
    [
        # K1 alone stops rising at r = 1 / sqrt(-3 K1), where two thirds of r are seen.
        ((-5.0, 0.0, 0.0), 1000 * 2 / 3 / 15**0.5),
        ((-0.05, 0.0, 0.0), None),
        ((0.4, 0.1, 0.0), None),
        (None, None),
    ],
)
def test_a_distortion_that_no_lens_has_is_said(
    footage: Footage,
    distortion: tuple[float, float, float] | None,
    folds_at: float | None,
) -> None:
    footage.warnings.clear()
    warn_of_lens(TrackSettings(focal_px=1000.0, distortion=distortion), footage)
    assert len(footage.warnings) == (folds_at is not None)
    if folds_at is not None:
        assert f"folds the picture over itself {folds_at:.0f} pixels" in footage.warnings[0]
    footage.warnings.clear()


@pytest.mark.parametrize(
    "settings",
    [
        TrackSettings(texture_size=1000),
        TrackSettings(texture_size=32),
        TrackSettings(focal_px=-1.0),
        TrackSettings(device="abacus"),
        TrackSettings(subject=(9000.0, 100.0)),
        TrackSettings(subject=(10.0, -3.0), subject_frame=2),
    ],
)
def test_settings_that_cannot_work_are_refused(footage: Footage, settings: TrackSettings) -> None:
    with pytest.raises(BadInputError):
        run_track(footage, settings)
