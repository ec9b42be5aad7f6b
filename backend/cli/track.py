"""`mien track`: a clip becomes an animated head."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from backend.cli.progress import ProgressView, make_view
from backend.cli.remote import RemoteSettings, track_on_server
from backend.errors import BadInputError, MienError
from backend.settings import TrackSettings

if TYPE_CHECKING:
    from backend.footage import Footage
    from backend.track import Track
    from shared.messages import Event


@dataclass(frozen=True)
class TrackClip:
    """Track the face of one person through a clip, an image sequence or a picture."""

    clip: tyro.conf.Positional[Path]
    """Clip, GIF, picture, folder of pictures, or a name with ### or %04d in it."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="OUT.npz")]
    """File to write; docs/track-format.md describes it."""
    overlay: Annotated[Path | None, tyro.conf.arg(metavar="OUT.mp4")] = None
    """Also write a video (.mp4), or a sheet of frames (.png), with the head over the footage."""
    overlay_style: Literal["shaded", "wire", "textured"] = "shaded"
    """How the overlay shows the head."""
    start: Annotated[int | None, tyro.conf.arg(metavar="FRAME")] = None
    """First frame, counted from 0; the clip's first where not given."""
    end: Annotated[int | None, tyro.conf.arg(metavar="FRAME")] = None
    """Last frame, included; the clip's last where not given."""
    frame_rate: Annotated[str | None, tyro.conf.arg(metavar="FPS")] = None
    """Frames per second of an image sequence, such as 24 or 24000/1001."""
    settings: TrackSettings = field(default_factory=TrackSettings)
    """How to track."""
    remote: RemoteSettings = field(default_factory=RemoteSettings)
    """Where to track."""
    farm: bool = False
    """Print progress as plain lines that render farms read (Open Job Description)."""

    def run(self) -> None:
        """Track and write the files; raises `MienError`."""
        from backend.footage import open_footage

        if self.output.suffix != ".npz":
            raise BadInputError(f"{self.output}: the output's name must end in .npz.")
        if self.overlay is not None and self.overlay.suffix not in (".mp4", ".png"):
            raise BadInputError(f"{self.overlay}: the overlay's name must end in .mp4 or .png.")
        view = make_view(self.farm)
        try:
            footage = open_footage(
                self.clip, start=self.start, end=self.end, frame_rate=_fraction(self.frame_rate)
            )
            track = self._track(footage, view)
            track.save(self.output)
            if self.overlay is not None:
                self._write_overlay(footage, track, self.overlay, view)
            view.close()
            for warning in footage.warnings:
                view.note(f"warning: {warning}")
            view.note(
                f"{self.output}: {track.n_frames} frames, the face found in "
                f"{int(track.found.sum())}, focal length {track.focal_px[0]:.0f} px"
            )
        except MienError as error:
            if self.farm:
                print(f"openjd_fail: {error}", flush=True)
            raise
        finally:
            view.close()

    def _track(self, footage: Footage, view: ProgressView) -> Track:
        if self.remote.server is not None:
            return track_on_server(
                self.remote, self.clip, self.start, self.end, self.settings, view
            )
        from backend.pipeline import run_track
        from shared.messages import Progress

        def show(event: Event) -> None:
            if isinstance(event, Progress):
                view.update(event.stage, event.fraction)

        return run_track(footage, self.settings, show)

    def _write_overlay(
        self, footage: Footage, track: Track, path: Path, view: ProgressView
    ) -> None:
        from backend.overlay import OverlaySettings, write_overlay_sheet, write_overlay_video

        settings = OverlaySettings(style=self.overlay_style)
        if path.suffix == ".png":
            write_overlay_sheet(footage, track, path, settings)
        else:
            write_overlay_video(
                footage, track, path, settings, lambda fraction: view.update("overlay", fraction)
            )


def _fraction(text: str | None) -> Fraction | None:
    try:
        rate = None if text is None else Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if rate is not None and rate <= 0:
        raise BadInputError(f'"{text}" is not a frame rate; write 24 or 24000/1001.')
    return rate
