"""A rendered performance as footage, and its true mesh as the bake takes it."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backend.bake.shot import PosedShot
from backend.bake.visibility import soft_vertex_visibility
from backend.evaluate.bake_scene import Performance, without_lashes
from backend.footage import Footage, Frame
from backend.head import Head

Picture = NDArray[np.uint8]


def posed(head: Head, shot: Performance) -> PosedShot:
    """The performance as the bake takes it, with the true mesh."""
    vertices = shot.vertices.numpy()
    K = np.repeat(shot.K[None].astype(np.float64), len(vertices), axis=0)
    return PosedShot(
        frame_index=np.arange(len(vertices)),
        vertices=vertices,
        visibility=soft_vertex_visibility(
            vertices, head.faces, K, shot.image_size, occluders=without_lashes(head)
        ),
        K=K,
        head_pose=shot.head_pose,
        expression=shot.expression,
        found=np.ones(len(vertices), bool),
        rest_vertices=head.template.numpy(),
    )


class RenderedFootage(Footage):
    """Pictures in memory as a clip of 25 frames a second."""

    def __init__(self, pictures: list[Picture]) -> None:
        self.pictures = pictures
        self.path = Path("rendered")
        self.image_size = (pictures[0].shape[1], pictures[0].shape[0])
        self.frame_rate = Fraction(25)
        self.n_frames = len(pictures)
        self.warnings = []

    def __iter__(self) -> Iterator[Frame]:
        """One frame after the other."""
        for number, image in enumerate(self.pictures):
            yield Frame(number, number / 25, image)
