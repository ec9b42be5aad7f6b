# SPDX-License-Identifier: GPL-3.0-or-later
"""A mask of the Movie Clip Editor, frame by frame, as pictures that the backend reads."""

from __future__ import annotations

import hashlib
from pathlib import Path

import bpy
import numpy as np

from ..png import encode_png
from ..scene.datablocks import by_uid
from ..translations import rpt
from .raster import MaskLayer, draw, flatten

LONGER_SIDE = 1024
"""Of the pictures: a landmark is not known more exactly than to a thousandth of the picture."""

DIGITS = 6


def is_parented(mask: bpy.types.Mask) -> bool:
    """Whether any point follows a track: Blender does not tell scripts where it then is."""
    return any(
        point.parent.id is not None and point.parent.parent
        for layer in mask.layers
        for spline in layer.splines
        for point in spline.points
    )


def layers_of(mask: bpy.types.Mask) -> list[MaskLayer]:
    """Return the layers of a mask as they are in its current frame, the lowest first."""
    layers = []
    for layer in reversed(mask.layers):
        if layer.hide_render:
            continue
        outlines = []
        for spline in layer.splines:
            count = len(spline.points)
            if not (spline.use_cyclic and spline.use_fill) or count < 2:
                continue
            table = {}
            for name in ("co", "handle_left", "handle_right"):
                table[name] = np.array([getattr(point, name) for point in spline.points])
            outlines.append(flatten(table["co"], table["handle_left"], table["handle_right"]))
        holes = getattr(layer, "use_fill_holes", True)
        layers.append(
            MaskLayer(tuple(outlines), float(layer.alpha), layer.invert, layer.blend, holes)
        )
    return layers


class MaskPictures:
    """Writes the pictures of a mask, a frame at a time: `step` until it says that all is done."""

    def __init__(
        self, mask: bpy.types.Mask, clip: bpy.types.MovieClip | None, size: tuple[int, int],
        offset: int, last: int, folder: Path,
    ) -> None:  # fmt: skip
        """size (W, H): of the picture. offset: frame of the scene that is the clip's frame 0.

        last: the last frame of the clip that is needed. Raises ValueError for a mask whose points
        follow tracks, OSError for a folder that cannot be made.
        """
        if is_parented(mask):
            raise ValueError(
                rpt(
                    "{name}: points that follow a track are not supported: clear their "
                    "parents and key the shape instead.",
                    name=mask.name,
                )
            )
        scale = min(1.0, LONGER_SIDE / max(size))
        self.size = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
        self._uid, self._offset, self._last = mask.session_uid, offset, last
        # Blender's is the height over the width that a pixel is wide: masks are of what is shown.
        self._aspect = 1.0 if clip is None else 1.0 / clip.tracking.camera.pixel_aspect
        self._folder, self._index = folder, 0
        self._pictures: dict[bytes, bytes] = {}
        self._frames: list[bytes] = []
        # A scene of its own: the artist's stands still, and has nothing else to evaluate.
        self._scene_uid = bpy.data.scenes.new("Mien Mask").session_uid
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def fraction(self) -> float:
        """Share that is done."""
        return self._index / (self._last + 1)

    def step(self) -> str:
        """Draw one frame's picture; returns the path for the backend when all are there.

        Raises ValueError where the mask has gone, OSError where a file cannot be written.
        """
        mask = by_uid(bpy.data.masks, self._uid)
        scene = by_uid(bpy.data.scenes, self._scene_uid)
        if mask is None or scene is None:
            raise ValueError("The mask has been removed.")
        scene.frame_set(self._index + self._offset)
        layers = layers_of(mask.evaluated_get(scene.view_layers[0].depsgraph))
        key = hashlib.blake2b(digest_size=16)
        for layer in layers:
            key.update(repr((layer.alpha, layer.invert, layer.blend, layer.holes)).encode())
            for outline in layer.outlines:
                key.update(outline.tobytes() + b"|")
        digest = key.digest()
        if digest not in self._pictures:
            self._pictures[digest] = encode_png(draw(layers, self.size, self._aspect))
        self._frames.append(digest)
        self._index += 1
        return self._write() if self._index > self._last else ""

    def close(self) -> None:
        """Remove what was needed meanwhile."""
        scene = by_uid(bpy.data.scenes, self._scene_uid)
        if scene is not None:
            bpy.data.scenes.remove(scene)

    def _write(self) -> str:
        """Write one picture where it is always the same, else one for each frame."""
        # A name of their own for other pictures: the backend knows those that it has read.
        name = hashlib.blake2b(b"".join(self._frames), digest_size=5).hexdigest()
        if len(self._pictures) == 1:
            path = self._folder / f"mask_{name}.png"
            path.write_bytes(self._pictures[self._frames[0]])
            return str(path)
        folder = self._folder / f"mask_{name}"
        folder.mkdir(exist_ok=True)
        for index, digest in enumerate(self._frames):
            (folder / f"mask_{index:0{DIGITS}d}.png").write_bytes(self._pictures[digest])
        return str(folder / f"mask_{'#' * DIGITS}.png")


def mask_folder(refine: bpy.types.PropertyGroup) -> Path:
    """Return where pictures of masks go. Raises ValueError where there is no place for them yet."""
    if refine.mask_folder:
        return Path(bpy.path.abspath(refine.mask_folder)).absolute()
    if not bpy.data.filepath:
        raise ValueError("Save the .blend file first, or choose a folder for the mask's pictures")
    return Path(bpy.data.filepath).parent / "mien_masks"
