"""Settings of a tracking job; the command line is made from them, so they import nothing heavy."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from backend.errors import BadInputError

DetectorName = Literal["infinite3d", "dense"]


def _numbers(count: int) -> Callable[[list[str]], tuple[float, ...]]:
    def parse(values: list[str]) -> tuple[float, ...]:
        numbers = tuple(float(part) for part in values[0].split(","))
        if len(numbers) != count:
            raise ValueError(f"{values[0]}: {count} numbers with commas between them")
        return numbers

    return parse


def _written(metavar: str, count: int) -> Any:
    """How numbers with commas between them are read and shown."""
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=_numbers(count),
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda numbers: [",".join(f"{number:g}" for number in numbers)],
    )


Point = Annotated[tuple[float, float], _written("X,Y", 2)]
"""A pixel, written x,y on the command line."""

Distortion = Annotated[tuple[float, float, float], _written("K1,K2,K3", 3)]
"""Coefficients, written k1,k2,k3 on the command line."""


@dataclass(frozen=True, kw_only=True)
class LensSettings:
    """What is known of a camera's focal length: pixels, millimetres or an angle; solved if not."""

    focal_px: Annotated[float | None, tyro.conf.arg(metavar="PIXELS")] = None
    """Focal length in pixels of the full-size image; solved from the pictures where not given."""
    focal_mm: Annotated[float | None, tyro.conf.arg(metavar="MM")] = None
    """Focal length in millimetres, in place of pixels; with --sensor-mm."""
    sensor_mm: Annotated[float | None, tyro.conf.arg(metavar="MM")] = None
    """Width of the part of the sensor that the pictures show, in millimetres."""
    field_of_view_deg: Annotated[float | None, tyro.conf.arg(metavar="DEGREES")] = None
    """The camera's horizontal field of view, in place of a focal length."""


@dataclass(frozen=True, kw_only=True)
class TrackSettings(LensSettings):
    """How to track one face through a shot."""

    quality: Literal["preview", "final"] = "final"
    """"preview" goes frame by frame with an average face, without a texture; "final" solves the
    person's face, the focal length and the motion over the whole shot, and the texture."""
    zoom: bool = False
    """Let the focal length change within the shot, smoothly."""
    principal_point: Annotated[Point | None, tyro.conf.arg(metavar="X,Y")] = None
    """Where the lens's axis meets the picture, in pixels; the middle where not given."""
    distortion: Annotated[Distortion | None, tyro.conf.arg(metavar="K1,K2,K3")] = None
    """Radial distortion of the lens as Blender's movie clip has it (polynomial); it is in units of
    the focal length, which must be given with it."""
    person: Annotated[Path | None, tyro.conf.arg(name="identity", metavar="PERSON.npz")] = None
    """Keep the face of this person, whom `mien identity` has built."""
    subject: Annotated[Point | None, tyro.conf.arg(metavar="X,Y")] = None
    """A pixel on the wanted person in the first frame, or in --subject-frame; the largest face
    where not given."""
    subject_frame: Annotated[int | None, tyro.conf.arg(metavar="FRAME")] = None
    """Frame that --subject is a pixel of, counted from 0; it need not be in the range."""
    texture_size: Annotated[int, tyro.conf.arg(metavar="PIXELS")] = 2048
    """Side of the square texture in pixels; 0 for no texture."""
    device: Annotated[str, tyro.conf.arg(metavar="NAME")] = "auto"
    """Where to compute: "cpu", "cuda", "mps", or "auto": "cuda" where there is one, else "cpu"."""


def known_focal_px(settings: LensSettings, image_size: tuple[int, int]) -> float | None:
    """The given focal length in pixels of pictures of image_size (W, H); None where it is solved.

    Raises `BadInputError` for what does not make one.
    """
    px, mm, sensor = settings.focal_px, settings.focal_mm, settings.sensor_mm
    angle = settings.field_of_view_deg
    if sum(value is not None for value in (px, mm, angle)) > 1:
        raise BadInputError(
            "Give the focal length in pixels, in millimetres or as a field of view: one of them."
        )
    for name, value in (("focal length", px), ("focal length", mm), ("sensor width", sensor)):
        if value is not None and not 0 < value < float("inf"):
            raise BadInputError(f"A {name} of {value:g}: it must be positive.")
    if angle is not None:
        if not 1 < angle < 170:
            raise BadInputError(f"A field of view of {angle:g} degrees: it must be 1 to 170.")
        return 0.5 * image_size[0] / math.tan(math.radians(angle) / 2)
    if mm is None:
        return px
    if sensor is None:
        raise BadInputError("--focal-mm needs --sensor-mm, the width of the sensor in the clip.")
    return mm * image_size[0] / sensor
