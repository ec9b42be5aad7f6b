"""`mien live`: follow a face from a camera or a clip as it comes."""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from backend.live.settings import LiveSettings
from backend.settings import Point

if TYPE_CHECKING:
    from backend.live.source import LiveSource


@dataclass(frozen=True)
class Live:
    """Follow a face live and print its coefficients, a line of JSON a frame; Ctrl-C ends."""

    source: tyro.conf.Positional[str]
    """Camera by number (0), path (/dev/video0) or name, an address, or a clip, which is played."""
    output: Annotated[
        Path | None, tyro.conf.arg(aliases=["-o"], metavar="OUT.npz|.csv|.usdc|.glb")
    ] = None
    """Record to a track, or to what `mien export` writes, when it ends."""
    as_fast_as_possible: bool = False
    """Every frame of a clip, one after the other, in place of its own pace."""
    quiet: bool = False
    """Print no lines of JSON, only what is done each second."""
    frames: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """End after so many frames."""
    size: Annotated[Point | None, tyro.conf.arg(metavar="W,H")] = None
    """Picture size that a camera is asked for."""
    rate: Annotated[float | None, tyro.conf.arg(metavar="FPS")] = None
    """Frames a second that a camera is asked for."""
    head_folder: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Also write the person's head here as it is learnt; Blender shows it."""
    exit_with_stdin: bool = False
    """End when standard input ends: for programs that start this one."""
    settings: LiveSettings = field(default_factory=LiveSettings)
    """How to follow."""

    def run(self) -> None:
        """Follow until the source or the user ends it; raises `MienError`."""
        from backend import atomic
        from backend.errors import NoFaceError
        from backend.head import Head
        from backend.live.recording import Recording, check_output, write_recording
        from backend.live.session import Listener, run_session
        from backend.live.source import open_source
        from backend.live.tracker import LiveTracker

        if self.output is not None:
            check_output(self.output)
            atomic.check_output(self.output, [Path(self.source)])
        if self.head_folder is not None:
            atomic.check_output(self.head_folder / "head")
            self.head_folder.mkdir(parents=True, exist_ok=True)
        size = None if self.size is None else (int(self.size[0]), int(self.size[1]))
        with open_source(self.source, self.as_fast_as_possible, size, self.rate) as source:
            head = Head.load()
            tracker = LiveTracker(head, source.image_size, self.settings)
            if self.exit_with_stdin:
                threading.Thread(target=_end_with_input, args=(source,), daemon=True).start()
            recording = Recording() if self.output is not None else None
            listener = Listener(self._print, _note, self.head_folder)
            done = run_session(self.source, source, head, tracker, listener, recording, self.frames)
            person = tracker.fitter.person
            if recording is not None and self.output is not None and done.found:
                track = recording.track(
                    head, tracker.fitter.identity, person.focal_px, source.image_size,
                    source.frame_rate, tracker.graph.rows,
                )  # fmt: skip
                write_recording(track, self.output)
                _note(f"written: {self.output}, {track.n_frames} frames")
            if done.broke_off is not None:
                raise done.broke_off
            if recording is not None and not done.found:
                raise NoFaceError("No frame showed a face; nothing was recorded.")

    def _print(self, line: str) -> None:
        if not self.quiet:
            print(line, flush=True)


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _end_with_input(source: LiveSource) -> None:
    """Close the source once standard input ends."""
    # Not `sys.stdin`: Python ends with a fatal error while a thread waits in its buffer.
    while os.read(0, 4096):
        pass
    source.close()
