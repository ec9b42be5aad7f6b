"""Work on a running server: submit, follow, put the results together."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import tyro

from backend.errors import MienError
from backend.settings import TrackSettings

if TYPE_CHECKING:
    from backend.cli.progress import ProgressView
    from backend.person import Person
    from backend.track import Track
    from shared.jobs import Job, ShotConstraints
    from shared.rig import KnownCamera


@dataclass(frozen=True)
class RemoteSettings:
    """Which server to use, if any."""

    server: Annotated[str | None, tyro.conf.arg(metavar="ADDRESS")] = None
    """Work on a running `mien serve` instead of in this process: tcp://HOST:PORT, the path of a
    connection file, or "local" for this user's own server."""
    server_key: Annotated[str | None, tyro.conf.arg(metavar="KEY")] = None
    """The server's public CURVE key, where it asks for encryption."""
    key_file: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """This client's own CURVE keys, as `mien serve --make-key` writes them."""


@dataclass(frozen=True)
class TrackRequest:
    """What is asked for besides the first clip."""

    settings: TrackSettings
    constraints: ShotConstraints
    clips: Sequence[Path] = ()
    """Those of further cameras."""
    cameras: Sequence[KnownCamera] = ()
    """What is known of these."""
    frame_rate: Fraction | None = None
    """Frames per second of image sequences; the usual one where None."""


def track_on_server(
    remote: RemoteSettings,
    clip: Path,
    start: int | None,
    end: int | None,
    request: TrackRequest,
    image_size: tuple[int, int],
    view: ProgressView,
) -> Track:
    """Run one job on a server and return its track.

    clip: as this machine sees it; the server must see it at the same path, and so all other files.
    Raises the `MienError` that the job ended in.
    """
    from backend.assembly import Known, ResultCollector
    from backend.cli.rig_options import rig_cameras
    from backend.constraints import to_text
    from backend.settings import known_focal_px
    from shared.messages import Lens, Progress, TrackJob

    settings = request.settings
    focal_px = known_focal_px(settings, image_size)
    rate = request.frame_rate
    job = TrackJob(
        clip=str(clip.absolute()),
        start=start,
        end=end,
        quality=settings.quality,
        focal_mode="solve" if focal_px is None else "fixed",
        focal_px=focal_px,
        subject=settings.subject,
        subject_frame=settings.subject_frame,
        texture_size=settings.texture_size,
        lens=Lens(
            principal_point=settings.principal_point,
            distortion=settings.distortion or (0.0, 0.0, 0.0),
            zoom=settings.zoom,
        ),
        constraints=request.constraints,
        cameras=rig_cameras(request.clips, request.cameras),
        person="" if settings.person is None else str(settings.person.absolute()),
        frame_rate=None if rate is None else (rate.numerator, rate.denominator),
    )
    results = ResultCollector()

    def take(event: object) -> None:
        if isinstance(event, Progress):
            view.update(event.stage, event.fraction)
        else:
            results.take(event)

    _run(remote, job, take)
    person = "" if settings.person is None else settings.person.name
    track = results.track(
        Known(
            distortion=job.lens.distortion, constraints=to_text(request.constraints), person=person
        )
    )
    if track is None:
        raise MienError("The server ended the job without a result.")
    return track


def person_on_server(
    remote: RemoteSettings, sources: Sequence[Path], focal_px: Mapping[int, float],
    view: ProgressView,
) -> Person:  # fmt: skip
    """Build a person on a server, which must see the sources at the same paths.

    focal_px: focal lengths that are known, by number. Raises the `MienError` that the job ended in.
    """
    from backend.server.identity_job import person_of
    from shared.messages import IdentityJob, IdentityResult, PersonSource, Progress

    results: list[IdentityResult] = []

    def take(event: object) -> None:
        if isinstance(event, Progress):
            view.update(event.stage, event.fraction)
        elif isinstance(event, IdentityResult):
            results.append(event)

    asked = [
        PersonSource(path=str(path.absolute()), focal_px=focal_px.get(number))
        for number, path in enumerate(sources)
    ]
    _run(remote, IdentityJob(sources=asked), take)
    if not results:
        raise MienError("The server ended the job without a result.")
    for text in results[-1].skipped:
        view.note(f"warning: {text}")
    return person_of(results[-1])


def _run(remote: RemoteSettings, job: Job, take: Callable[[object], None]) -> None:
    """Follow a job to its end; raises the `MienError` that it ended in."""
    from backend.server.client import track_remote
    from backend.server.security import load_key_pair

    with _interruption() as interrupted:
        track_remote(
            None if remote.server == "local" else remote.server,
            job,
            take,
            interrupted,
            keys=None if remote.key_file is None else load_key_pair(remote.key_file),
            server_key=remote.server_key,
        )


@contextmanager
def _interruption() -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C and SIGTERM be asked about, so that the job is cancelled at the server too.

    A second Ctrl-C does not wait for the server's answer.
    """
    seen: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(number)

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(seen)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
