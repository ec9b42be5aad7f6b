"""What is behind a head is told from the head along its outline."""

from __future__ import annotations

import numpy as np
import torch

from backend.bake.depth_view import render_depth_view
from backend.bake.rim import rim_likeness, see_rim
from backend.geometry.rasterizer import to_pixels

SIZE = (320, 288)
K = torch.tensor([[420.0, 0, 159.5], [0, 420, 143.5], [0, 0, 1]])


def test_background_on_the_rim_is_not_taken(bust) -> None:
    vertices = bust.posed(0.0, 0.0, 0.45)
    view = render_depth_view(vertices, bust.faces, K, SIZE)
    assert view is not None
    skin, wall = np.array((180, 140, 120)), np.array((120, 150, 220))
    image = np.tile(wall.astype(np.uint8), (SIZE[1], SIZE[0], 1))
    image[60:230, 90:230] = skin
    rim = see_rim(view, image, K)
    pixels = to_pixels(vertices, K)
    facing = vertices[:, 2] < 0.45
    edge = vertices[facing & (pixels[:, 0] > pixels[facing, 0].max() - 4)]
    middle = vertices[facing & ((pixels[:, :2] - torch.tensor([159.5, 143.5])).norm(dim=1) < 20)]

    def linear(color: np.ndarray, count: int) -> torch.Tensor:
        return torch.from_numpy((color / 255.0) ** 2.2).float().expand(count, 3)

    assert len(edge) > 3 and len(middle) > 3
    assert float(rim.likeness(edge, linear(wall, len(edge))).max()) < 0.2
    assert float(rim.likeness(edge, linear(skin, len(edge))).min()) > 0.9
    # Within the face any colour may be a mole or a lip.
    assert float(rim.likeness(middle, linear(wall, len(middle))).min()) == 1


def test_a_mesh_that_is_too_large_shows_the_background_and_no_cover() -> None:
    """Blue background inside the outline is told from skin, and from a cover deeper inside."""
    y, x = np.mgrid[:160, :160]
    radius = np.hypot(x - 80, y - 80)
    color = np.where(radius[..., None] < 66, (0.5, 0.3, 0.2), (0.1, 0.2, 0.6))
    color[70:90, 70:90] = (0.1, 0.2, 0.6)
    on_head = torch.from_numpy(radius < 70)
    trust = rim_likeness(torch.from_numpy(color).float(), on_head)
    assert trust[torch.from_numpy((radius > 66.5) & (radius < 69.5))].max() < 0.2
    assert trust[torch.from_numpy(radius < 65)].min() > 0.9
    assert (trust[~on_head] == 1).all()
