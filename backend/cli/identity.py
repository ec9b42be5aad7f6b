"""`mien identity`: one person from photographs and clips, for later shots of theirs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from backend.atomic import check_output
from backend.cli.outcome import is_interrupted
from backend.cli.progress import ProgressView, make_view
from backend.cli.remote import RemoteSettings, person_on_server
from backend.errors import BadInputError

if TYPE_CHECKING:
    from backend.person import Person


@dataclass(frozen=True)
class Identity:
    """Build a person from any photographs and clips of theirs; `mien track --identity` keeps it."""

    sources: Annotated[
        tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="PHOTOS_AND_CLIPS")
    ]
    """Pictures, folders of pictures, clips and image sequences; the largest face in each."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="PERSON.npz")]
    """File to write; docs/track-format.md describes it."""
    focal_px: Annotated[
        tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="NAME=PIXELS")
    ] = ()
    """Focal length of a source that is known, such as photo.jpg=2400; the others are solved."""
    device: Annotated[str, tyro.conf.arg(metavar="NAME")] = "auto"
    """Where to compute: "cpu", "cuda", "mps", or "auto"."""
    remote: RemoteSettings = field(default_factory=RemoteSettings)
    """Where to work."""

    def run(self) -> None:
        """Solve and write the file; raises `MienError`."""
        if self.output.suffix != ".npz":
            raise BadInputError(f"{self.output}: the output's name must end in .npz.")
        if not self.sources:
            raise BadInputError("Name photographs or clips of the person.")
        check_output(self.output)
        known = dict(self._known(text) for text in self.focal_px)
        view = make_view(False)
        try:
            if self.remote.server is None:
                person = self._here(known, view)
            else:
                person = person_on_server(self.remote, self.sources, known, view)
            person.save(self.output)
        finally:
            view.close()
        frames = sum(source.frames for source in person.sources)
        view.note(f"{self.output}: from {frames} frames of {len(person.sources)} sources")
        for source in person.sources:
            view.note(f"  {source.name}: {source.frames} frames, {source.focal_px:.0f} px")

    def _here(self, known: dict[int, float], view: ProgressView) -> Person:
        from backend.identity import build_person
        from backend.stages import Reporter
        from shared.messages import Event, Progress

        def show(event: Event) -> None:
            if isinstance(event, Progress):
                view.update(event.stage, event.fraction)

        return build_person(
            self.sources,
            focal_px=known,
            device=self.device,
            report=Reporter(show, is_interrupted),
            on_skip=lambda text: view.note(f"warning: {text}"),
        )

    def _known(self, text: str) -> tuple[int, float]:
        name, _, value = text.rpartition("=")
        numbers = [i for i, path in enumerate(self.sources) if name in (path.name, str(path))]
        try:
            focal = float(value)
        except ValueError:
            focal = 0.0
        if len(numbers) != 1 or not 0 < focal < float("inf"):
            raise BadInputError(f"--focal-px {text}: write NAME=PIXELS with the name of a source.")
        return numbers[0], focal
