"""`mien bake`: the textures of a track, once more and in any size, as files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from backend.errors import BadInputError

if TYPE_CHECKING:
    from backend.bake.shot import BakedShot, PosedShot
    from backend.footage import Footage
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
    """Folder for texture, albedo, environment and sheet.png; made where it is missing."""
    size: int = 2048
    """Side of the textures in pixels, a power of two to 8192."""
    format: Literal["png", "exr"] = "png"
    """"png" is 8-bit sRGB, "exr" half floats in linear light (needs the `exr` extra)."""
    sequence: bool = False
    """Also write the texture of every frame, FOLDER/frames/texture.0001 and so on."""
    sheet: bool = True
    """Write sheet.png: textures, and frames beside their re-rendering and visibility."""
    write_track: Annotated[Path | None, tyro.conf.arg(metavar="OUT.npz")] = None
    """Also write the track with the new visibility and textures."""

    def run(self) -> None:
        """Bake and write the files; raises `MienError`."""
        if self.size < 64 or self.size > 8192 or self.size & (self.size - 1):
            raise BadInputError(f"--size {self.size}: use a power of two, 64 to 8192.")
        import torch

        from backend.bake.shot import BakeSettings, bake_shot
        from backend.bake.texture_file import write_texture
        from backend.bake_stage import posed_shot_of
        from backend.cli.progress import make_view
        from backend.footage import open_footage
        from backend.head import Head
        from backend.track import Track

        track, footage, head = Track.load(self.track), open_footage(self.clip), Head.load()
        if tuple(track.image_size.tolist()) != tuple(footage.image_size):
            raise BadInputError(f"{self.clip}: is not the clip of {self.track}: its size differs.")
        shot = posed_shot_of(track, head)
        view = make_view(False)
        settings = BakeSettings(texture_size=self.size)
        baked = bake_shot(lambda: footage, head, shot, settings, view.update)
        assert baked.color is not None and baked.texture is not None
        alpha = torch.from_numpy(baked.texture[..., 3].copy())
        write_texture(self.output / f"texture.{self.format}", baked.color, alpha)
        if baked.lighting is not None and baked.albedo is not None:
            write_texture(self.output / f"albedo.{self.format}", baked.albedo, alpha)
            light = torch.from_numpy(baked.lighting.environment(64))
            write_texture(self.output / f"environment.{self.format}", light)
        if self.sheet:
            self._write_sheet(footage, track, baked)
        if self.sequence:
            self._write_sequence(footage, head, shot, baked)
        if self.write_track is not None:
            self._write_track(track, baked, self.write_track)
        view.close()
        view.note(f"{self.output}: {100 * baked.measured_fraction:.0f} % of the head was seen")

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

        if path.suffix != ".npz":
            raise BadInputError(f"{path}: the track's name must end in .npz.")
        with_bake(track, baked).save(path)
