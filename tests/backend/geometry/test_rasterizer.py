"""The rasteriser against a per-triangle reference, an analytic sphere and its own invariances."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from backend.geometry.rasterizer import (
    SUBPIXELS,
    ShadingSettings,
    interpolate,
    rasterize,
    render_shaded,
    to_pixels,
    vertex_normals,
)


def make_sphere(n: int = 40, radius: float = 0.1, center=(0.0, 0.0, 0.6)):
    """Latitude/longitude sphere: vertices (N, 3) float64 and outward faces (T, 3)."""
    polar, around = np.meshgrid(
        np.linspace(0, np.pi, n + 1), np.arange(n) * 2 * np.pi / n, indexing="ij"
    )
    points = np.stack(
        (np.sin(polar) * np.cos(around), np.cos(polar), np.sin(polar) * np.sin(around)), -1
    )
    ring, step = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    a, b = ring * n + step, ring * n + (step + 1) % n
    faces = np.stack((np.stack((a, b, a + n), -1), np.stack((b, b + n, a + n), -1)), 2)
    vertices = torch.from_numpy(points.reshape(-1, 3) * radius + np.asarray(center))
    return vertices, torch.from_numpy(faces.reshape(-1, 3))


def camera(size: int, focal_px: float) -> torch.Tensor:
    center = (size - 1) / 2
    return torch.tensor(
        [[focal_px, 0, center], [0, focal_px, center], [0, 0, 1]], dtype=torch.float64
    )


def reference(vertices_px: np.ndarray, faces: np.ndarray, width: int, height: int):
    """One triangle at a time, barycentrics by solving 2 x 2 systems: face, weights, depth."""
    ys, xs = np.mgrid[:height, :width]
    face_index = np.full((height, width), -1)
    weights = np.zeros((height, width, 3))
    depth = np.full((height, width), np.inf)
    runner_up = np.full((height, width), np.inf)
    for index, face in enumerate(faces):
        p = vertices_px[face]
        if not np.isfinite(p).all() or (p[:, 2] < 1e-3).any():
            continue
        xy = np.round(p[:, :2] * SUBPIXELS) / SUBPIXELS
        matrix = np.stack((xy[1] - xy[0], xy[2] - xy[0]), 1)
        if np.linalg.det(matrix) == 0:
            continue
        offset = np.stack((xs - xy[0, 0], ys - xy[0, 1]), -1)
        uv = offset @ np.linalg.inv(matrix).T
        screen = np.stack((1 - uv.sum(-1), uv[..., 0], uv[..., 1]), -1)
        inside = (screen >= -1e-12).all(-1)
        scaled = screen / p[:, 2]
        with np.errstate(divide="ignore"):
            z = 1 / scaled.sum(-1)
        nearer = inside & (z < depth)
        runner_up = np.where(nearer, depth, np.where(inside, np.minimum(runner_up, z), runner_up))
        depth = np.where(nearer, z, depth)
        face_index[nearer] = index
        weights[nearer] = (scaled * z[..., None])[nearer]
    return face_index, weights, depth, runner_up > depth + 1e-7


@pytest.mark.parametrize("seed", range(4))
def test_matches_per_triangle_reference(seed: int) -> None:
    rng = np.random.default_rng(seed)
    width, height = 61, 47
    vertices = np.concatenate((rng.uniform(-20, 80, (60, 2)), rng.uniform(0.3, 2.0, (60, 1))), 1)
    # Corners on pixel centres and a few behind the camera: the cases that go wrong.
    vertices[:20, :2] = np.round(vertices[:20, :2])
    vertices[55:, 2] = rng.uniform(-1, 1e-4, 5)
    faces = rng.integers(0, 60, (80, 3))
    expected_face, expected_weights, expected_depth, clear = reference(
        vertices, faces, width, height
    )
    face_index, weights, depth = rasterize(vertices, faces, (width, height))
    assert face_index.shape == (height, width) and face_index.dtype == torch.int32
    np.testing.assert_array_equal(face_index.numpy() >= 0, expected_face >= 0)
    clear |= expected_face < 0
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(face_index.numpy()[clear], expected_face[clear])
    np.testing.assert_allclose(weights.numpy()[clear], expected_weights[clear], atol=2e-6)
    np.testing.assert_allclose(depth.numpy(), expected_depth, rtol=1e-6)


def test_shared_edges_leave_no_gap_and_ties_take_the_lower_face() -> None:
    rng = np.random.default_rng(0)
    side = 12
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).astype(float) * 10
    grid[1:-1, 1:-1] += rng.uniform(-4, 4, (side - 2, side - 2, 2))
    vertices = np.concatenate((grid.reshape(-1, 2), np.ones((side * side, 1))), 1)
    a = (np.arange(side - 1)[:, None] * side + np.arange(side - 1)).ravel()
    faces = np.concatenate(
        (np.stack((a, a + 1, a + side), 1), np.stack((a + 1, a + side + 1, a + side), 1))
    )
    size = (side - 1) * 10 + 1
    face_index, weights, _ = rasterize(vertices, faces, (size, size))
    assert (face_index >= 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(size, size))
    doubled, _, _ = rasterize(vertices, np.concatenate((faces, faces)), (size, size))
    assert torch.equal(doubled, face_index)


def test_sphere_coverage_and_depth_are_analytic() -> None:
    radius, distance, focal, size = 0.1, 0.6, 900.0, 400
    vertices, faces = make_sphere(160, radius, (0, 0, distance))
    K = camera(size, focal)
    _, _, depth = rasterize(to_pixels(vertices, K), faces, (size, size))
    ys, xs = np.mgrid[:size, :size]
    ray = np.stack(((xs - K[0, 2].item()) / focal, (ys - K[1, 2].item()) / focal), -1)
    squared = (ray**2).sum(-1) + 1
    root = distance**2 - squared * (distance**2 - radius**2)
    expected = np.where(root >= 0, (distance - np.sqrt(np.maximum(root, 0))) / squared, np.inf)
    covered = np.isfinite(depth.numpy())
    # The polyhedron lies inside the sphere, so its disc is smaller by a few rim pixels at most.
    assert abs(covered.sum() / np.isfinite(expected).sum() - 1) < 2e-3
    well_inside = root > 0.002
    assert covered[well_inside].all()
    assert np.abs(depth.numpy()[well_inside] - expected[well_inside]).max() < 1e-4


def test_interpolation_is_perspective_correct() -> None:
    vertices = torch.tensor(
        [[-0.2, -0.2, 0.4], [0.5, -0.1, 1.5], [-0.1, 0.4, 0.8]], dtype=torch.float64
    )
    K = camera(64, 60.0)
    face_index, weights, depth = rasterize(
        to_pixels(vertices, K), torch.tensor([[0, 1, 2]]), (64, 64)
    )
    points = interpolate(vertices, torch.tensor([[0, 1, 2]]), face_index, weights)
    covered = face_index >= 0
    assert covered.sum() > 500
    pixels = to_pixels(points[covered], K)
    ys, xs = torch.nonzero(covered, as_tuple=True)
    torch.testing.assert_close(pixels[:, 0], xs.double(), atol=2e-3, rtol=0)
    torch.testing.assert_close(pixels[:, 1], ys.double(), atol=2e-3, rtol=0)
    torch.testing.assert_close(pixels[:, 2].float(), depth[covered], atol=1e-6, rtol=1e-6)
    assert (points[~covered] == 0).all()


def test_triangles_near_or_behind_the_camera_are_dropped() -> None:
    vertices = torch.tensor(
        [[0.0, 0.0, 1.0], [0.1, 0.0, 1.0], [0.0, 0.1, -1.0], [0.0, 0.1, 0.0], [0.0, 0.1, 1.0]]
    )
    faces = torch.tensor([[0, 1, 2], [0, 1, 3]])
    K = camera(32, 100.0)
    face_index, _, depth = rasterize(to_pixels(vertices, K), faces, (32, 32))
    assert (face_index == -1).all() and torch.isinf(depth).all()
    face_index, _, _ = rasterize(
        to_pixels(vertices, K), torch.cat((faces, torch.tensor([[0, 1, 4]]))), (32, 32)
    )
    assert (face_index == 2).any() and not ((face_index == 0) | (face_index == 1)).any()


def test_batches_equal_single_calls_and_culling_keeps_the_front() -> None:
    vertices, faces = make_sphere(24)
    K = camera(80, 180.0)
    shots = torch.stack([vertices + torch.tensor([s, 0.0, 0.1 * s]) for s in (-0.05, 0.0, 0.08)])
    batch = rasterize(to_pixels(shots, K)[None], faces, (80, 70))
    assert batch[0].shape == (1, 3, 70, 80) and batch[1].shape == (1, 3, 70, 80, 3)
    for index, shot in enumerate(shots):
        single = rasterize(to_pixels(shot, K), faces, (80, 70), cull_backfaces=True)
        for whole, part in zip(batch, single, strict=True):
            torch.testing.assert_close(whole[0, index], part)
    inside_out, _, _ = rasterize(
        to_pixels(vertices, K), faces.flip(1), (80, 70), cull_backfaces=True
    )
    visible_back, _, _ = rasterize(to_pixels(vertices, K), faces.flip(1), (80, 70))
    assert not torch.equal(inside_out, visible_back)


def test_chunked_depth_test_gives_the_same_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    vertices, faces = make_sphere(24)
    pixels = to_pixels(vertices, camera(96, 250.0))
    whole = rasterize(pixels, faces, (96, 96))
    monkeypatch.setattr("backend.geometry.rasterizer.MAX_FRAGMENTS", 500)
    for a, b in zip(whole, rasterize(pixels, faces, (96, 96)), strict=True):
        assert torch.equal(a, b)


def test_normals_point_out_of_a_sphere() -> None:
    center = torch.tensor([0.0, 0.0, 0.6], dtype=torch.float64)
    vertices, faces = make_sphere(48)
    radial = torch.nn.functional.normalize(vertices - center, dim=-1)
    agreement = (vertex_normals(vertices, faces) * radial).sum(-1)
    rim = 48  # the poles are 48 coincident vertices with one thin triangle each
    assert agreement[rim:-rim].min() > 0.999


def test_shaded_render_is_brightest_at_the_centre_and_clear_outside() -> None:
    vertices, faces = make_sphere(60)
    image = render_shaded(
        vertices, faces, camera(128, 300.0), (128, 128), settings=ShadingSettings(supersample=2)
    )
    assert image.shape == (128, 128, 4) and image.dtype == np.uint8
    assert image[64, 64, 3] == 255 and image[0, 0, 3] == 0
    assert image[64, 64, 0] > image[64, 20, 0] + 20
    assert ((image[..., 3] > 0) & (image[..., 3] < 255)).any(), "supersampling softens the rim"


def test_texture_lands_where_its_uv_says() -> None:
    vertices = torch.tensor([[-1.0, -1, 2], [1, -1, 2], [1, 1, 2], [-1, 1, 2]])
    faces = torch.tensor([[0, 2, 1], [0, 3, 2]])
    uv = torch.tensor([[0.0, 1], [1, 1], [1, 0], [0, 0]])
    texture = np.zeros((2, 2, 3), np.uint8)
    texture[0, 0], texture[0, 1], texture[1, 0] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    image = render_shaded(
        vertices, faces, camera(65, 60.0), (65, 65), texture=texture, uv=uv, face_uv=faces
    )
    assert image[8, 8, :3].argmax() == 0 and image[8, 56, :3].argmax() == 1
    assert image[56, 8, :3].argmax() == 2 and image[56, 56, :3].max() < 30
