"""`mien track`: a clip, or those of several cameras, become an animated head."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from backend.atomic import check_output
from backend.cli.outcome import is_interrupted
from backend.cli.progress import ProgressView, make_view
from backend.cli.remote import RemoteSettings, TrackRequest, track_on_server
from backend.cli.rig_options import RigSettings, further_cameras
from backend.constraints import ConstraintSettings, ranges_outside
from backend.errors import BadInputError, MienError
from backend.settings import TrackSettings

if TYPE_CHECKING:
    from backend.footage import Footage
    from backend.track import Track
    from shared.messages import Event


@dataclass(frozen=True)
class TrackClip:
    """Track the face of one person through a clip, an image sequence or a picture."""

    clips: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="CLIP")]
    """Clip, GIF, picture, folder of pictures, or a name with ### or %04d in it. With --rig several,
    of cameras that recorded one performance; frames are those of the first."""
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
    constraints: ConstraintSettings = field(default_factory=ConstraintSettings)
    """What is known of the shot."""
    rig: RigSettings = field(default_factory=RigSettings)
    """Several cameras."""
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
        for path in (self.output, self.overlay):
            if path is not None:
                check_output(path, self._inputs())
        if not self.clips:
            raise BadInputError("Name a clip to track.")
        view = make_view(self.farm)
        try:
            rate = _fraction(self.frame_rate)
            settings, known = self.rig.cameras(self.clips, self.settings)
            constraints = self.constraints.read()
            footage = open_footage(self.clips[0], start=self.start, end=self.end, frame_rate=rate)
            request = TrackRequest(settings, constraints, self.clips[1:], known, rate)
            if constraints.ignore_frames:
                for sentence in ranges_outside(constraints, footage.frame_numbers()):
                    footage.warn(sentence)
            track = self._track(footage, request, view)
            track.save(self.output)
            if self.overlay is not None:
                self._write_overlay(footage, track, self.overlay, view)
            view.close()
            for warning in footage.warnings:
                view.note(f"warning: {warning}")
            view.note(
                f"{self.output}: {track.n_frames} frames, the face found in "
                f"{int(track.found.sum())}, {_lens(track)}"
            )
        except MienError as error:
            if self.farm:
                print(f"openjd_fail: {error}", flush=True)
            raise
        finally:
            view.close()

    def _inputs(self) -> list[Path]:
        """All files that are named to be read."""
        known = self.constraints
        rig = None if self.rig.rig is None else self.rig.rig.file
        named = (self.settings.person, known.pins, known.mask, rig)
        return [*self.clips, *(path for path in named if path is not None)]

    def _track(self, footage: Footage, request: TrackRequest, view: ProgressView) -> Track:
        if self.remote.server is not None:
            return track_on_server(
                self.remote, self.clips[0], self.start, self.end, request, footage.image_size, view
            )
        from backend.pipeline import run_track
        from shared.messages import Progress

        def show(event: Event) -> None:
            if isinstance(event, Progress):
                view.update(event.stage, event.fraction)

        cameras = further_cameras(request.clips, request.cameras, request.frame_rate)
        track = run_track(
            footage, request.settings, show, is_interrupted, request.constraints, cameras
        )
        for camera in cameras:
            for warning in camera.footage.warnings:
                footage.warn(warning)
        return track

    def _write_overlay(
        self, footage: Footage, track: Track, path: Path, view: ProgressView
    ) -> None:
        from backend.overlay import OverlaySettings, write_overlay_sheet, write_overlay_video

        settings = OverlaySettings(style=self.overlay_style)
        if track.distortion.size:
            from backend.fit.observations import undistort
            from backend.footage.undistorted import UndistortedFootage

            k1, k2, k3 = track.distortion.tolist()
            K = track.K[0]
            footage = UndistortedFootage(footage, K, (k1, k2, k3))
            straight = undistort(
                track.landmarks_2d.astype("f8"), K[:2, 2], float(K[0, 0]), (k1, k2, k3)
            )
            track = replace(track, landmarks_2d=straight.astype("f4"))
        if path.suffix == ".png":
            write_overlay_sheet(footage, track, path, settings)
        else:
            write_overlay_video(
                footage, track, path, settings, lambda fraction: view.update("overlay", fraction)
            )


def _lens(track: Track) -> str:
    """What the summary says of the cameras."""
    doubt = f" ± {track.focal_sd_percent[0]:.1f} %" if track.focal_sd_percent.size else ""
    text = f"focal length {track.focal_px[0]:.0f} px{doubt}"
    for clip, K, offset in zip(track.rig_clips, track.rig_K, track.rig_offset, strict=True):
        text += f"; {Path(clip).name}: {K[0, 0]:.0f} px, offset {offset:+.2f} frames"
    return text


def _fraction(text: str | None) -> Fraction | None:
    try:
        rate = None if text is None else Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if rate is not None and rate <= 0:
        raise BadInputError(f'"{text}" is not a frame rate; write 24 or 24000/1001.')
    return rate
