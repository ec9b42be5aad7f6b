"""A small stand-in for a head whose surface, UVs, mirror map and skin are known in closed form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch


@dataclass(frozen=True)
class Bust:
    """An ellipsoid with a nose, facing -z, in metres; UV seam at the back of the head."""

    vertices: torch.Tensor
    faces: torch.Tensor
    uv: torch.Tensor
    face_uv: torch.Tensor
    mirror: torch.Tensor
    regions: dict[str, torch.Tensor]

    def posed(self, yaw: float, pitch: float, distance: float) -> torch.Tensor:
        """Vertices (N, 3) in the camera frame, turned by yaw and pitch in radians."""
        cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
        turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        nod = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
        rotation = torch.tensor(nod @ turn, dtype=torch.float32)
        return self.vertices @ rotation.T + torch.tensor([0.0, 0.0, distance])


def _make_bust(
    rings: int = 40, columns: int = 56, nose: float = 0.035, width: float = 0.05
) -> Bust:
    """Rings from the top pole to the bottom pole, columns from the back around by the left."""
    polar = np.pi * (np.arange(1, rings)) / rings
    around = 2 * np.pi * np.arange(columns) / columns
    P, A = np.meshgrid(polar, around, indexing="ij")
    direction = np.stack((np.sin(P) * np.sin(A), -np.cos(P), np.sin(P) * np.cos(A)), -1)
    grid = direction * np.array([0.075, 0.11, 0.09])
    front = np.exp(-((P - 0.52 * np.pi) ** 2 + (0.8 * (A - np.pi)) ** 2) / width)
    grid[..., 2] -= nose * front
    top, bottom = [0, -0.11, 0], [0, 0.11, 0]
    vertices = np.concatenate((grid.reshape(-1, 3), [top], [bottom]))
    top_index, bottom_index = len(vertices) - 2, len(vertices) - 1

    faces, face_uv = [], []
    uv_columns = columns + 1
    uv = np.stack(
        np.meshgrid(np.arange(uv_columns) / columns, 1 - np.arange(rings + 1) / rings), -1
    ).reshape(-1, 2)
    uv = 0.04 + 0.92 * uv
    for ring in range(rings):
        for column in range(columns):
            after = (column + 1) % columns

            def vertex(r: int, c: int) -> int:
                if r == 0:
                    return top_index
                return bottom_index if r == rings else (r - 1) * columns + c

            quad = [(ring, column), (ring, after), (ring + 1, after), (ring + 1, column)]
            uv_quad = [
                (ring, column),
                (ring, column + 1),
                (ring + 1, column + 1),
                (ring + 1, column),
            ]
            for corners in ((0, 1, 2), (0, 2, 3)):
                triangle = [vertex(*quad[k]) for k in corners]
                if len(set(triangle)) == 3:
                    faces.append(triangle)
                    face_uv.append([uv_quad[k][0] * uv_columns + uv_quad[k][1] for k in corners])
    mirror = np.arange(len(vertices))
    rows = np.arange(rings - 1)[:, None] * columns
    mirror[: (rings - 1) * columns] = (rows + (-np.arange(columns)) % columns).reshape(-1)
    return Bust(
        vertices=torch.tensor(vertices, dtype=torch.float32),
        faces=torch.tensor(faces),
        uv=torch.tensor(uv, dtype=torch.float32),
        face_uv=torch.tensor(face_uv),
        mirror=torch.tensor(mirror),
        regions={"skin": torch.arange(len(vertices))},
    )


@pytest.fixture(scope="session")
def make_bust() -> Callable[..., Bust]:
    return _make_bust


@pytest.fixture(scope="session")
def bust() -> Bust:
    return _make_bust()
