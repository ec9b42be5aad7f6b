"""`mien bench video`: how steadily faces are followed.

`--data` names a folder of clips: jitter, faces found and lost, identities. Without it, and in
addition, rendered performances whose truth is known tell the temporal error: the embedded one, and
more where the training assets are given.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from backend.detect import FaceDetector
from backend.errors import BadInputError
from backend.evaluate.detectors import load_detectors, make_clock
from backend.evaluate.followers import (
    DetectorFollower,
    Followed,
    Follower,
    PeerFollower,
    find_people,
)
from backend.evaluate.motion import (
    identity_switches,
    jitter,
    losses,
    merged_frames,
    roi_jitter,
)
from backend.evaluate.peer import PREFIX, MediaPipeMesh, PeerError, open_peer
from backend.evaluate.performances import Performance, temporal_figures, true_landmarks
from backend.evaluate.settings import BenchSettings, PartialFigures
from backend.footage import FootageError, open_footage
from backend.samples import PERFORMANCE, PERFORMANCE_TRUTH

COLUMNS = (PREFIX,)
_RENDERED, _QUICK_FRAMES = 3, 12
_SHARED = "_found_by_all"


@dataclass(frozen=True)
class Clip:
    """A clip that every system has followed."""

    name: str
    people: int
    """Faces in its first frame."""
    followed: dict[str, Followed]
    """By the prefix of the system's figures."""
    performance: Performance | None = None
    """The truth, where it is known."""


class _Bench:
    """All systems, and the clips that they have followed so far."""

    def __init__(
        self,
        settings: BenchSettings,
        detectors: dict[str, FaceDetector],
        peer: MediaPipeMesh | None,
    ) -> None:
        self.settings = settings
        self.detectors = detectors
        self.peer = peer
        self.clock = make_clock(settings)
        self.clips: list[Clip] = []

    def follow(self, path: Path, performance: Performance | None = None) -> None:
        """Show one clip, frame by frame, to every system; raises `FootageError`."""
        footage = open_footage(path, end=_QUICK_FRAMES - 1 if self.settings.quick else None)
        systems: dict[str, Follower] = {}
        people: list[tuple[float, float]] = []
        for frame in tqdm(footage, desc=f"{path.name:<24}", total=footage.n_frames, unit="frame"):
            if not systems:
                people = find_people(self.detectors[""], frame.image)
                systems = dict(self._systems(people))
            for prefix, system in list(systems.items()):
                try:
                    system.step(frame.image)
                except PeerError as error:
                    print(f"MediaPipe ended, going on without it: {error}", file=sys.stderr)
                    self.peer = None
                    del systems[prefix]
        followed = {prefix: system.followed for prefix, system in systems.items()}
        self.clips.append(Clip(path.stem, len(people), followed, performance))

    def _systems(self, people: list[tuple[float, float]]) -> Iterator[tuple[str, Follower]]:
        quality = self.settings.quality or "fast"
        for prefix, detector in self.detectors.items():
            yield prefix, DetectorFollower(detector, people, quality, self.clock)
        if self.peer is not None:
            yield PREFIX, PeerFollower(self.peer, len(people), clip=len(self.clips))


def run(settings: BenchSettings) -> dict[str, float]:
    """Follow the clips of `settings.data` and the performances.

    Raises: `BadInputError` for a folder without clips; `PartialFigures` on Ctrl-C.
    """
    clips = [] if settings.data is None else list_clips(settings.data)
    with ExitStack() as stack:
        peer = open_peer(settings.peer)
        if peer is not None:
            stack.enter_context(peer)
        bench = _Bench(settings, load_detectors(settings), peer)
        try:
            for path in clips:
                try:
                    bench.follow(path)
                except FootageError as error:
                    print(f"left out: {error}", file=sys.stderr)
            bench.follow(PERFORMANCE, true_landmarks(PERFORMANCE_TRUTH))
            if settings.assets is not None and settings.base is not None:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                for clip, truth in _rendered(settings, folder):
                    bench.follow(clip, true_landmarks(truth))
        except KeyboardInterrupt as error:
            raise PartialFigures(
                f"cancelled after {len(bench.clips)} clips", figures(bench.clips)
            ) from error
    return figures(bench.clips)


