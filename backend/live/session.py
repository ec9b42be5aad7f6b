"""The loop: source, tracker, and whoever listens."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from backend.footage import FootageError
from backend.head import Head

from . import lines
from .head_file import write_head
from .recording import Recording
from .source import LiveSource
from .tracker import LiveFrame, LiveTracker

_HEAD_EVERY_S = 2.0
"""Seconds between two heads of a person who is being learnt."""
_SHOW_EVERY_S = 1.0


@dataclass
class Tally:
    """What a session has done so far."""

    frames: int = 0
    found: int = 0
    seconds_detect: float = 0.0
    seconds_fit: float = 0.0
    latency_s: float = 0.0
    """Sums over the frames; latency is from a frame's arrival to its result."""
    broke_off: FootageError | None = None
    """Why the source gave no more, where that was not its end."""

    def add(self, made: LiveFrame, latency_s: float) -> None:
        """Take in a frame."""
        self.frames += 1
        self.found += made.fit is not None
        self.seconds_detect += made.seconds_detect
        self.seconds_fit += made.seconds_fit
        self.latency_s += latency_s

    def text(self, dropped: int, seconds: float) -> str:
        """One line for a person."""
        n = max(self.frames, 1)
        return (
            f"{self.frames} frames, {self.frames / max(seconds, 1e-6):.1f} a second, "
            f"{dropped} dropped, face in {self.found}; detect "
            f"{1000 * self.seconds_detect / n:.1f} ms, fit {1000 * self.seconds_fit / n:.1f} ms, "
            f"latency {1000 * self.latency_s / n:.0f} ms"
        )


@dataclass(frozen=True)
class Listener:
    """Who is told what."""

    on_line: Callable[[str], None] = lambda line: None
    """Every line of JSON."""
    on_status: Callable[[str], None] = lambda text: None
    """Once a second, a line for a person."""
    head_folder: Path | None = None
    """Where heads are written, for who shows them."""


def run_session(
    name: str, source: LiveSource, head: Head, tracker: LiveTracker, listener: Listener,
    recording: Recording | None, most_frames: int | None = None,
) -> Tally:  # fmt: skip
    """Track every frame that the source gives, until it ends or after `most_frames`.

    A source that breaks off does not raise: what came before it is wanted (`Tally.broke_off`).
    """
    tally = Tally()
    began = shown = time.perf_counter()
    sent_version, sent_at = -1, -_HEAD_EVERY_S
    rate = float(source.frame_rate)
    listener.on_line(
        lines.start_line(
            name, source.image_size, rate, tracker.graph.runtime, head.expression_names
        )
    )
    last: int | None = None
    reason = "the source ended"
    try:
        for image in source:
            interval = 1.0 if last is None else float(max(1, image.index - last))
            last = image.index
            made = tracker.step(image.image, interval)
            now = time.perf_counter()
            tally.add(made, now - image.arrived)
            if recording is not None:
                recording.add(image, made)
            person = tracker.fitter.person
            is_due = person.version != sent_version and now - sent_at >= _HEAD_EVERY_S
            if listener.head_folder is not None and made.fit is not None and is_due:
                file = listener.head_folder / f"head-{person.version}.npz"
                write_head(head, tracker.fitter.identity, file)
                listener.on_line(lines.head_line(file, person.focal_px))
                sent_version, sent_at = person.version, now
            listener.on_line(lines.frame_line(image, made, source.dropped, now - image.arrived))
            if now - shown >= _SHOW_EVERY_S:
                shown = now
                listener.on_status(tally.text(source.dropped, now - began))
            if most_frames is not None and tally.frames >= most_frames:
                reason = "stopped"
                break
    except KeyboardInterrupt:
        # How a camera is ended: what was recorded is wanted.
        reason = "stopped"
    except FootageError as error:
        reason, tally.broke_off = str(error), error
    listener.on_line(lines.end_line(tally.frames, tally.found, source.dropped, reason))
    listener.on_status(tally.text(source.dropped, time.perf_counter() - began))
    return tally
