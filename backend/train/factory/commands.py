"""`mien train factory`: one command from nothing to the shipped weights, in pieces if need be."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from backend.errors import BadInputError
from backend.train.factory.plan import Machine, Material, plan
from backend.train.factory.stages import Factory, Marker, Piece


@dataclass(frozen=True)
class FactorySettings:
    """Train from nothing to the weights that ship; a call goes on where the last one stopped."""

    out: Path = Path("training")
    """Folder of everything that is made: asset library, shards, runs, weights."""
    material: Material = field(default_factory=Material)
    """What to start from."""
    machine: Machine = field(default_factory=Machine)
    """What computes."""
    minutes_per_piece: float | None = None
    """Stop after about so many minutes, between two steps or shards; call again to go on."""
    scale: float = 1.0
    """Of all counts of images and minutes of training, for a try: 0.001 takes minutes."""
    until: str | None = None
    """Stop after this stage."""
    redo: tuple[str, ...] = ()
    """Stages to make again, with all that follows from them."""
    status: bool = False
    """Only say what is done and what is left."""


def run(settings: FactorySettings) -> bool:
    """Run the plan; whether it is done. Raises `MienError`."""
    s = settings
    if (s.material.portraits is None) != (s.material.landmarks is None):
        raise BadInputError("--portraits and --landmarks go together.")
    if s.scale <= 0:
        raise BadInputError("--scale is a positive factor.")
    stages = plan(s.out, s.material, s.machine, s.scale)
    factory = Factory(s.out, stages)
    if s.redo:
        print(f"to be made again: {', '.join(factory.redo(s.redo))}")
    if s.status:
        _print_status(factory)
        return False
    if s.until is not None:
        names = [stage.name for stage in stages]
        if s.until not in names:
            raise BadInputError(f'There is no stage "{s.until}"; there are {", ".join(names)}.')
        factory = Factory(s.out, stages[: names.index(s.until) + 1])
    if s.material.portraits is None:
        print("No portraits: real skins, re-posed portraits and the markup are left out.")
    return factory.run(Piece.of(s.minutes_per_piece))


def _print_status(factory: Factory) -> None:
    for stage in factory.stages:
        marker = Marker.read(factory.marker_path(stage.name))
        if marker is None:
            said = "not begun"
        else:
            said = f"{'done' if marker.is_done else 'begun'}, {marker.seconds / 60:.1f} minutes"
        print(f"{stage.name:<12} {said:<22} {stage.sentence}")
