"""Refine jobs at a real service: from a track file, and from a finished job, again and again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.errors import BadInputError, MienError
from backend.head.landmarks import layout
from backend.samples import PERFORMANCE
from backend.track import Track
from shared import messages as m

PINNED = 4
TIP = layout("ibug68").vertices[30]
"""Vertices about the tip of the nose."""


@pytest.fixture(scope="module")
def tracked(service: Any) -> tuple[str, list[Any], m.JobDone]:
    """A tracked range of the embedded performance: its job, events and last result."""
    clip = service.clips / PERFORMANCE.name
    clip.write_bytes(PERFORMANCE.read_bytes())
    job_id, events = m.new_job_id(), []
    job = m.TrackJob(clip=str(clip), start=2, end=8, texture_size=64)
    done = service.track(job, events.append, job_id=job_id)
    return job_id, events, done


def finals(events: list[Any]) -> dict[int, m.FrameResult]:
    return {
        event.frame_index: event
        for event in events
        if isinstance(event, m.FrameResult) and event.stage == "final"
    }


def pinned(frame: m.FrameResult, shift: float) -> m.ShotConstraints:
    assert frame.landmarks_2d is not None
    x, y = frame.landmarks_2d[30]
    pin = m.PinnedPoint(frame=frame.frame_index, point="ibug68/30", x=float(x) + shift, y=float(y))
    return m.ShotConstraints(pins=[pin])


def test_a_job_is_refined_again_and_again(service: Any, tracked: Any) -> None:
    job_id, events, done = tracked
    before = finals(events)
    assert sorted(before) == list(range(2, 9)) and done.focal_sd_percent > 0
    wanted = pinned(before[PINNED], 9.0)

    first_id, first = m.new_job_id(), []
    near = service.track(
        m.RefineJob(job=job_id, constraints=wanted, scope="near"), first.append, job_id=first_id
    )
    assert near.near_ms > 0 and near.whole_ms is None
    moved = finals(first)
    assert sorted(moved) == list(range(2, 9))
    gap = (moved[PINNED].vertices - before[PINNED].vertices)[TIP]
    # 9 px to the right at this focal length and distance.
    expected = 9.0 * before[PINNED].translation[2] / done.K[0, 0]
    assert 0.4 * expected < np.median(gap[:, 0]) < 1.3 * expected
    assert not [e for e in first if isinstance(e, m.ModelResult | m.TextureResult)]

    second: list[Any] = []
    whole = service.track(m.RefineJob(job=first_id, scope="whole"), second.append)
    assert whole.whole_ms > 0 and whole.near_ms is None and whole.focal_sd_percent > 0
    models = [event for event in second if isinstance(event, m.ModelResult)]
    assert [model.stage for model in models] == ["final"]
    assert sorted(finals(second)) == list(range(2, 9))
    # It was not told of the pin again, and keeps to it.
    kept = (finals(second)[PINNED].vertices - before[PINNED].vertices)[TIP]
    assert np.median(kept[:, 0]) > 0.4 * expected
    for event in finals(second).values():
        assert event.visibility is not None and event.landmarks_2d is not None


def test_a_worker_that_knows_nothing_reads_it_all_from_disk(service: Any, tracked: Any) -> None:
    job_id, events, _ = tracked
    wanted = pinned(finals(events)[PINNED], 6.0)
    first_id, there, again = m.new_job_id(), [], []
    job = m.RefineJob(job=job_id, constraints=wanted, scope="near")
    service.track(job, there.append, job_id=first_id)
    here: list[Any] = []
    service.track(m.RefineJob(job=first_id, scope="whole"), here.append)
    service.kill_worker()
    service.track(m.RefineJob(job=first_id, scope="whole"), again.append)
    one, two = finals(here), finals(again)
    for index in one:
        np.testing.assert_allclose(one[index].vertices, two[index].vertices, atol=2e-4)


def test_a_track_file_is_refined(service: Any, tracked: Any, known_shot: Any) -> None:
    path = service.clips / "small.npz"
    known_shot.track.save(path)
    # It has 20 landmarks: nothing that could be solved.
    with pytest.raises(BadInputError, match="20 landmarks"):
        service.track(m.RefineJob(track=str(path)))
    path.write_bytes(b"nothing")
    with pytest.raises(BadInputError, match=r"small\.npz: is damaged"):
        service.track(m.RefineJob(track=str(path)))


def test_what_cannot_be_refined_is_refused(service: Any, tracked: Any, tmp_path: Path) -> None:
    job_id, _, _ = tracked
    outside = tmp_path / "outside.npz"
    outside.write_bytes(b"x")
    with pytest.raises(MienError, match="outside"):
        service.track(m.RefineJob(track=str(outside)))
    with pytest.raises(BadInputError, match="not both"):
        service.track(m.RefineJob())
    with pytest.raises(BadInputError, match="no finished job"):
        service.track(m.RefineJob(job="f" * 32))
    with pytest.raises(MienError, match="outside"):
        under = m.ShotConstraints(mask=str(outside))
        service.track(m.RefineJob(job=job_id, constraints=under))
    diagnostic = m.new_job_id()
    service.track(m.DiagnosticJob(steps=1, size=4), job_id=diagnostic)
    with pytest.raises(BadInputError, match="none that tracks"):
        service.track(m.RefineJob(job=diagnostic))
    preview = m.new_job_id()
    clip = str(service.clips / PERFORMANCE.name)
    service.track(m.TrackJob(clip=clip, start=2, end=3, quality="preview"), job_id=preview)
    with pytest.raises(BadInputError, match="was a preview"):
        service.track(m.RefineJob(job=preview))
    wrong = m.ShotConstraints(pins=[m.PinnedPoint(frame=99, point="ibug68/30", x=1.0, y=2.0)])
    with pytest.raises(BadInputError, match="frame 99: the shot has frames 2 to 8"):
        service.track(m.RefineJob(job=job_id, constraints=wrong))
    hidden = m.TrackJob(
        clip=str(service.clips / PERFORMANCE.name), constraints=m.ShotConstraints(mask=str(outside))
    )
    with pytest.raises(MienError, match="outside"):
        service.track(hidden)


def test_the_file_of_the_command_line_is_what_the_service_takes(service: Any, tracked: Any) -> None:
    from backend.assembly import Known, ResultCollector

    job_id, events, _ = tracked
    collected = ResultCollector()
    for event in events:
        collected.take(event)
    track = collected.track(Known())
    assert isinstance(track, Track)
    path = service.clips / "shot.npz"
    track.save(path)
    wanted = pinned(finals(events)[PINNED], 5.0)
    from_file: list[Any] = []
    from_job: list[Any] = []
    service.track(m.RefineJob(track=str(path), constraints=wanted, scope="near"), from_file.append)
    service.track(m.RefineJob(job=job_id, constraints=wanted, scope="near"), from_job.append)
    one, two = finals(from_file), finals(from_job)
    np.testing.assert_allclose(one[PINNED].vertices, two[PINNED].vertices, atol=1e-4)
