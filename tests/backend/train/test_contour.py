"""The jaw's silhouette: where the candidates lie, and which of them a turned head shows."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from backend.geometry.rasterizer import rasterize, to_pixels
from backend.head import Head
from backend.head.landmarks import layout
from backend.train.contour import N_CANDIDATES, ContourPaths, contour_choice, contour_points

K = torch.tensor([[900.0, 0.0, 199.5], [0.0, 900.0, 199.5], [0.0, 0.0, 1.0]])


@pytest.fixture(scope="module")
def head() -> Head:
    return Head.load()


@pytest.fixture(scope="module")
def paths(head: Head) -> ContourPaths:
    return ContourPaths.from_head(head)


def posed(head: Head, yaw_degrees: float) -> torch.Tensor:
    """Vertices (N,3) of the mean head, its face centred 60 cm before the camera."""
    rotations = torch.zeros(4, 3)
    rotations[0, 1] = np.radians(yaw_degrees)
    vertices = head(torch.zeros(100), torch.zeros(52), rotations, torch.zeros(3))
    return vertices - vertices[head.regions["face"]].mean(0) + torch.tensor([0.0, 0.0, 0.6])


def test_paths_start_at_the_jaw_and_stay_on_one_side(head: Head, paths: ContourPaths) -> None:
    points = paths.candidates(head.template.numpy())
    assert points.shape == (17, N_CANDIDATES, 3)
    jaw = head.landmarks(head.template, layout("ibug68"))[:17].numpy()
    np.testing.assert_allclose(points[:, 0], jaw, atol=1e-6)
    step = np.linalg.norm(np.diff(points, axis=1), axis=-1)
    assert step.max() < 0.009  # no candidate jumps onto the nose, the ear or the neck
    assert (points[:8, :, 0] < 0).all() and (points[9:, :, 0] > 0).all()


def test_frontal_contour_is_the_jaw(head: Head, paths: ContourPaths) -> None:
    pixels = paths.candidates(to_pixels(posed(head, 0.0), K)[..., :2])
    moved = (contour_points(pixels) - pixels[:, 0]).norm(dim=-1)
    interocular = 0.093 * 900 / 0.6
    assert moved.max() < 0.05 * interocular


# Beyond 45 degrees the nose stands behind the upper points: they are then far from the background.
@pytest.mark.parametrize(("yaw", "free"), [(45.0, (1, 2, 3, 4, 5)), (60.0, (5,))])
def test_far_side_walks_to_the_silhouette_and_near_side_stays(
    head: Head, paths: ContourPaths, yaw: float, free: tuple[int, ...]
) -> None:
    vertices = to_pixels(posed(head, yaw), K)
    index, _, _ = rasterize(vertices, head.faces, (400, 400))
    covered = (index >= 0).numpy()
    pixels = paths.candidates(vertices[..., :2].numpy())
    contour = contour_points(pixels)
    to_background = cv2.distanceTransform(covered.astype(np.uint8), cv2.DIST_L2, 5)
    # Positive yaw turns the face to image left: points 1 to 5 are on the far side.
    for k in free:
        x, y = np.round(contour[k]).astype(int)
        inside = to_background[y, x] / 140  # inter-ocular distances
        assert inside < 0.05, f"point {k} lies {inside:.2f} inside"
        assert np.linalg.norm(contour[k] - pixels[k, 0]) > 10
    assert (contour_choice(pixels)[10:] == 0).all()


def test_batches_torch_and_mirror_agree(head: Head, paths: ContourPaths) -> None:
    batch = torch.stack([to_pixels(posed(head, yaw), K)[..., :2] for yaw in (-40.0, 10.0, 40.0)])
    candidates = paths.candidates(batch)
    contour = contour_points(candidates)
    assert contour.shape == (3, 17, 2)
    np.testing.assert_array_equal(contour_points(candidates.numpy()), contour.numpy())
    # The mean head is symmetric: a yaw of the other sign shows the mirrored outline.
    mirrored = contour[2].flip(0) * torch.tensor([-1.0, 1.0]) + torch.tensor([2 * 199.5, 0.0])
    assert (mirrored - contour[0]).norm(dim=-1).max() < 6.0
