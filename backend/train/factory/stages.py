"""Stages of a plan: done once, remembered with their settings, stopped and taken up at any time."""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from backend.atomic import atomic_path
from backend.errors import BadInputError

STAGES = "stages"
"""Folder of the markers, one a stage."""
_NOT_OF_THE_RESULT = frozenset(
    {"device", "threads", "workers", "resume", "checkpoint_seconds", "validate_seconds", "refit"}
)
"""Settings that say how a stage is computed, not what comes of it."""


@dataclass(frozen=True)
class Piece:
    """The time that one call may take."""

    end: float
    """On the monotonic clock."""
    must_advance: bool = False
    """Whether to get a little further though it is over: no call is for nothing."""

    @classmethod
    def of(cls, minutes: float | None) -> Piece:
        """A piece that begins now; None has no end."""
        return cls(float("inf") if minutes is None else time.monotonic() + 60.0 * minutes)

    @property
    def seconds_left(self) -> float:
        """Negative when it is over."""
        return self.end - time.monotonic()

    @property
    def is_over(self) -> bool:
        """Whether nothing new should be begun."""
        return self.seconds_left <= 0


@dataclass(frozen=True)
class Stage:
    """One step of the way from nothing to the weights."""

    name: str
    sentence: str
    """What it makes, for people."""
    settings: Any
    """A frozen dataclass; all that its result depends on besides what it needs."""
    needs: tuple[str, ...]
    """Names of the stages whose results it reads."""
    outputs: tuple[Path, ...]
    """Files and folders that are its own: removed when it is redone."""
    work: Callable[[Any, Piece], bool]
    """Does it or goes on with it: whether it is finished, False where the piece was over."""


@dataclass(frozen=True)
class Marker:
    """What is remembered of a stage that was begun."""

    is_done: bool
    settings: dict[str, str]
    needs: dict[str, str]
    """The ids of the results that it was made from."""
    id: str
    """Of its result; another one after a redo."""
    seconds: float
    """Spent so far."""

    @classmethod
    def read(cls, path: Path) -> Marker | None:
        """None where there is none; raises `BadInputError` for a damaged one."""
        try:
            return cls(**json.loads(path.read_text()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise BadInputError(f"{path}: a damaged marker ({error}); remove it.") from error

    def write(self, path: Path) -> None:
        """Write it whole or not at all."""
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(vars(self), indent=2) + "\n")


def flat_settings(settings: Any, folder: Path) -> dict[str, str]:
    """The settings of a stage by dotted name, as text.

    Paths inside `folder` are written relative to it, so that it may be moved.
    """
    out: dict[str, str] = {}
    for f in fields(settings):
        if f.name in _NOT_OF_THE_RESULT:
            continue
        value = getattr(settings, f.name)
        if is_dataclass(value) and not isinstance(value, type):
            nested = flat_settings(value, folder)
            out.update({f"{f.name}.{name}": text for name, text in nested.items()})
        elif isinstance(value, tuple | list):
            out[f.name] = ", ".join(_text(part, folder) for part in value)
        else:
            out[f.name] = _text(value, folder)
    return out


def _text(value: object, folder: Path) -> str:
    if isinstance(value, Path):
        path = value.absolute()
        inside = path.is_relative_to(folder.absolute())
        return str(path.relative_to(folder.absolute()) if inside else path)
    return str(value)


class Factory:
    """Runs the stages of a plan in order, in a folder that remembers them."""

    def __init__(self, folder: Path, stages: Sequence[Stage]) -> None:
        """stages: each after those that it needs."""
        self.folder = folder
        self.stages = tuple(stages)

    def marker_path(self, name: str) -> Path:
        """Where a stage is remembered."""
        return self.folder / STAGES / f"{name}.json"

    def run(self, piece: Piece, say: Callable[[str], None] = print) -> bool:
        """Go on until all is done or the piece is over; whether all is done.

        The first stage that is not done is always worked on.

        Raises: BadInputError where a stage was made with other settings or from what is no longer
        there, and whatever a stage raises.
        """
        ids: dict[str, str] = {}
        has_worked = False
        for number, stage in enumerate(self.stages, 1):
            head = f"[{number}/{len(self.stages)}] {stage.name}"
            marker = self._take_up(stage, ids)
            if not marker.is_done:
                if piece.is_over and has_worked:
                    say(f"{head}: is next. The same command goes on.")
                    return False
                say(f"{head}: {stage.sentence}")
                marker = self._work(stage, marker, replace(piece, must_advance=not has_worked))
                has_worked = True
                if not marker.is_done:
                    say(
                        f"{head}: {marker.seconds / 60:.1f} minutes so far. The same command "
                        "goes on."
                    )
                    return False
            say(f"{head}: done in {marker.seconds / 60:.1f} minutes")
            ids[stage.name] = marker.id
        return True

    def _take_up(self, stage: Stage, ids: Mapping[str, str]) -> Marker:
        settings = flat_settings(stage.settings, self.folder)
        needs = {name: ids[name] for name in stage.needs}
        marker = Marker.read(self.marker_path(stage.name))
        if marker is None:
            return Marker(False, settings, needs, uuid.uuid4().hex, 0.0)
        changed = [
            f"{name}: {marker.settings.get(name, 'not set')} -> {settings.get(name, 'not set')}"
            for name in sorted({*settings, *marker.settings})
            if settings.get(name) != marker.settings.get(name)
        ]
        again = f"Make it again with --redo {stage.name}, which also redoes what follows from it"
        if changed:
            raise BadInputError(
                f'The stage "{stage.name}" in {self.folder} was made with other settings '
                f"({'; '.join(changed)}). {again}, or go back to those settings."
            )
        if needs != marker.needs:
            other = sorted(
                n for n in {*needs, *marker.needs} if needs.get(n) != marker.needs.get(n)
            )
            raise BadInputError(
                f'The stage "{stage.name}" in {self.folder} was made from another '
                f"{' and '.join(other)}. {again}."
            )
        missing = [str(path) for path in stage.outputs if marker.is_done and not path.exists()]
        if missing:
            raise BadInputError(
                f'The stage "{stage.name}" is marked as done but {", ".join(missing)} is not '
                f"there. {again}, or bring it back."
            )
        return marker

    def _work(self, stage: Stage, marker: Marker, piece: Piece) -> Marker:
        path = self.marker_path(stage.name)
        marker.write(path)
        started, is_done = time.monotonic(), False
        try:
            is_done = stage.work(stage.settings, piece)
        finally:
            spent = marker.seconds + time.monotonic() - started
            marker = Marker(is_done, marker.settings, marker.needs, marker.id, spent)
            marker.write(path)
        return marker

    def redo(self, names: Sequence[str]) -> list[str]:
        """Forget stages and all that follows from them, and remove what they made.

        Returns their names; raises `BadInputError` for a name that is none.
        """
        known = [stage.name for stage in self.stages]
        unknown = [name for name in names if name not in known]
        if unknown:
            raise BadInputError(f'There is no stage "{unknown[0]}"; there are {", ".join(known)}.')
        gone = set(names)
        for stage in self.stages:  # in order: those that are needed come first
            if gone.intersection(stage.needs):
                gone.add(stage.name)
        for stage in self.stages:
            if stage.name in gone:
                for path in stage.outputs:
                    if path.is_dir():
                        shutil.rmtree(path)
                    else:
                        path.unlink(missing_ok=True)
                self.marker_path(stage.name).unlink(missing_ok=True)
        return [name for name in known if name in gone]
