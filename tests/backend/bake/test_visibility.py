"""Visibility against an analytic horizon and against rays cast through every triangle."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

from backend.bake.depth_view import DepthSettings, mesh_scale, render_depth_view
from backend.bake.visibility import (
    inside_image,
    soft_vertex_visibility,
    two_sided_vertices,
    vertex_visibility,
)
from backend.geometry.rasterizer import vertex_normals

SIZE = (640, 480)


def camera(focal_px: float) -> torch.Tensor:
    return torch.tensor(
        [[focal_px, 0, (SIZE[0] - 1) / 2], [0, focal_px, (SIZE[1] - 1) / 2], [0, 0, 1]]
    )


@functools.cache
def make_icosphere(levels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit sphere from an octahedron turned off the axes: vertices (N, 3), outward faces."""
    vertices = [np.array(p, float) for p in np.concatenate((np.eye(3), -np.eye(3)))]
    faces = [(0, 1, 2), (1, 3, 2), (3, 4, 2), (4, 0, 2), (1, 0, 5), (3, 1, 5), (4, 3, 5), (0, 4, 5)]
    for _ in range(levels):
        middle: dict[tuple[int, int], int] = {}

        def between(a: int, b: int, middle: dict[tuple[int, int], int] = middle) -> int:
            key = (min(a, b), max(a, b))
            if key not in middle:
                point = vertices[a] + vertices[b]
                vertices.append(point / np.linalg.norm(point))
                middle[key] = len(vertices) - 1
            return middle[key]

        split = []
        for a, b, c in faces:
            d, e, f = between(a, b), between(b, c), between(c, a)
            split += [(a, d, f), (d, b, e), (f, e, c), (d, e, f)]
        faces = split
    turn, _ = np.linalg.qr(np.array([[1.0, 0.3, -0.2], [0.1, 1.0, 0.7], [-0.5, 0.2, 1.0]]))
    turn *= np.sign(np.linalg.det(turn))
    points = torch.tensor(np.array(vertices) @ turn.T, dtype=torch.float32)
    return points, torch.tensor(faces)


def f1(predicted: torch.Tensor, truth: torch.Tensor) -> float:
    return float(2 * (predicted & truth).sum() / (predicted.sum() + truth.sum()))


def first_hit_is_own(vertices: torch.Tensor, faces: torch.Tensor, tolerance: float) -> torch.Tensor:
    """Exact visibility by Moeller-Trumbore rays from the camera to every vertex: (N,) bool."""
    corners = vertices[faces].double()
    edge_1, edge_2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    seen = torch.ones(len(vertices), dtype=torch.bool)
    for index, target in enumerate(vertices.double()):
        p = torch.linalg.cross(target.expand_as(edge_2), edge_2)
        determinant = (edge_1 * p).sum(-1)
        origin = -corners[:, 0]
        u = (origin * p).sum(-1) / determinant
        q = torch.linalg.cross(origin, edge_1)
        v = (target * q).sum(-1) / determinant
        t = (edge_2 * q).sum(-1) / determinant
        hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)
        hit &= (1 - t) * target.norm() > tolerance
        seen[index] = not bool(hit.any())
    return seen


@pytest.mark.parametrize(("distance", "focal_px"), [(0.4, 600.0), (0.6, 900.0), (4.0, 6000.0)])
def test_sphere_is_seen_up_to_its_horizon(distance: float, focal_px: float) -> None:
    unit, faces = make_icosphere(7)
    center = torch.tensor([0.01, -0.01, distance])
    vertices = 0.1 * unit + center
    visible = torch.from_numpy(vertex_visibility(vertices[None], faces, camera(focal_px), SIZE)[0])
    assert visible.dtype == torch.uint8
    truth = (unit * vertices).sum(-1) < 0
    assert f1(visible.bool(), truth) >= 0.99


def test_a_nose_hides_the_cheek_as_rays_say(make_bust) -> None:
    bust = make_bust(nose=0.06, width=0.015)
    hidden_fronts = 0
    for yaw, pitch in ((0.0, 0.0), (0.7, 0.1), (-0.8, -0.2), (0.3, 0.5)):
        vertices = bust.posed(yaw, pitch, 0.5)
        visible = torch.from_numpy(
            vertex_visibility(vertices[None], bust.faces, camera(900.0), SIZE)[0]
        ).bool()
        truth = first_hit_is_own(vertices, bust.faces, 1e-4)
        assert f1(visible, truth) >= 0.995
        by_side = -(vertex_normals(vertices, bust.faces) * vertices).sum(-1) > 0
        hidden_fronts += int((by_side & ~truth).sum())
    assert hidden_fronts > 30, "the nose must hide something for this test to mean anything"


