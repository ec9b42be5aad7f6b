"""Skin textures in the head's UV layout: MakeHuman's carried over, and real ones from portraits."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from .assets import AssetLibrary

SKIN_SIZE = 512


class SkinLibrary:
    """Skins by number: first MakeHuman's, then the real ones."""

    def __init__(self, library: AssetLibrary, head_file: Path, real: Path | None = None) -> None:
        self._synthetic = library.skins
        with np.load(head_file) as data:
            faces_uv, uv = data["face_uv"].astype(np.int64), data["uv"].astype(np.float64)
            names = [str(x) for x in data["island_names"]]
            island, affine = data["face_island"], data["island_from_body_uv"].astype(np.float64)
        self._map = _body_lookup(uv, faces_uv, island, affine, names)
        self._real: list[np.ndarray] = []
        if real is not None:
            with np.load(real, allow_pickle=False) as data:
                starts, blob = data["offsets"], data["jpeg"]
                self._real = [blob[a:b] for a, b in pairwise(starts)]

    def __len__(self) -> int:
        return len(self._synthetic) + len(self._real)

    @property
    def n_synthetic(self) -> int:
        """How many of the skins are MakeHuman's."""
        return len(self._synthetic)

    def image(self, number: int) -> np.ndarray:
        """(512,512,3) u8 RGB in the head's layout, first row at v = 1."""
        if number >= len(self._synthetic):
            encoded = self._real[number - len(self._synthetic)]
            return cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        body = self.body_image(number)
        size = np.array(body.shape[1::-1])
        x = (self._map[..., 0] * size[0] - 0.5).astype(np.float32)
        y = ((1.0 - self._map[..., 1]) * size[1] - 0.5).astype(np.float32)
        return cv2.remap(body, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    def body_image(self, number: int) -> np.ndarray:
        """A MakeHuman skin in the body layout; for a real skin, its mean colour (for the neck)."""
        if number >= len(self._synthetic):
            image = self.image(number)
            rows = image[
                int(0.50 * SKIN_SIZE) : int(0.75 * SKIN_SIZE),
                int(0.3 * SKIN_SIZE) : int(0.7 * SKIN_SIZE),
            ]
            return np.full((8, 8, 3), np.median(rows.reshape(-1, 3), axis=0), np.uint8)
        return self._synthetic[number].decode(1024)


def _body_lookup(
    uv: np.ndarray, face_uv: np.ndarray, island: np.ndarray, affine: np.ndarray, names: list[str]
) -> np.ndarray:
    """(512,512,2) body-layout UV of every texel of the head's layout (islands a little dilated)."""
    owner = np.full((SKIN_SIZE, SKIN_SIZE), 255, np.uint8)
    for number in range(len(names)):
        for triangle in uv[face_uv[island == number]]:
            corner = np.column_stack([triangle[:, 0], 1.0 - triangle[:, 1]]) * SKIN_SIZE
            cv2.fillConvexPoly(owner, np.round(corner * 16 - 8).astype(np.int32), number, shift=4)
    empty = (owner == 255).astype(np.uint8)
    # Texels outside take the island of the nearest one inside, so that filtering finds no seam.
    _, labels = cv2.distanceTransformWithLabels(
        empty, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    inside = owner[empty == 0]
    number_of = np.zeros(labels.max() + 1, np.uint8)
    number_of[labels[empty == 0]] = inside
    owner = number_of[labels]
    centres = (np.arange(SKIN_SIZE) + 0.5) / SKIN_SIZE
    u, v = np.meshgrid(centres, 1.0 - centres)
    out = np.zeros((SKIN_SIZE, SKIN_SIZE, 2))
    for number in range(len(names)):
        rows = owner == number
        linear, offset = affine[number][:, :2], affine[number][:, 2]
        out[rows] = (np.column_stack([u[rows], v[rows]]) - offset) @ np.linalg.inv(linear).T
    return out
