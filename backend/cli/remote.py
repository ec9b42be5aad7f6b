"""Tracking on a running server: submit, follow, put the results together."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
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
    from backend.track import Track
    from shared.messages import FrameResult, ModelResult, TextureResult


@dataclass(frozen=True)
class RemoteSettings:
    """Which server to use, if any."""

    server: Annotated[str | None, tyro.conf.arg(metavar="ADDRESS")] = None
    """Track on a running `mien serve` instead of in this process: tcp://HOST:PORT, the path of a
    connection file, or "local" for this user's own server."""
    server_key: Annotated[str | None, tyro.conf.arg(metavar="KEY")] = None
    """The server's public CURVE key, where it asks for encryption."""
    key_file: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """This client's own CURVE keys, as `mien serve --make-key` writes them."""


def track_on_server(
    remote: RemoteSettings,
    clip: Path,
    start: int | None,
    end: int | None,
    settings: TrackSettings,
    view: ProgressView,
) -> Track:
    """Run one job on a server and return its track.

    clip: as this machine sees it; the server must see it at the same path.
    Raises the `MienError` that the job ended in.
    """
    from backend.assembly import assemble_track
    from backend.server.client import track_remote
    from backend.server.security import load_key_pair
    from shared.messages import Progress, TrackJob

    job = TrackJob(
        clip=str(clip.absolute()),
        start=start,
        end=end,
        quality=settings.quality,
        focal_mode="solve" if settings.focal_px is None else "fixed",
        focal_px=settings.focal_px,
        subject=settings.subject,
        texture_size=settings.texture_size,
    )
    results = _Results()

    def take(event: object) -> None:
        if isinstance(event, Progress):
            view.update(event.stage, event.fraction)
        else:
            results.take(event)

    with _interruption() as interrupted:
        done = track_remote(
            None if remote.server == "local" else remote.server,
            job,
            take,
            interrupted,
            keys=None if remote.key_file is None else load_key_pair(remote.key_file),
            server_key=remote.server_key,
        )
    if results.model is None or done.K is None or not done.image_size or not done.frame_rate:
        raise MienError("The server ended the job without a result.")
    return assemble_track(
        results.model,
        list(results.frames.values()),
        results.texture,
        done.K,
        done.image_size,
        Fraction(*done.frame_rate),
    )


class _Results:
    """What has arrived of one job; later results replace earlier ones."""

    def __init__(self) -> None:
        self.model: ModelResult | None = None
        self.frames: dict[int, FrameResult] = {}
        self.texture: TextureResult | None = None

    def take(self, event: object) -> None:
        from shared.messages import FrameResult, ModelResult, TextureResult

        if isinstance(event, ModelResult):
            self.model = event
        elif isinstance(event, FrameResult):
            self.frames[event.frame_index] = event
        elif isinstance(event, TextureResult):
            self.texture = event


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
