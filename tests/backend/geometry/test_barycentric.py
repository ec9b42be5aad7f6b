"""Points on triangles against brute force and closed forms."""

from __future__ import annotations

import torch

from backend.geometry.barycentric import (
    barycentric_of,
    closest_on_mesh,
    closest_on_triangle,
    interpolate_on_triangles,
    sample_surface,
)


def random_corners(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, 3, 3, generator=generator, dtype=torch.float64)


def test_interpolation_takes_any_leading_dimensions() -> None:
    attributes = torch.randn(2, 4, 10, 5, dtype=torch.float64)
    triangles = torch.tensor([[0, 1, 2], [7, 3, 9]])
    weights = torch.tensor([[1.0, 0.0, 0.0], [0.2, 0.3, 0.5]])
    values = interpolate_on_triangles(attributes, triangles, weights)
    assert values.shape == (2, 4, 2, 5)
    torch.testing.assert_close(values[..., 0, :], attributes[..., 0, :])
    expected = 0.2 * attributes[..., 7, :] + 0.3 * attributes[..., 3, :]
    torch.testing.assert_close(values[..., 1, :], expected + 0.5 * attributes[..., 9, :])


def test_barycentric_of_inverts_interpolation_off_the_plane() -> None:
    corners = random_corners(3, 20)
    weights = torch.softmax(torch.randn(3, 20, 3, dtype=torch.float64), -1)
    normal = torch.linalg.cross(
        corners[..., 1, :] - corners[..., 0, :], corners[..., 2, :] - corners[..., 0, :]
    )
    points = (corners * weights[..., None]).sum(-2) + 0.7 * normal
    torch.testing.assert_close(barycentric_of(points, corners), weights)


def test_closest_on_triangle_beats_a_dense_sampling_of_it() -> None:
    corners = random_corners(50, seed=1)
    points = 2 * torch.randn(50, 3, dtype=torch.float64)
    closest, weights = closest_on_triangle(points, corners)
    assert (weights >= 0).all() and (weights <= 1).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(50, dtype=torch.float64))
    torch.testing.assert_close((corners * weights[..., None]).sum(-2), closest)
    steps = torch.linspace(0, 1, 101, dtype=torch.float64)
    u, v = torch.meshgrid(steps, steps, indexing="ij")
    keep = u + v <= 1 + 1e-12
    lattice = torch.stack((1 - u[keep] - v[keep], u[keep], v[keep]), -1)
    samples = torch.einsum("gk,tkc->tgc", lattice, corners)
    sampled = (samples - points[:, None]).norm(dim=-1).amin(1)
    distance = (closest - points).norm(dim=-1)
    assert (distance <= sampled + 1e-12).all()
    assert (sampled - distance).max() < 0.05


def test_a_triangle_without_area_falls_back_to_its_edges() -> None:
    corners = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [2, 0, 0]], [[1.0, 1, 1]] * 3])
    closest, weights = closest_on_triangle(torch.tensor([[1.5, 1.0, 0.0], [0.0, 0, 0]]), corners)
    torch.testing.assert_close(closest, torch.tensor([[1.5, 0.0, 0.0], [1.0, 1, 1]]))
    assert torch.isfinite(weights).all()


def test_closest_on_mesh_equals_brute_force() -> None:
    generator = torch.Generator().manual_seed(3)
    vertices = torch.randn(60, 3, generator=generator, dtype=torch.float64)
    faces = torch.randint(0, 60, (90, 3), generator=generator)
    points = torch.randn(200, 3, generator=generator, dtype=torch.float64)
    closest, face, weights = closest_on_mesh(points, vertices, faces)
    every, _ = closest_on_triangle(points[:, None], vertices[faces][None])
    expected = (every - points[:, None]).norm(dim=-1).amin(1)
    torch.testing.assert_close((closest - points).norm(dim=-1), expected)
    torch.testing.assert_close(interpolate_on_triangles(vertices, faces[face], weights), closest)


def test_surface_samples_follow_area() -> None:
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [3, 0, 0], [3, 3, 0], [6, 0, 0]])
    faces = torch.tensor([[0, 1, 2], [3, 4, 5]])  # areas 0.5 and 4.5
    triangles, weights = sample_surface(vertices, faces, 20_000, torch.Generator().manual_seed(0))
    assert abs((triangles == 1).double().mean() - 0.9) < 0.01
    assert (weights >= 0).all()
    points = interpolate_on_triangles(vertices, faces[triangles], weights)
    centroid = points[triangles == 1].mean(0)
    torch.testing.assert_close(centroid, torch.tensor([4.0, 1.0, 0.0]), atol=0.03, rtol=0)
