"""Jobs that track: what the command line asks for is what a worker does."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from backend.cli.progress import make_view
from backend.cli.remote import RemoteSettings, TrackRequest, track_on_server
from backend.cli.rig_options import further_cameras
from backend.errors import CancelledError
from backend.footage import open_footage
from backend.picture_file import write_picture
from backend.samples import PERFORMANCE
from backend.server.runners import JobContext
from backend.server.track_job import run_track_job
from backend.settings import TrackSettings
from shared.jobs import ShotConstraints, TrackJob
from shared.messages import Event, FrameResult
from shared.rig import KnownCamera

RATE = Fraction(30000, 1001)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "shot"
    folder.mkdir()
    for frame in open_footage(PERFORMANCE, start=4, end=5):
        write_picture(folder / f"{frame.index:04d}.png", frame.image)
    return folder


def asked_for(clip: Path, monkeypatch: pytest.MonkeyPatch) -> TrackJob:
    """The job that the command line submits for pictures at `RATE`."""
    jobs: list[Any] = []

    def submit(server: object, job: TrackJob, *_: object, **__: object) -> None:
        jobs.append(job)
        raise CancelledError("enough")

    monkeypatch.setattr("backend.server.client.track_remote", submit)
    request = TrackRequest(TrackSettings(quality="preview"), ShotConstraints(), frame_rate=RATE)
    with pytest.raises(CancelledError):
        track_on_server(
            RemoteSettings("local"), clip, None, None, request, (640, 480), make_view(True)
        )
    assert isinstance(jobs[0], TrackJob)
    return jobs[0]


def test_pictures_have_the_rate_that_was_asked_for(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = asked_for(pictures, monkeypatch)
    events: list[Event] = []
    context = JobContext(events.append, lambda: False, "cpu", (str(pictures.parent),))
    assert run_track_job(job, context).frame_rate == (30000, 1001)
    times = [event.timestamp for event in events if isinstance(event, FrameResult)]
    assert max(times) == pytest.approx(float(1 / RATE))
    # Those of further cameras, too: else they would drift.
    (camera,) = further_cameras([pictures], [KnownCamera()], RATE)
    assert camera.footage.frame_rate == RATE
