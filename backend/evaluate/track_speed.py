"""How long each stage of the pipeline takes, on the embedded performance."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from backend.evaluate.settings import BenchSettings
from backend.footage import open_footage
from backend.pipeline import run_track
from backend.samples import PERFORMANCE
from backend.settings import TrackSettings
from shared.messages import Event, Progress


@dataclass
class _Stopwatch:
    """Sums the time between one progress event and the next, by the stage of the later one."""

    last: float = field(default_factory=time.perf_counter)
    seconds: dict[str, float] = field(default_factory=dict)

    def __call__(self, event: Event) -> None:
        now = time.perf_counter()
        if isinstance(event, Progress):
            # A stage's first event carries what loading came before it.
            stage = event.stage if event.stage in self.seconds else f"before {event.stage}"
            self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self.last
            self.seconds.setdefault(event.stage, 0.0)
            self.last = now


def run(settings: BenchSettings) -> dict[str, float]:
    """Track the embedded performance and return seconds a frame, and to real time, by stage."""
    footage = open_footage(PERFORMANCE, end=9 if settings.quick else None)
    began = time.perf_counter()
    watch = _Stopwatch()
    track = run_track(footage, TrackSettings(device=settings.device), watch)
    total = time.perf_counter() - began
    clip_seconds = float(track.n_frames / footage.frame_rate)
    figures: dict[str, float] = {"frames": track.n_frames, "load_s": watch.seconds["before detect"]}
    for stage in ("detect", "fit", "pose", "texture"):
        seconds = watch.seconds[stage]
        if stage != "detect":
            seconds += watch.seconds[f"before {stage}"]
        figures[f"{stage}_s_per_frame"] = seconds / track.n_frames
        figures[f"{stage}_to_real_time"] = seconds / clip_seconds
    figures["total_s"] = total
    figures["total_to_real_time"] = (total - figures["load_s"]) / clip_seconds
    return figures
