"""What an artist knows of a shot: from options and files to messages, and to the fit.

Frames are those of the first clip, counted from 0; the fit counts the rows of the shot.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import tyro

from backend.errors import BadInputError, NoFaceError
from shared.arkit import EXPRESSION_NAMES
from shared.jobs import ExpressionLimit, PinnedPoint, ShotConstraints

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from backend.fit import FitSettings
    from backend.fit.pins import ArtistConstraints
    from backend.footage import Footage
    from backend.head import Head

FIRM_RANGE = 20.0
"""So many times the usual weight for ranges that somebody has set: they are meant."""


@dataclass(frozen=True)
class ConstraintSettings:
    """What is known of the shot."""

    pins: Annotated[Path | None, tyro.conf.arg(metavar="FILE.json")] = None
    """Points set by hand: a JSON list of {"frame", "point", "x", "y"}, where point is a landmark
    such as "ibug68/30" or a vertex such as "vertex/123", and x, y are pixels."""
    ignore_frames: Annotated[str | None, tyro.conf.arg(metavar="FRAMES")] = None
    """Frames whose landmarks do not count, such as 10-20,35."""
    mask: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Picture, sequence or clip: landmarks where it is white do not count. A picture holds for all
    frames, a sequence or clip frame by frame."""
    limit: Annotated[
        tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="NAME=LOW:HIGH")
    ] = ()
    """Range of an expression, such as jawOpen=0:0.3; may be given several times."""
    neutral: Annotated[int | None, tyro.conf.arg(metavar="FRAME")] = None
    """Frame in which the face is at rest."""

    def read(self) -> ShotConstraints:
        """The constraints as a message takes them; raises `BadInputError`."""
        if self.neutral is not None and self.neutral < 0:
            raise BadInputError(f"--neutral {self.neutral}: frames are counted from 0.")
        constraints = ShotConstraints(
            pins=[] if self.pins is None else read_pins(self.pins),
            ignore_frames=[] if self.ignore_frames is None else frame_ranges(self.ignore_frames),
            limits=[limit_of(text) for text in self.limit],
            mask="" if self.mask is None else str(self.mask.absolute()),
            neutral=self.neutral,
        )
        check_constraints(constraints)
        return constraints


def read_pins(path: Path) -> list[PinnedPoint]:
    """The pins of a JSON file: a list of them, or an object with the list as "pins".

    Raises `BadInputError` that names the file and the entry.
    """
    try:
        # Windows' editors begin a file with a byte order mark.
        text = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read ({error.strerror}).") from error
    try:
        content = msgspec.json.decode(text)
        if isinstance(content, dict):
            content = content.get("pins")
        return msgspec.convert(content, list[PinnedPoint])
    except msgspec.MsgspecError as error:
        raise BadInputError(
            f"{path}: is not a list of pins ({error}). Each is "
            '{"frame": 12, "point": "ibug68/30", "x": 640.5, "y": 360}.'
        ) from error


def frame_ranges(text: str) -> list[tuple[int, int]]:
    """Ranges of frames, ends included, from text such as "10-20,35"; raises `BadInputError`."""
    ranges = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        first = int(match[1]) if match else 0
        last = int(match[2] or match[1]) if match else -1
        if last < first:
            raise BadInputError(f"--ignore-frames {text}: write frames as 10-20,35.")
        ranges.append((first, last))
    return ranges


def limit_of(text: str) -> ExpressionLimit:
    """The limit in text such as "jawOpen=0:0.3"; raises `BadInputError`."""
    name, _, between = text.partition("=")
    low, _, high = between.partition(":")
    try:
        return ExpressionLimit(name=name.strip(), low=float(low), high=float(high))
    except ValueError as error:
        raise BadInputError(f"--limit {text}: write it as jawOpen=0:0.3.") from error


def check_constraints(constraints: ShotConstraints) -> None:
    """Raise `BadInputError` for what no shot can keep to."""
    for limit in constraints.limits:
        if limit.name not in EXPRESSION_NAMES:
            raise BadInputError(
                f'There is no expression "{limit.name}"; the names are ARKit\'s, such as jawOpen.'
            )
        if not limit.low <= limit.high:
            raise BadInputError(f"{limit.name}: a range from {limit.low:g} to {limit.high:g}.")
    for first, last in constraints.ignore_frames:
        if last < first:
            raise BadInputError(f"Ignored frames {first} to {last}: the range ends before.")


def to_text(constraints: ShotConstraints) -> str:
    """As a track stores them: JSON, or nothing where there are none."""
    return "" if constraints == ShotConstraints() else msgspec.json.encode(constraints).decode()


