"""Showing how far a job is: bars for people, plain lines for farms."""

from __future__ import annotations

import sys
from typing import Protocol

from tqdm import tqdm

STAGES: dict[str, tuple[float, float, str]] = {
    "detect": (0.0, 0.5, "Finding the face"),
    "fit": (0.5, 0.75, "Fitting the head"),
    "pose": (0.75, 0.8, "Posing every frame"),
    "cover": (0.8, 0.88, "Looking for what covers"),
    "texture": (0.88, 1.0, "Merging the texture"),
}
"""Share of the whole job, and what to call it, for each stage."""


def _described(stage: str) -> tuple[float, float, str]:
    """Share of the whole job, and name, of a stage that may be another than these."""
    if stage.startswith("camera "):
        # Further cameras of a rig: how many there are is nobody's business here.
        return 0.5, 0.5, f"Finding the face, {stage}"
    return STAGES.get(stage, (0.0, 1.0, stage.capitalize()))


class ProgressView(Protocol):
    """Something that shows progress."""

    def update(self, stage: str, fraction: float) -> None:
        """Show that `fraction` (0 to 1) of a stage is done."""

    def note(self, text: str) -> None:
        """Show one line beside the progress."""

    def close(self) -> None:
        """Leave the terminal tidy."""


class BarView:
    """One bar a stage on a terminal."""

    def __init__(self) -> None:
        self._bar: tqdm[None] | None = None
        self._stage = ""

    def update(self, stage: str, fraction: float) -> None:
        if stage != self._stage or self._bar is None:
            self.close()
            self._stage = stage
            name = _described(stage)[2]
            self._bar = tqdm(
                total=100,
                desc=f"{name:<24}",
                file=sys.stderr,
                bar_format="{desc}{percentage:3.0f} %|{bar:30}| {elapsed} < {remaining}",
            )
        self._bar.update(max(0.0, 100 * fraction - self._bar.n))

    def note(self, text: str) -> None:
        tqdm.write(text, file=sys.stderr)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class FarmView:
    """Lines of the Open Job Description, which farms read from standard output."""

    def __init__(self) -> None:
        self._percent = -1
        self._stage = ""

    def update(self, stage: str, fraction: float) -> None:
        start, end, name = _described(stage)
        if stage != self._stage:
            self._stage = stage
            print(f"openjd_status: {name}", flush=True)
        percent = int(100 * (start + (end - start) * min(max(fraction, 0.0), 1.0)))
        if percent > self._percent:
            self._percent = percent
            print(f"openjd_progress: {percent}", flush=True)

    def note(self, text: str) -> None:
        print(text, flush=True)

    def close(self) -> None:
        pass


def make_view(farm: bool) -> ProgressView:
    """Return the view for a farm, or for a person."""
    return FarmView() if farm else BarView()
