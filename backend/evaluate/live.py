"""`mien bench live`: what following a face live costs, and how steady and how late its head is.

MediaPipe FaceMesh sees every frame in its video mode between ours, in a process of its own on the
same core, one thread each; seconds are of the processor. A second detector goes through the clip
again, MediaPipe beside it: a third network would push both others' weights out of the caches.
`--data` names a folder of clips; clips that begin with several faces are left out, since live
tracking follows one. The embedded performance, whose truth is known, is always among them.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from backend.evaluate.lag import lag_of, openings
from backend.evaluate.motion import jitter
from backend.evaluate.peer import MediaPipeMesh, PeerError, open_peer
from backend.evaluate.performances import Performance, true_landmarks
from backend.evaluate.settings import BenchSettings, PartialFigures
from backend.evaluate.video import list_clips
from backend.footage import Footage, FootageError, open_footage
from backend.head import Head
from backend.live.settings import LiveSettings
from backend.live.tracker import LiveTracker
from backend.samples import PERFORMANCE, PERFORMANCE_TRUTH

_QUICK_FRAMES = 20
_FIRST = 3
"""Frames of a clip before its times count: there, what is set up once is paid for."""
_N = 68
_OUTER_EYES = (36, 45)

Array = NDArray[np.float64]


@dataclass
class Run:
    """What one system made of a clip; NaN where it saw no face."""

    solved: list[Array] = field(default_factory=list)
    """(68,2) a frame of the solved head, px."""
    seen: list[Array] = field(default_factory=list)
    """(68,2) as the network sees them, px."""
    detect: list[float] = field(default_factory=list)
    fit: list[float] = field(default_factory=list)
    """Seconds of the processor."""


@dataclass(frozen=True)
class Clip:
    """A clip that every system has followed."""

    name: str
    ours: dict[str, Run]
    """By the prefix of the figures."""
    peers: dict[str, Run]
    """MediaPipe beside each of ours; none where it cannot be had."""
    performance: Performance | None = None


def run(settings: BenchSettings) -> dict[str, float]:
    """Follow the clips of `settings.data` and the performance.

    Raises: `BadInputError` for a folder without clips; `PartialFigures` on Ctrl-C.
    """
    paths: list[tuple[Path, Path | None]] = [
        (path, None) for path in (list_clips(settings.data) if settings.data else [])
    ]
    paths.append((PERFORMANCE, PERFORMANCE_TRUTH))
    head = Head.load()
    clips: list[Clip] = []
    with ExitStack() as stack:
        stack.enter_context(_one_core())
        peer = open_peer(settings.peer)
        if peer is not None:
            stack.enter_context(peer)
        try:
            for number, (path, truth) in enumerate(paths):
                try:
                    clip = _follow(settings, head, path, truth, peer, number)
                except FootageError as error:
                    print(f"left out: {error}", file=sys.stderr)
                    continue
                clips += [] if clip is None else [clip]
        except KeyboardInterrupt as error:
            raise PartialFigures(f"cancelled after {len(clips)} clips", figures(clips)) from error
    return figures(clips)


def _follow(
    settings: BenchSettings, head: Head, path: Path, truth: Path | None,
    peer: MediaPipeMesh | None, number: int,
) -> Clip | None:  # fmt: skip
    """Show one clip to every detector, and to MediaPipe beside each; None with several people."""
    footage = open_footage(path, end=_QUICK_FRAMES - 1 if settings.quick else None)
    ours: dict[str, Run] = {}
    peers: dict[str, Run] = {}
    for place, name in enumerate(dict.fromkeys(settings.detectors)):
        prefix = "" if place == 0 else f"{name}_"
        tracker = LiveTracker(
            head, footage.image_size, LiveSettings(detector=name), clock=time.process_time
        )
        if place == 0:
            first = next(iter(footage)).image
            if len(tracker.finder.find(first, 8)) > 1:
                print(f"left out: {path.name} begins with several faces", file=sys.stderr)
                return None
        ours[prefix], beside = _side_by_side(footage, tracker, peer, 10 * number + place)
        if beside is not None:
            peers[prefix] = beside
    return Clip(path.stem, ours, peers, None if truth is None else true_landmarks(truth))


def _side_by_side(
    footage: Footage, tracker: LiveTracker, peer: MediaPipeMesh | None, number: int
) -> tuple[Run, Run | None]:
    """A clip frame by frame: MediaPipe, then ours; number: of the clip, for its video mode."""
    ours, theirs = Run(), None if peer is None else Run()
    nowhere = np.full((_N, 2), np.nan)
    name = footage.path.name
    for frame in tqdm(footage, desc=f"{name:<24}", total=footage.n_frames, unit="frame"):
        if theirs is not None and peer is not None:
            try:
                faces, seconds = peer.find(frame.image, 1, number)
            except PeerError as error:
                print(f"MediaPipe ended, going on without it: {error}", file=sys.stderr)
                theirs = None
            else:
                theirs.solved.append(faces[0] if faces else nowhere)
                theirs.detect.append(seconds)
        made = tracker.step(frame.image)
        ours.solved.append(nowhere if made.fit is None else made.fit.pixels[:_N])
        ours.seen.append(nowhere if made.seen is None else made.seen.landmarks_2d[:_N])
        ours.detect.append(made.seconds_detect)
        ours.fit.append(made.seconds_fit)
    return ours, theirs


@contextmanager
def _one_core() -> Iterator[None]:
    """Stay on the core that the peer is put on, where the system can say so, on one thread."""
    cv2.setNumThreads(1)
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def figures(clips: list[Clip]) -> dict[str, float]:
    """Every figure by name; those of detectors after the first begin with their name.

    Times are of frames in which every system followed the face; jitter and lag are means over the
    clips of real footage, those of a clip end with its name.
    """
    result: dict[str, float] = {}
    for prefix in dict.fromkeys(prefix for clip in clips for prefix in clip.ours):
        own = _times(prefix, clips) | _steadiness(prefix, clips) | _against_truth(prefix, clips)
        result |= {prefix + name: value for name, value in own.items()}
    return result


def _times(prefix: str, clips: list[Clip]) -> dict[str, float]:
    detect, fit, peer, search = [], [], [], []
    for clip in clips:
        run = clip.ours[prefix]
        followed = _followed(run)
        search += [1000 * s for s, f in zip(run.detect, followed, strict=True) if not f][1:]
        if prefix in clip.peers:
            followed &= _followed(clip.peers[prefix])
            peer += (1000 * np.array(clip.peers[prefix].detect)[followed]).tolist()
        detect += (1000 * np.array(run.detect)[followed]).tolist()
        fit += (1000 * np.array(run.fit)[followed]).tolist()
    result = {
        "ms_detect": _mean(detect), "ms_fit": _mean(fit),
        "ms_detect_median": _median(detect), "ms_fit_median": _median(fit),
        "ms_99_percent": float(np.percentile(np.add(detect, fit), 99)) if detect else np.nan,
        "ms_search": _mean(search), "frames_timed": float(len(detect)),
    }  # fmt: skip
    if peer:
        both = result["ms_detect_median"] + result["ms_fit_median"]
        result |= {
            "ms_mediapipe": _mean(peer), "ms_mediapipe_median": _median(peer),
            "ratio_mediapipe": (result["ms_detect"] + result["ms_fit"]) / _mean(peer),
            "ratio_mediapipe_median": both / _median(peer),
        }  # fmt: skip
    return result


def _followed(run: Run) -> NDArray[np.bool_]:
    """(F,) frames with the face whose last one had it too, but the first few."""
    found = np.isfinite(np.array(run.solved)).all((1, 2))
    followed = found & np.roll(found, 1)
    followed[:_FIRST] = False
    return followed


def _steadiness(prefix: str, clips: list[Clip]) -> dict[str, float]:
    overall: dict[str, list[float]] = {}
    by_clip: dict[str, float] = {}
    for clip in clips:
        if clip.performance is not None:
            continue
        run = clip.ours[prefix]
        solved, seen = np.array(run.solved), np.array(run.seen)
        values = {
            "jitter_percent": _mean(jitter(solved).tolist()),
            "jitter_detected_percent": _mean(jitter(seen).tolist()),
        }
        if prefix in clip.peers:
            theirs = np.array(clip.peers[prefix].solved)
            own, other = jitter(solved), jitter(theirs)
            shared = np.isfinite(own) & np.isfinite(other)
            values["jitter_percent"] = _mean(own[shared].tolist())
            values["jitter_mediapipe_percent"] = _mean(other[shared].tolist())
        for name, follows, moves in openings(solved, seen):
            values[f"lag_frames_{name}"] = lag_of(follows, moves)
        for name, value in values.items():
            overall.setdefault(name, []).append(value)
            by_clip[f"{name}_{clip.name}"] = value
    return {name: _mean(values) for name, values in overall.items()} | by_clip


def _against_truth(prefix: str, clips: list[Clip]) -> dict[str, float]:
    """Errors over the distance of the outer eye corners, and lag, where the truth is known."""
    for clip in clips:
        if clip.performance is None:
            continue
        run, truth = clip.ours[prefix], clip.performance.surface[:, :_N]
        solved, seen = np.array(run.solved), np.array(run.seen)
        truth = truth[: len(solved)]
        eyes = np.median(
            np.linalg.norm(truth[:, _OUTER_EYES[1]] - truth[:, _OUTER_EYES[0]], axis=1)
        )
        result = {
            "error_percent_truth": _error(solved, truth, float(eyes)),
            "error_detected_percent_truth": _error(seen, truth, float(eyes)),
        }
        for name, follows, moves in openings(solved, truth):
            result[f"lag_frames_{name}_truth"] = lag_of(follows, moves)
        return result
    return {}


def _error(points: Array, truth: Array, eyes: float) -> float:
    return 100 * float(np.nanmean(np.linalg.norm(points - truth, axis=-1)[:, 17:])) / eyes


def _mean(values: list[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")


def _median(values: list[float]) -> float:
    return float(np.median(values)) if values else float("nan")
