"""Which vertices of the head each frame shows: not hidden by the head itself, inside the image."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from backend.bake.occlusion import hidden_by_mesh
from backend.geometry.rasterizer import ArrayLike, to_pixels

VISIBLE = 0.5
"""A soft visibility at or above this counts as visible."""

TOLERANCE = 0.001
"""A vertex may lie this far behind a surface, as a share of the mesh's scale (the root mean square
distance of its vertices from their mean, about 0.1 m for a head): 0.1 mm."""

FACING_SOFTNESS = 0.1
"""Cosine over which the soft value rises from 0 to 1, centred on the horizon."""


FRAMES_ON_CPU, FRAMES_ON_GPU = 4, 64
"""Frames handled at once: a processor gains little from more, and memory stays flat."""


def vertex_visibility(
    vertices: ArrayLike,
    faces: ArrayLike,
    K: ArrayLike,
    image_size: tuple[int, int],
    tolerance: float = TOLERANCE,
    occluders: ArrayLike | None = None,
) -> np.ndarray:
    """Say of every vertex in every frame whether the camera sees it.

    vertices: (F, N, 3) metres, OpenCV camera frame; a frame that is not finite shows nothing.
    faces: (T, 3), counter-clockwise seen from outside. K: (3, 3) or (F, 3, 3) pixels. image_size:
    (W, H). tolerance: how far a vertex may lie behind a surface, as a share of the mesh's scale.
    occluders: (T,) bool, the triangles that may hide others (all by default). Returns (F, N) u8,
    1 where `soft_vertex_visibility` reaches `VISIBLE`.
    """
    soft = soft_vertex_visibility(vertices, faces, K, image_size, tolerance, occluders)
    return (soft >= VISIBLE).astype(np.uint8)


def soft_vertex_visibility(
    vertices: ArrayLike,
    faces: ArrayLike,
    K: ArrayLike,
    image_size: tuple[int, int],
    tolerance: float = TOLERANCE,
    occluders: ArrayLike | None = None,
) -> np.ndarray:
    """Visibility per vertex and frame as a value from 0 (hidden) to 1 (seen).

    Arguments as in `vertex_visibility`. Returns (F, N) float32: facing x not hidden x inside the
    image. Computed on the device of the faces, some frames at a time, so that memory grows with the
    result only.
    """
    faces = torch.as_tensor(faces).long()
    device = faces.device
    vertices = torch.as_tensor(vertices)
    K = torch.as_tensor(K).float()
    assert vertices.ndim == 3 and vertices.shape[2] == 3, "vertices are (F, N, 3)"
    assert K.shape in ((3, 3), (len(vertices), 3, 3)), "K is (3, 3) or (F, 3, 3)"
    K = K.expand(len(vertices), 3, 3)
    hiding = faces if occluders is None else faces[torch.as_tensor(occluders, device=device).bool()]
    two_sided = two_sided_vertices(faces, vertices.shape[1])
    result = np.zeros(vertices.shape[:2], np.float32)
    usable = torch.isfinite(vertices).all(-1).all(-1).nonzero()[:, 0].cpu()
    for rows in usable.split(FRAMES_ON_CPU if device.type == "cpu" else FRAMES_ON_GPU):
        points = vertices[rows].to(device).float()
        pixels = to_pixels(points.double(), K[rows].to(device))
        scale = (points - points.mean(1, keepdim=True)).square().sum(-1).mean(1).sqrt()
        hidden = hidden_by_mesh(pixels, pixels, hiding, tolerance * scale)
        facing = best_face_cosine(points, faces)
        facing = torch.where(two_sided, torch.ones_like(facing), facing)
        visible = facing_to_camera(facing) * (1 - hidden) * inside_image(pixels, image_size)
        result[rows.numpy()] = visible.float().cpu().numpy()
    return result


def as_u8(soft: np.ndarray) -> np.ndarray:
    """Soft visibility of 0 to 1 as u8, 0 to 255, any shape; `VISIBLE` and more is 128 and more."""
    return np.rint(np.clip(soft, 0, 1) * 255).astype(np.uint8)


def landmark_visibility(
    soft: np.ndarray, vertices: np.ndarray, barycentric: np.ndarray
) -> np.ndarray:
    """Soft visibility (..., L) of points on the surface from that of the vertices (..., N).

    vertices: (L, 3) corners of each point's triangle, barycentric: (L, 3) its weights there. The
    same threshold holds (`VISIBLE`).
    """
    value: np.ndarray = (soft[..., vertices] * barycentric).sum(-1)
    return value.astype(soft.dtype)


def facing_to_camera(cosine: Tensor) -> Tensor:
    """Soft facing, 0 (turned away) to 1, of cosines between normal and camera: any shape."""
    return (cosine / FACING_SOFTNESS + 0.5).clamp(0, 1)


def inside_image(pixels: Tensor, image_size: tuple[int, int]) -> Tensor:
    """1 for pixels (..., 2 or 3) inside the image, 0 outside, over one pixel across its border."""
    # The image reaches half a pixel beyond the centres of its outermost pixels.
    near_edge = (pixels[..., :2] + 1).amin(-1)
    limit = pixels.new_tensor(image_size)
    far_edge = (limit - pixels[..., :2]).amin(-1)
    return torch.nan_to_num(torch.minimum(near_edge, far_edge), nan=0.0).clamp(0, 1)


def view_cosine(points: Tensor, normals: Tensor) -> Tensor:
    """Cosine of normals (..., 3) and the directions from points (..., 3) to the camera: (...)."""
    return -(normals * torch.nn.functional.normalize(points, dim=-1)).sum(-1)


def best_face_cosine(vertices: Tensor, faces: Tensor) -> Tensor:
    """View cosine of the triangle at every vertex (..., N, 3) that faces the camera most: (..., N).

    On a fold (a lid's margin, the rim of an ear) the mean normal may look away although one side
    of the fold is in plain sight. A vertex without triangles gets -1.
    """
    corners = vertices[..., faces, :]
    normals = torch.nn.functional.normalize(
        torch.linalg.cross(
            corners[..., 1, :] - corners[..., 0, :], corners[..., 2, :] - corners[..., 0, :]
        ),
        dim=-1,
    )
    best = torch.full_like(vertices[..., 0], -1.0)
    for corner in range(3):
        cosine = view_cosine(corners[..., corner, :], normals)
        best.scatter_reduce_(-1, faces[:, corner].expand_as(cosine), cosine, "amax")
    return best


def two_sided_vertices(faces: Tensor, n_vertices: int) -> Tensor:
    """Vertices on an open edge or beside one (lashes, the cut of the neck): (N,) bool.

    Open sheets are seen from both sides, so their vertices are judged by depth alone.
    """
    edges = torch.cat((faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]])).sort(1).values
    # One number an edge: far faster than finding unique rows.
    key, counts = torch.unique(edges[:, 0] * n_vertices + edges[:, 1], return_counts=True)
    single = key[counts == 1]
    on_edge = torch.zeros(n_vertices, dtype=torch.bool, device=faces.device)
    on_edge[single // n_vertices] = True
    on_edge[single % n_vertices] = True
    result = torch.zeros_like(on_edge)
    result[faces[on_edge[faces].any(1)].reshape(-1)] = True
    return result