def figures(clips: list[Clip]) -> dict[str, float]:
    """Every figure by name, each with its system's prefix.

    Overall figures are means over the clips, so that a long one does not count for more, and leave
    the performances out of what is said of footage; those of a clip end with its name.
    """
    result: dict[str, float] = {}
    footage = [clip for clip in clips if clip.performance is None]
    for prefix in dict.fromkeys(prefix for clip in clips for prefix in clip.followed):
        values = _on_footage(prefix, [clip for clip in footage if prefix in clip.followed])
        played = {
            clip.name: temporal_figures(clip.followed[prefix], clip.performance)
            for clip in clips
            if clip.performance is not None and prefix in clip.followed
        }
        names = dict.fromkeys(name for of_clip in played.values() for name in of_clip)
        for name in names:
            values[name] = _mean([of_clip[name] for of_clip in played.values() if name in of_clip])
        if len(played) > 1:
            for clip_name, of_clip in played.items():
                values |= {f"{name}_{clip_name}": value for name, value in of_clip.items()}
        seconds = [s for clip in clips if prefix in clip.followed for s in _seconds(clip, prefix)]
        if seconds:
            values["ms_per_frame"] = 1000 * float(np.mean(seconds))
            values["ms_per_frame_median"] = 1000 * float(np.median(seconds))
        result |= {prefix + name: value for name, value in values.items()}
    return result


def _on_footage(prefix: str, clips: list[Clip]) -> dict[str, float]:
    overall: dict[str, list[float]] = {}
    by_clip: dict[str, float] = {}
    totals: dict[str, int] = {}
    for clip in clips:
        tracks = clip.followed[prefix].tracks()
        found = np.isfinite(tracks).all((2, 3))
        steady = {
            "jitter_percent": _pooled([jitter(track) for track in tracks]),
            "roi_centre_jitter_percent": _pooled([roi_jitter(track)[0] for track in tracks]),
            "roi_side_jitter_percent": _pooled([roi_jitter(track)[1] for track in tracks]),
        }
        if len(clip.followed) > 1 and clip.people < 2:
            every = np.stack([jitter(f.tracks()[0]) for f in clip.followed.values()])
            shared = jitter(tracks[0])[np.isfinite(every).all(0)]
            steady[f"jitter_percent{_SHARED}"] = _pooled([shared])
        focal = clip.followed[prefix].focal_px()
        if len(focal):
            steady["focal_spread_percent"] = 100 * float(focal.std() / focal.mean())
        for name, value in steady.items():
            overall.setdefault(name, []).append(value)
        counts = {
            "faces_asked": found.size,
            "faces_found": int(found.sum()),
            "losses": sum(losses(track) for track in found),
        }
        if len(tracks) > 1:
            counts["identity_switches"] = identity_switches(tracks)
            counts["merged_frames"] = merged_frames(tracks)
        for name, count in counts.items():
            totals[name] = totals.get(name, 0) + count
        by_clip |= {f"{name}_{clip.name}": value for name, value in (steady | counts).items()}
    summary = {name: _mean(values) for name, values in overall.items()}
    return summary | {name: float(count) for name, count in totals.items()} | by_clip


def _seconds(clip: Clip, prefix: str) -> list[float]:
    """Seconds a frame of a clip with one person; the first frame pays for what is set up once."""
    return clip.followed[prefix].seconds[1:] if clip.people < 2 else []


def _pooled(values: list[NDArray[np.float64]]) -> float:
    joined = np.concatenate(values)
    return _mean(joined[np.isfinite(joined)].tolist())


def _mean(values: list[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")


def list_clips(folder: Path) -> list[Path]:
    """The files of a folder, by name; raises `BadInputError` where there are none."""
    if not folder.is_dir():
        raise BadInputError(f"{folder}: no such folder of clips.")
    clips = sorted(path for path in folder.iterdir() if path.is_file() and path.name[0] != ".")
    if not clips:
        raise BadInputError(f"{folder}: there is no clip in it.")
    return clips


def _rendered(settings: BenchSettings, folder: Path) -> Iterator[tuple[Path, Path]]:
    """Clips and their truth, each of another person, light and motion."""
    # Rendering needs what training needs.
    from backend.train.performance import PerformanceSettings, render_performance

    assert settings.assets is not None and settings.base is not None
    for number in range(1 if settings.quick else _RENDERED):
        clip = folder / f"rendered_{number}.mp4"
        yield (
            clip,
            render_performance(
                PerformanceSettings(
                    settings.assets, settings.base, clip, skins=settings.skins,
                    seed=100 + settings.seed + number,
                )
            ),
        )  # fmt: skip
