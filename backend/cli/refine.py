"""`mien refine`: a tracked shot solved again with constraints, without looking at the clip."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import tyro

from backend.atomic import check_output
from backend.cli.outcome import is_interrupted
from backend.cli.progress import make_view
from backend.constraints import ConstraintSettings, from_text, ranges_outside
from backend.errors import BadInputError

if TYPE_CHECKING:
    from backend.refine import Refined
    from shared.jobs import ShotConstraints


@dataclass(frozen=True)
class Refine:
    """Solve a track again with pins and other constraints, from where its last solve ended."""

    track: tyro.conf.Positional[Path]
    """Track file, by `mien track` or `mien refine`."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="OUT.npz")]
    """Track to write. Visibility and texture stay; `mien bake` makes them anew."""
    constraints: ConstraintSettings = field(default_factory=ConstraintSettings)
    """What is known of the shot; each option replaces what the track was solved with."""
    focal_px: Annotated[float | None, tyro.conf.arg(metavar="PIXELS")] = None
    """Hold this focal length; where not given it stays given or solved, as it was."""
    focal_mode: Literal["as_before", "solve", "zoom"] = "as_before"
    """Without --focal-px: "as_before" keeps it given, solved or zooming; "solve" finds
    one for the shot; "zoom" lets it change within the shot."""
    hold_person: bool = False
    """Keep the person's face."""
    scope: Literal["near", "whole", "both"] = "both"
    """"near" solves only the frames about the pins that have changed, with person and camera held;
    "whole" solves everything; "both" does one after the other."""
    device: Annotated[str, tyro.conf.arg(metavar="NAME")] = "cpu"
    """Where to compute: "cpu", "cuda", "mps", or "auto"."""

    def run(self) -> None:
        """Solve and write the file; raises `MienError`."""
        if self.output.suffix != ".npz":
            raise BadInputError(f"{self.output}: the output's name must end in .npz.")
        if self.focal_px is not None and not 0 < self.focal_px < float("inf"):
            raise BadInputError(f"A focal length of {self.focal_px:g} px: it must be positive.")
        given = self.constraints.read()
        from backend.refine import refine_track
        from backend.stages import Reporter
        from backend.track import Track
        from shared.messages import Event, Progress

        check_output(self.output)
        track = Track.load(self.track)
        view = make_view(False)
        for sentence in ranges_outside(given, track.frame_index):
            view.note(f"warning: {sentence}")

        def show(event: Event) -> None:
            if isinstance(event, Progress):
                view.update(event.stage, event.fraction)

        try:
            refined = refine_track(
                track,
                self._wanted(given, from_text(track.constraints)),
                focal_px=self.focal_px,
                focal_mode=self.focal_mode,
                hold_person=self.hold_person,
                near=self.scope != "whole",
                whole=self.scope != "near",
                report=Reporter(show, is_interrupted),
                device=self.device,
            )
            refined.track.save(self.output)
        finally:
            view.close()
        view.note(f"{self.output}: {_summary(refined)}")

    def _wanted(self, given: ShotConstraints, before: ShotConstraints) -> ShotConstraints:
        """The track's constraints with those that the options give in their place."""
        options = self.constraints
        change: dict[str, Any] = {}
        if options.pins is not None:
            change["pins"] = given.pins
        if options.ignore_frames is not None:
            change["ignore_frames"] = given.ignore_frames
        if options.limit:
            change["limits"] = given.limits
        if options.mask is not None:
            change["mask"] = given.mask
        if options.neutral is not None:
            change["neutral"] = given.neutral
        return msgspec.structs.replace(before, **change)


def _summary(refined: Refined) -> str:
    parts = []
    if refined.near_ms is not None:
        count = sum(end - first for first, end in refined.near_rows)
        parts.append(f"{count} frames about the changes in {refined.near_ms:.0f} ms")
    if refined.whole_ms is not None:
        parts.append(f"the whole shot ({refined.track.n_frames}) in {refined.whole_ms:.0f} ms")
    track = refined.track
    focal = f"focal length {track.focal_px[0]:.0f} px"
    if track.focal_sd_percent.size:
        focal += f" ± {track.focal_sd_percent[0]:.1f} %"
    return ", ".join([*parts, focal])