def test_one_sphere_hides_another_whatever_the_scale() -> None:
    unit, faces = make_icosphere(4)
    for scale in (1.0, 100.0):
        front = 0.05 * unit + torch.tensor([0.0, 0.0, 0.5])
        back = 0.1 * unit + torch.tensor([0.04, 0.0, 0.8])
        vertices = scale * torch.cat((front, back))
        both = torch.cat((faces, faces + len(unit)))
        visible = torch.from_numpy(vertex_visibility(vertices[None], both, camera(700.0), SIZE)[0])
        ray = torch.nn.functional.normalize(back, dim=-1)
        center = torch.tensor([0.0, 0.0, 0.5])
        closest = (ray * center).sum(-1, keepdim=True) * ray
        shadowed = (closest - center).norm(dim=-1) < 0.05
        truth = ((unit * back).sum(-1) < 0) & ~shadowed
        # Polyhedra differ from spheres within half an edge (4 mm) of the two outlines.
        cosine = -(unit * ray).sum(-1)
        clear = (cosine.abs() > 0.08) & (((closest - center).norm(dim=-1) - 0.05).abs() > 0.001)
        assert (shadowed & clear).sum() > 100
        assert clear.float().mean() > 0.8
        assert torch.equal(visible[len(unit) :].bool()[clear], truth[clear])


def test_outside_the_image_is_not_visible_and_the_crop_does_not_matter() -> None:
    unit, faces = make_icosphere(4)
    K = camera(500.0)
    centered = 0.1 * unit + torch.tensor([0.0, 0.0, 0.6])
    moved = centered + torch.tensor([0.36, 0.0, 0.0])
    visible = vertex_visibility(torch.stack((centered, moved)), faces, K, SIZE).astype(bool)
    x = (moved[:, 0] / moved[:, 2] * K[0, 0] + K[0, 2]).numpy()
    assert not visible[1][x > SIZE[0] - 0.5].any()
    assert visible[1][x < SIZE[0] - 2].sum() > 50
    large = K.clone()
    large[:2] *= 4
    large[:2, 2] += 1.5
    again = vertex_visibility(centered[None], faces, large, (SIZE[0] * 4, SIZE[1] * 4))
    np.testing.assert_array_equal(again[0].astype(bool), visible[0])


def test_frames_that_show_nothing_are_zero(bust) -> None:
    good = bust.posed(0, 0, 0.6)
    frames = torch.stack((good, good * torch.nan, good - torch.tensor([0, 0, 2.0]), good + 9.0))
    K = camera(600.0).expand(4, 3, 3)
    soft = soft_vertex_visibility(frames, bust.faces, K, SIZE)
    assert soft.shape == (4, len(good)) and soft.dtype == np.float32
    assert soft[0].sum() > 500 and soft.min() >= 0 and soft.max() <= 1
    assert (soft[1:3] == 0).all()
    hard = vertex_visibility(frames, bust.faces, K, SIZE)
    np.testing.assert_array_equal(hard, soft >= 0.5)


def test_occluders_can_be_left_out() -> None:
    unit, faces = make_icosphere(3)
    vertices = torch.cat(
        (0.02 * unit + torch.tensor([0, 0, 0.3]), 0.02 * unit + torch.tensor([0, 0, 0.6]))
    )
    both = torch.cat((faces, faces + len(unit)))
    behind = slice(len(unit), None)
    assert vertex_visibility(vertices[None], both, camera(500.0), SIZE)[0, behind].sum() == 0
    only_last = torch.arange(len(both)) >= len(faces)
    seen = vertex_visibility(vertices[None], both, camera(500.0), SIZE, occluders=only_last)
    assert seen[0, behind].sum() > 0.4 * len(unit)


def test_open_sheets_are_seen_from_both_sides() -> None:
    sheet = torch.tensor([[-0.1, -0.1, 1], [0.1, -0.1, 1], [0.1, 0.1, 1], [-0.1, 0.1, 1.0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    assert two_sided_vertices(faces, 5).tolist() == [True, True, True, True, False]
    for order in (faces, faces.flip(1)):
        assert vertex_visibility(sheet[None], order, camera(400.0), SIZE).all()


def test_depth_view_measures_how_far_behind(bust) -> None:
    vertices = bust.posed(0, 0, 0.5)
    view = render_depth_view(
        vertices, bust.faces, camera(700.0), SIZE, DepthSettings(tolerance=0.01)
    )
    assert view is not None and max(view.depth.shape) == 512
    assert view.tolerance == pytest.approx(0.01 * mesh_scale(vertices))
    # A point of the forehead, pushed straight along its ray.
    point = vertices[((vertices - torch.tensor([0.0, -0.06, 0.43])).norm(dim=-1)).argmin()]
    along = point / point[2]
    steps = torch.tensor([-0.01, 0.0, 0.5 * view.tolerance, view.tolerance, 3 * view.tolerance])
    hidden = view.hidden(point + steps[:, None] * along)
    torch.testing.assert_close(hidden, torch.tensor([0.0, 0.0, 0.25, 0.5, 1.0]), atol=0.03, rtol=0)


def test_image_border_is_half_a_pixel_outside_the_last_centre() -> None:
    x = torch.tensor([-1.0, -0.5, 0.0, 638.9, 639.5, 640.0, 700.0])
    points = torch.stack((x, torch.full_like(x, 100.0), torch.ones_like(x)), -1)
    inside = inside_image(points, SIZE)
    torch.testing.assert_close(
        inside, torch.tensor([0.0, 0.5, 1.0, 1.0, 0.5, 0.0, 0.0]), atol=1e-4, rtol=0
    )
