"""Contact sheets of the asset library: `python -m backend.train.assets_sheet LIBRARY -o FOLDER`.

A slow, plain renderer (dense surface samples and a depth sort) that needs no graphics driver:
for looking whether every asset sits right, not for training images.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from backend.train import assets_sources as sources
from backend.train.assets import AssetLibrary, BoundMesh, anny_from_obj

Array = NDArray[Any]


@dataclass(frozen=True)
class Surface:
    """Triangles with a texture, in anny's frame (metres)."""

    positions: Array  # (n, 3)
    triangles: Array  # (t, 3)
    uv: Array  # (n, 2) v up
    texture: Array  # (H, W, 3 or 4) uint8 RGB(A)


def sample_surface(surface: Surface, spacing: float) -> tuple[Array, Array]:
    """Points (m, 3) and RGB (m, 3) that cover a surface; transparent texels give none.

    spacing: metres between samples.
    """
    corners = surface.positions[surface.triangles]
    uv = surface.uv[surface.triangles]
    edges = corners[:, 1:] - corners[:, :1]
    normals = np.cross(edges[:, 0], edges[:, 1])
    area = np.linalg.norm(normals, axis=1)
    normals /= np.maximum(area, 1e-12)[:, None]
    count = np.clip(np.ceil(area / spacing**2), 1, 4000).astype(int)
    owner = np.repeat(np.arange(len(count)), count)
    rank = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    # The R2 low-discrepancy sequence, folded into the triangle.
    a, b = (0.5 + rank * 0.7548776662) % 1.0, (0.5 + rank * 0.5698402910) % 1.0
    fold = a + b > 1.0
    a, b = np.where(fold, 1 - a, a), np.where(fold, 1 - b, b)
    mix = np.stack([1 - a - b, a, b], axis=1)
    points = np.einsum("mk,mkc->mc", mix, corners[owner])
    where = np.einsum("mk,mkc->mc", mix, uv[owner]) % 1.0
    height, width = surface.texture.shape[:2]
    column = np.minimum((where[:, 0] * width).astype(int), width - 1)
    row = np.minimum(((1.0 - where[:, 1]) * height).astype(int), height - 1)
    texel = surface.texture[row, column]
    light = normals @ (np.array([0.4, -0.75, 0.53]))
    shade = (0.45 + 0.55 * np.abs(light))[owner, None]
    solid = texel[:, 3] > 100 if texel.shape[1] == 4 else np.ones(len(texel), dtype=bool)
    return points[solid], (texel[:, :3] * shade)[solid]


def draw(surfaces: list[Surface], yaw: float, centre: Array, extent: float, size: int) -> Array:
    """Orthographic picture (size, size, 3) uint8 RGB.

    yaw: radians by which the subject turns to its left. centre (3,) metres, anny's frame.
    extent: metres that the picture spans.
    """
    pixel = extent / size
    samples = [sample_surface(surface, 0.8 * pixel) for surface in surfaces]
    points = np.concatenate([s[0] for s in samples]) - centre
    colours = np.concatenate([s[1] for s in samples])
    cos, sin = np.cos(yaw), np.sin(yaw)
    right = cos * points[:, 0] - sin * points[:, 1]
    depth = sin * points[:, 0] + cos * points[:, 1]
    column = np.round(right / pixel + (size - 1) / 2).astype(int)
    row = np.round(-points[:, 2] / pixel + (size - 1) / 2).astype(int)
    inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
    order = np.argsort(-depth[inside])
    image = np.full((size, size, 3), 200, dtype=np.uint8)
    image[row[inside][order], column[inside][order]] = colours[inside][order]
    return image


def surface_of(mesh: BoundMesh, base: Array, texture: Array) -> Surface:
    """A bound mesh on compact base vertices."""
    return Surface(mesh.positions(base), mesh.triangles, mesh.uv, texture)


def pictures(library: AssetLibrary, base: Array, size: int) -> dict[str, list[Array]]:
    """Every mesh on the head, front and turned, by category.

    base (19158, 3): a whole base mesh in anny's frame, metres.
    """
    compact = base[library.required_base_vertices()]
    eyes, brows = library.of("eyes")[0], library.of("eyebrows")[0]
    skin = library.of("body")[0]
    body = surface_of(skin, compact, library.skins[-1].decode(1024))
    eye = surface_of(eyes, compact, eyes.textures[2].decode())
    brow = surface_of(brows, compact, brows.textures[0].decode())
    face = base[14598:14742].mean(axis=0) + np.array([0.0, 0.0, -0.02])
    frames = {
        "eyebrows": (0.16, 0.02),
        "eyelashes": (0.12, 0.02),
        "eyes": (0.12, 0.02),
        "glasses": (0.24, 0.0),
        "teeth": (0.16, -0.07),
        "tongue": (0.16, -0.07),
        "clothes": (0.75, -0.18),
    }
    sheets: dict[str, list[Array]] = {}
    for mesh in library.meshes:
        if mesh.category == "body":
            continue
        extent, lift = frames.get(mesh.category, (0.45, 0.0))
        for texture in mesh.textures:
            scene = [surface_of(mesh, compact, texture.decode())]
            if mesh.category not in {"teeth", "tongue"}:
                left = replace(body, triangles=skin.visible_triangles((mesh,)))
                scene += [left, *([] if mesh.category == "eyes" else [eye])]
            if mesh.category not in {"eyebrows", "teeth", "tongue"}:
                scene.append(brow)
            centre = face + np.array([0.0, 0.0, lift])
            views = [draw(scene, yaw, centre, extent, size) for yaw in (0.0, 0.9)]
            tile = np.ascontiguousarray(np.concatenate(views, axis=1))
            cv2.putText(tile, mesh.name, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (180, 0, 0), 1)
            sheets.setdefault(mesh.category, []).append(tile)
    return sheets


def grid(tiles: list[Array], columns: int) -> Array:
    """Tiles of one shape in rows, padded with white."""
    blank = np.full_like(tiles[0], 255)
    padded = tiles + [blank] * (-len(tiles) % columns)
    rows = [np.concatenate(padded[i : i + columns], axis=1) for i in range(0, len(padded), columns)]
    return np.concatenate(rows, axis=0)


def thumbnails(images: list[Array], size: int) -> list[Array]:
    """Images of any shape as (size, size, 3) RGB."""
    return [cv2.resize(image[..., :3], (size, size)) for image in images]


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("library", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of PNG sheets")
    parser.add_argument("--size", type=int, default=256, help="pixels of one view")
    parser.add_argument("--base", type=Path, help="npy (19158,3) in anny's frame, else base.obj")
    arguments = parser.parse_args(argv)
    library = AssetLibrary.load(arguments.library)
    if arguments.base is not None:
        base = np.load(arguments.base)
    else:
        base = anny_from_obj(sources.read_base_obj(sources.base_obj_path()).vertices)
    sheets = {k: grid(v, 4) for k, v in pictures(library, base, arguments.size).items()}
    sheets["skins"] = grid(thumbnails([s.decode(256) for s in library.skins], 192), 8)
    sheets["environments"] = grid([e.background.decode() for e in library.environments], 4)
    sheets["backgrounds"] = grid(thumbnails([b.decode() for b in library.backgrounds], 96), 24)
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name, image in sheets.items():
        cv2.imwrite(str(arguments.output / f"{name}.png"), image[..., ::-1])
        print(arguments.output / f"{name}.png")


if __name__ == "__main__":
    main()
