"""Options of `mien track` for several cameras of one performance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from backend.errors import BadInputError

if TYPE_CHECKING:
    from backend.cameras import FurtherCamera
    from backend.settings import TrackSettings
    from shared.jobs import RigCamera
    from shared.rig import KnownCamera


@dataclass(frozen=True)
class RigFlag:
    """`--rig`, with or without a file."""

    file: Path | None = None
    """Where the cameras stand; solved where None."""


def _read(values: list[str]) -> RigFlag:
    if len(values) > 1 or (values and not values[0].endswith(".json")):
        raise ValueError(f"--rig takes one .json file or none, not {' '.join(values)}")
    return RigFlag(Path(values[0]) if values else None)


_RIG = tyro.constructors.PrimitiveConstructorSpec(
    nargs="*",
    metavar="[FILE.json]",
    instance_from_str=_read,
    is_instance=lambda value: value is None or isinstance(value, RigFlag),
    str_from_instance=lambda flag: [] if flag is None or flag.file is None else [str(flag.file)],
)


@dataclass(frozen=True)
class RigSettings:
    """Several cameras."""

    rig: Annotated[RigFlag | None, _RIG] = None
    """The clips are of several cameras that recorded one performance. The file says where they
    stand: R, T and f of each (docs/constraints.md); without a file that is solved."""
    offset: Annotated[
        tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="CLIP=FRAMES")
    ] = ()
    """Time offset of a clip, such as B.mp4=+3.5: frame t of the first clip shows the moment of
    frame t + 3.5 of B.mp4. Estimated from how the face moves where not given."""

    def cameras(
        self, clips: Sequence[Path], settings: TrackSettings
    ) -> tuple[TrackSettings, list[KnownCamera]]:
        """What is known of the further cameras, and the settings of the first.

        Raises `BadInputError`.
        """
        from dataclasses import replace

        from backend.footage import open_footage
        from backend.rig_file import read_offsets, read_rig
        from backend.settings import known_focal_px
        from shared.rig import KnownCamera

        if self.rig is None:
            if len(clips) > 1 or self.offset:
                raise BadInputError(
                    "Several clips of one performance need --rig; different performances of one "
                    "person are tracked one by one, with --identity."
                )
            return settings, []
        if len(clips) < 2:
            raise BadInputError("--rig needs the clips of at least two cameras.")
        known = [KnownCamera()] * len(clips)
        if self.rig.file is not None:
            known = read_rig(self.rig.file, clips)
        offsets = read_offsets(self.offset, clips)
        known = [
            replace(camera, offset=offsets.get(number, camera.offset))
            for number, camera in enumerate(known)
        ]
        if known_focal_px(settings, (1, 1)) is not None:
            # What holds for one holds for all that the file does not tell of.
            known = [
                camera
                if camera.focal_px is not None
                else replace(
                    camera, focal_px=known_focal_px(settings, open_footage(clip).image_size)
                )
                for camera, clip in zip(known, clips, strict=True)
            ]
        if known[0].focal_px is not None:
            settings = replace(
                settings, focal_px=known[0].focal_px, focal_mm=None, sensor_mm=None,
                field_of_view_deg=None,
            )  # fmt: skip
        return settings, known[1:]


def further_cameras(
    clips: Sequence[Path], known: Sequence[KnownCamera], frame_rate: Fraction | None = None
) -> list[FurtherCamera]:
    """The cameras as the pipeline takes them. frame_rate: of those that are image sequences."""
    from backend.cameras import FurtherCamera
    from backend.footage import open_footage

    return [
        FurtherCamera(
            open_footage(clip, frame_rate=frame_rate),
            camera.offset,
            camera.rotmat,
            camera.translation,
            camera.focal_px,
        )
        for clip, camera in zip(clips, known, strict=True)
    ]


def rig_cameras(clips: Sequence[Path], known: Sequence[KnownCamera]) -> list[RigCamera]:
    """The cameras as a message takes them."""
    return [camera.message(str(clip.absolute())) for clip, camera in zip(clips, known, strict=True)]
