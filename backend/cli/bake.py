"""`mien bake`: the textures of a track, once more and in any size, as files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from backend.atomic import check_output
from backend.errors import BadInputError

if TYPE_CHECKING:
    from backend.bake.shot import BakedShot, PosedShot
    from backend.footage import Footage, Frame
    from backend.head import Head
    from backend.track import Track


@dataclass(frozen=True)
class Bake:
    """Bake a track's visibility and textures from its clip."""

    track: tyro.conf.Positional[Path]
    """Track file, by `mien track`."""
    clip: tyro.conf.Positional[Path]
    """The clip that it was tracked in."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FOLDER")]
    """Folder for texture, albedo, environment, visibility.npz and sheet.png; made where missing."""
    also: Annotated[tuple[tuple[Path, Path], ...], tyro.conf.arg(metavar="TRACK CLIP")] = ()
    """More tracks of the same person, each with its clip: other cameras, or other shots. One
    texture is merged from all, in the colours of the first; the other files are of the first."""
    size: int = 2048
    """Side of the textures in pixels, a power of two to 8192."""
    format: Literal["png", "exr"] = "png"
    """"png" is 8-bit sRGB, "exr" half floats in linear light (needs the `exr` extra)."""
    sequence: bool = False
    """Also write the texture of every frame, FOLDER/frames/texture.0001 and so on."""
    sheet: bool = True
    """Write sheet.png: textures, and frames beside their re-rendering and visibility."""
    device: Annotated[str, tyro.conf.arg(metavar="NAME")] = "auto"
    """Where to compute: "cpu", "cuda", or "auto": "cuda" where there is one."""
    write_track: Annotated[Path | None, tyro.conf.arg(metavar="OUT.npz")] = None
    """Also write the track with the new visibility and textures."""

    def run(self) -> None:
        """Bake and write the files; raises `MienError`."""
        if self.size < 64 or self.size > 8192 or self.size & (self.size - 1):
            raise BadInputError(f"--size {self.size}: use a power of two, 64 to 8192.")
        if self.write_track is not None:
            if self.write_track.suffix != ".npz":
                raise BadInputError(f"{self.write_track}: the track's name must end in .npz.")
            check_output(self.write_track)
        check_output(self.output / "texture")
        import torch

        from backend.bake.shot import BakeSettings, bake_cameras
        from backend.bake.texture_file import write_texture
        from backend.bake_stage import posed_shot_of
        from backend.cli.progress import make_view
        from backend.device import choose_device
        from backend.footage import open_footage
        from backend.footage.undistorted import without_distortion
        from backend.head import Head
        from backend.track import Track

        head = Head.load(device=choose_device(self.device))
        pairs = [(self.track, self.clip), *self.also]
        sources = []
        for name, clip in pairs:
            track, footage = Track.load(name), open_footage(clip)
            if tuple(track.image_size.tolist()) != tuple(footage.image_size):
                raise BadInputError(f"{clip}: is not the clip of {name}: its size differs.")
            missing = {*track.frame_index.tolist()} - {*footage.frame_numbers()}
            if missing:
                raise BadInputError(
                    f"{clip}: is not the clip of {name}: it lacks {len(missing)} of its frames, "
                    f"{min(missing)} for one."
                )
            footage = without_distortion(footage, track.K[0], track.distortion)
            sources.append((track, footage, posed_shot_of(track, head)))
        track, footage, shot = sources[0]
        view = make_view(False)
        settings = BakeSettings(texture_size=self.size)
        cameras = [(partial(_start, film), posed) for _, film, posed in sources]
        baked = bake_cameras(cameras, head, settings, view.update)[0]
        assert baked.color is not None and baked.texture is not None
        alpha = torch.from_numpy(baked.texture[..., 3].copy())
        write_texture(self.output / f"texture.{self.format}", baked.color, alpha)
        if baked.lighting is not None and baked.albedo is not None:
            write_texture(self.output / f"albedo.{self.format}", baked.albedo, alpha)
            light = torch.from_numpy(baked.lighting.environment(64))
            write_texture(self.output / f"environment.{self.format}", light)
        self._write_visibility(track, baked)
        if self.sheet:
            self._write_sheet(footage, track, baked)
        if self.sequence:
            self._write_sequence(footage, head, shot, baked)
        if self.write_track is not None:
            self._write_track(track, baked, self.write_track)
        view.close()
        view.note(f"{self.output}: {100 * baked.measured_fraction:.0f} % of the head was seen")

    def _write_visibility(self, track: Track, baked: BakedShot) -> None:
        """Soft visibility of vertices and landmarks; seen is what has at least `threshold`."""
        import numpy as np

        from backend.atomic import atomic_path
        from backend.bake.visibility import VISIBLE, as_u8, landmark_visibility
        from backend.head.landmarks import layout

        points = layout("dense320")
        marks = landmark_visibility(baked.visibility, points.vertices, points.barycentric)
        path = self.output / "visibility.npz"
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file,
                frame_index=track.frame_index,
                vertices=as_u8(baked.visibility),
                landmarks=as_u8(marks),
                covered=as_u8(baked.covered),
                threshold=np.uint8(np.ceil(255 * VISIBLE)),
            )

    def _write_sheet(self, footage: Footage, track: Track, baked: BakedShot) -> None:
        import numpy as np
        import torch

        from backend.bake.color import linear_to_srgb8
        from backend.bake.sheet import row_of_frame, row_of_textures, stack
        from backend.picture_file import write_picture

        assert baked.texture is not None
        environment = albedo = None
        if baked.lighting is not None and baked.albedo is not None:
            albedo = linear_to_srgb8(baked.albedo).numpy()
            light = torch.from_numpy(baked.lighting.environment(64))
            environment = linear_to_srgb8(0.5 * light).numpy()
        rows = [row_of_textures(baked.texture, albedo, environment)]
        places = np.linspace(0, track.n_frames - 1, 12).round().astype(int)
        number_of = {int(track.frame_index[number]): int(number) for number in places}
        for frame in footage:
            number = number_of.get(frame.index)
            if number is None:
                continue
            rows.append(
                row_of_frame(
                    frame.image,
                    track.vertices[number],
                    track.faces,
                    track.uv,
                    track.K[number],
                    np.ascontiguousarray(baked.texture[..., :3]),
                    baked.visibility[number],
                    baked.covered[number],
                    str(frame.index),
                )
            )
        write_picture(self.output / "sheet.png", stack(rows))

    def _write_sequence(
        self, footage: Footage, head: Head, shot: PosedShot, baked: BakedShot
    ) -> None:
        from backend.bake.sequence import frame_textures
        from backend.bake.texture_file import write_texture

        folder = self.output / "frames"
        assert baked.color is not None
        for index, color, alpha in frame_textures(footage, head, shot, baked, self.size):
            # Numbered as Blender counts, from 1.
            write_texture(folder / f"texture.{index + 1:04d}.{self.format}", color, alpha)

    def _write_track(self, track: Track, baked: BakedShot, path: Path) -> None:
        from backend.bake_stage import with_bake

        with_bake(track, baked).save(path)


def _start(footage: Footage) -> Iterable[Frame]:
    """The clip from its first frame."""
    return footage