def from_text(text: str) -> ShotConstraints:
    """The inverse of `to_text`; raises `BadInputError`."""
    try:
        return msgspec.json.decode(text, type=ShotConstraints) if text else ShotConstraints()
    except msgspec.MsgspecError as error:
        raise BadInputError(f"The track's constraints are damaged ({error}).") from error


def fit_constraints(
    constraints: ShotConstraints,
    frame_index: NDArray[np.int64],
    identity: NDArray[np.float32] | None = None,
) -> ArtistConstraints:
    """The constraints in rows of a shot whose frames are frame_index (F,).

    identity (I,): of a person who is known. The mask is not among them: it has made the deviations
    of its landmarks infinite. Raises `BadInputError` for pins on frames that the shot lacks.
    """
    from backend.fit import Pin
    from backend.fit.pins import ArtistConstraints

    rows = {int(frame): row for row, frame in enumerate(frame_index)}
    span = f"{int(frame_index[0])} to {int(frame_index[-1])}"

    def row_of(frame: int, what: str) -> int:
        if frame not in rows:
            raise BadInputError(f"{what} frame {frame}: the shot has frames {span}, from 0.")
        return rows[frame]

    return ArtistConstraints(
        pins=tuple(
            Pin(
                row_of(pin.frame, f"A pin of {pin.point} on"),
                pin.point,
                (pin.x, pin.y),
                pin.camera,
                pin.sigma_px,
            )
            for pin in constraints.pins
        ),
        ignored_frames=tuple(
            row
            for first, last in constraints.ignore_frames
            for frame, row in rows.items()
            if first <= frame <= last
        ),
        expression_ranges=tuple((one.name, one.low, one.high) for one in constraints.limits),
        identity=identity,
        neutral_frames=tuple(row_of(frame, "The neutral") for frame in neutrals(constraints)),
    )


def check_for_shot(
    constraints: ShotConstraints, footage: Footage, head: Head, cameras: int = 1
) -> None:
    """Raise `BadInputError`, before a frame is looked at, for what the fit would refuse after all.

    cameras: how many see the shot.
    """
    if constraints == ShotConstraints():
        return
    import numpy as np

    from backend.fit.pins import locate_pins
    from backend.fit.posed_points import PosedPoints
    from backend.head.landmarks import layout
    from backend.masks import check_mask

    frames = np.array(footage.frame_numbers(), np.int64)
    points = PosedPoints.of(head, layout("ibug68"))
    rows = fit_constraints(constraints, frames).pins
    for pin, row in zip(constraints.pins, rows, strict=True):
        if pin.camera >= cameras:
            raise BadInputError(f"A pin of camera {pin.camera}: there are {cameras}, from 0.")
        try:
            locate_pins(head, points, (row,))
        except BadInputError as error:
            raise BadInputError(f"The pin in frame {pin.frame}: {error}.") from error
    if constraints.mask:
        check_mask(Path(constraints.mask), frames)


def ranges_outside(constraints: ShotConstraints, frames: Iterable[int]) -> list[str]:
    """Sentences on ignored ranges that hold none of a shot's frames: somebody counts otherwise."""
    numbers = sorted(int(frame) for frame in frames)
    return [
        f"the ignored frames {first} to {last} are none of the shot's {numbers[0]} to "
        f"{numbers[-1]}, which are counted from 0"
        for first, last in constraints.ignore_frames
        if not any(first <= number <= last for number in numbers)
    ]


@contextmanager
def naming_what_hides(constraints: ShotConstraints) -> Iterator[None]:
    """Have a fit that is left without any face say which constraints left it none."""
    try:
        yield
    except NoFaceError as error:
        hiding = []
        if constraints.mask:
            hiding.append(f"the mask {constraints.mask} (landmarks do not count where it is white)")
        if constraints.ignore_frames:
            hiding.append("the ignored frames")
        if not hiding:
            raise
        names = " and ".join(hiding)
        raise BadInputError(f"Nothing is left to fit: all is hidden by {names}.") from error


def neutrals(constraints: ShotConstraints) -> tuple[int, ...]:
    """All frames in which the face is at rest, ascending."""
    first = () if constraints.neutral is None else (constraints.neutral,)
    return tuple(sorted({*first, *constraints.further_neutrals}))


def firm(settings: FitSettings, constraints: ShotConstraints) -> FitSettings:
    """The settings with ranges as firm as ranges that somebody has set are meant to be."""
    if constraints.limits or neutrals(constraints):
        return replace(settings, range_weight=FIRM_RANGE * settings.range_weight)
    return settings
