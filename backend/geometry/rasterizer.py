"""Z-buffer rasterisation of triangle meshes in torch, without a loop over triangles.

Every triangle is cut into rows and every row into its exact run of covered pixels, so that the
work grows with the covered pixels only. Vertices are snapped to 1/1024 of a pixel, which makes
the coverage arithmetic exact in float64: triangles that share an edge leave no gap between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

SUBPIXELS = 1024.0
"""Vertices are snapped to this fraction of a pixel; exact while |x|, |y| stay under 32,768 px."""

DEPTH_BITS = 40
FACE_BITS = 23
"""One int64 key a pixel holds the inverse depth (40 bits) and the face (23 bits)."""

MAX_FRAGMENTS = 2_000_000
"""Fragments handled at once, which bounds the memory at about 150 MB whatever the image."""

ArrayLike = Tensor | np.ndarray


@dataclass(frozen=True)
class ShadingSettings:
    """How `render_shaded` lights a mesh."""

    ambient: float = 0.3
    """Share of the light that comes from everywhere, 0 to 1; the rest comes from one direction."""
    light: tuple[float, float, float] | None = None
    """Direction from the mesh to the light in the camera frame; None is a light at the camera."""
    base_color: tuple[float, float, float] = (0.72, 0.6, 0.54)
    """Colour of a mesh that brings neither colours nor a texture, sRGB 0 to 1."""
    background: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Pixels that no triangle covers, RGBA u8."""
    supersample: int = 1
    """Samples a pixel along each axis; 2 smooths the edges for about four times the work."""
    cull_backfaces: bool = True
    """Leave out triangles seen from behind (inside of an open mesh)."""


def to_pixels(vertices_cam: ArrayLike, K: ArrayLike) -> Tensor:
    """Project points of the camera frame and keep their depth.

    vertices_cam: (..., N, 3) metres, OpenCV camera frame. K: (3, 3) or (..., 3, 3) pixels.
    Returns (..., N, 3): x and y in pixels (centres at integers), z in metres. Points at or behind
    the camera's plane get x = y = nan, which `rasterize` drops.
    """
    points = torch.as_tensor(vertices_cam)
    if not points.is_floating_point():
        points = points.float()
    K = torch.as_tensor(K).to(points)
    assert points.shape[-1] == 3 and K.shape[-2:] == (3, 3)
    z = points[..., 2]
    safe = torch.where(z > 0, z, torch.full_like(z, float("nan")))
    fx, fy = K[..., 0, 0, None], K[..., 1, 1, None]
    skew, cx, cy = K[..., 0, 1, None], K[..., 0, 2, None], K[..., 1, 2, None]
    x = (fx * points[..., 0] + skew * points[..., 1]) / safe + cx
    y = fy * points[..., 1] / safe + cy
    return torch.stack((x, y, z), -1)


def vertex_normals(vertices: ArrayLike, faces: ArrayLike) -> Tensor:
    """Area-weighted unit normals of a mesh, pointing out for counter-clockwise faces.

    vertices: (..., N, 3), faces: (T, 3). Returns (..., N, 3) in the frame of the vertices; a
    vertex without faces gets zeros.
    """
    vertices, faces = torch.as_tensor(vertices), torch.as_tensor(faces).long()
    corners = vertices[..., faces, :]
    edge_1 = corners[..., 1, :] - corners[..., 0, :]
    edge_2 = corners[..., 2, :] - corners[..., 0, :]
    area_normals = torch.linalg.cross(edge_1, edge_2)
    normals = torch.zeros_like(vertices)
    for corner in range(3):
        normals.index_add_(-2, faces[:, corner].to(vertices.device), area_normals)
    return torch.nn.functional.normalize(normals, dim=-1, eps=1e-20)


def rasterize(
    vertices_px: ArrayLike,
    faces: ArrayLike,
    image_size: tuple[int, int],
    *,
    near: float = 1e-3,
    cull_backfaces: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Find the nearest triangle behind every pixel centre.

    vertices_px: (..., N, 3) with x, y in pixels (centres at integers) and z the camera depth in
    metres (see `to_pixels`). faces: (T, 3), counter-clockwise seen from outside in the camera
    frame. image_size: (W, H). near: triangles with a corner nearer than this, or not finite, are
    dropped. cull_backfaces: drop triangles seen from their back.

    Returns face_index (..., H, W) int32 with -1 for background, barycentric (..., H, W, 3)
    float32, perspective-correct (zeros in the background), and depth (..., H, W) float32 metres
    (inf in the background). Pixels exactly on an edge count as covered; of two triangles at the
    same depth the lower index wins.
    """
    vertices = torch.as_tensor(vertices_px)
    faces = torch.as_tensor(faces).to(vertices.device).long()
    assert vertices.shape[-1] == 3 and faces.ndim == 2 and faces.shape[1] == 3
    width, height = int(image_size[0]), int(image_size[1])
    batch_shape = vertices.shape[:-2]
    vertices = vertices.reshape(-1, *vertices.shape[-2:])
    n_images, n_faces = len(vertices), len(faces)

    setup = _set_up_triangles(vertices, faces, (width, height), near, cull_backfaces)
    assert len(setup.source) < 2**FACE_BITS, "too many triangles in one call"
    winner = _resolve_depth(setup, _cover_rows(setup, width), n_images, width, height)
    face_index, barycentric, depth = _shade_winners(setup, winner, n_faces, width, height)
    shape = (*batch_shape, height, width)
    return face_index.reshape(shape), barycentric.reshape(*shape, 3), depth.reshape(shape)


@dataclass(frozen=True)
class _Triangles:
    """Triangles that may cover a pixel, oriented so that all edge functions are >= 0 inside."""

    source: Tensor  # (M,) index into images x faces
    image: Tensor  # (M,)
    edges: Tensor  # (M, 3, 3) edge functions a x + b y + c; x, y whole pixels, exact in float64
    area: Tensor  # (M,) sum of the three edge functions
    inverse_z: Tensor  # (M, 3) 1/z at the corners
    plane: Tensor  # (M, 3) 1/z = a x + b y + c
    row_first: Tensor  # (M,) first row that the triangle may cover
    n_rows: Tensor  # (M,)
    x_first: Tensor  # (M,) bounding box, columns
    x_last: Tensor


def _set_up_triangles(
    vertices: Tensor,
    faces: Tensor,
    image_size: tuple[int, int],
    near: float,
    cull_backfaces: bool,
) -> _Triangles:
    width, height = image_size
    corners = vertices.double()[:, faces].reshape(-1, 3, 3)
    z = corners[..., 2]
    # Anything not finite fails this comparison chain and is dropped with what lies too near.
    usable = (z >= near).all(1) & torch.isfinite(corners.sum((1, 2)))
    usable &= corners[..., :2].abs().amax((1, 2)) < 1e7
    low, high = corners[..., :2].amin(1), corners[..., :2].amax(1)
    usable &= (high[:, 0] >= 0) & (low[:, 0] <= width - 1)
    usable &= (high[:, 1] >= 0) & (low[:, 1] <= height - 1)
    source = usable.nonzero()[:, 0]
    corners = corners[source]
    x = torch.round(corners[..., 0] * SUBPIXELS)
    y = torch.round(corners[..., 1] * SUBPIXELS)
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    # With y down, a triangle that is counter-clockwise seen from outside has negative area when
    # its outside faces the camera.
    keep = ((area < 0) if cull_backfaces else (area != 0)).nonzero()[:, 0]
    source, x, y, area = source[keep], x[keep], y[keep], area[keep]
    inverse_z = 1.0 / corners[keep, :, 2]

    nxt, prv = [1, 2, 0], [2, 0, 1]
    edge_a = (y[:, nxt] - y[:, prv]) * SUBPIXELS
    edge_b = (x[:, prv] - x[:, nxt]) * SUBPIXELS
    edge_c = x[:, nxt] * y[:, prv] - x[:, prv] * y[:, nxt]
    edges = torch.stack((edge_a, edge_b, edge_c), -1) * torch.sign(area)[:, None, None]
    area = area.abs()
    plane = (edges * inverse_z[..., None]).sum(1) / area[:, None]

    first = torch.ceil(y.amin(1) / SUBPIXELS).clamp(min=0)
    last = torch.floor(y.amax(1) / SUBPIXELS).clamp(max=height - 1)
    return _Triangles(
        source=source,
        image=torch.div(source, len(faces), rounding_mode="floor"),
        edges=edges,
        area=area,
        inverse_z=inverse_z,
        plane=plane,
        row_first=first,
        n_rows=(last - first + 1).clamp(min=0).long(),
        x_first=torch.ceil(x.amin(1) / SUBPIXELS).clamp(min=0),
        x_last=torch.floor(x.amax(1) / SUBPIXELS).clamp(max=width - 1),
    )


@dataclass(frozen=True)
class _Rows:
    """The non-empty runs of covered pixels of every triangle."""

    triangle: Tensor  # (R,) index into _Triangles
    y: Tensor  # (R,) float64
    first: Tensor  # (R,) int64 first covered column
    count: Tensor  # (R,) int64 covered columns


def _expand(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Owner and position within the owner for `counts` items each: both (sum,) int64."""
    total = int(counts.sum())
    owner = torch.repeat_interleave(
        torch.arange(len(counts), device=counts.device), counts, output_size=total
    )
    starts = torch.cumsum(counts, 0) - counts
    return owner, torch.arange(total, device=counts.device) - starts[owner]


def _cover_rows(setup: _Triangles, width: int) -> _Rows:
    triangle, offset = _expand(setup.n_rows)
    y = setup.row_first[triangle] + offset
    left, right = setup.x_first[triangle], setup.x_last[triangle]
    for edge in range(3):
        a, b, c = setup.edges[:, edge].unbind(-1)
        a, rest = a[triangle], torch.addcmul(c[triangle], b[triangle], y)
        # Numerator and denominator are whole numbers below 2^53 and the quotient is below 2^15,
        # so rounding never carries it over an integer: ceil and floor are exact.
        crossing = -rest / a
        left = torch.where(a > 0, torch.maximum(left, torch.ceil(crossing)), left)
        right = torch.where(a < 0, torch.minimum(right, torch.floor(crossing)), right)
        right = torch.where((a == 0) & (rest < 0), left - 1, right)
    count = (right - left + 1).clamp(min=0, max=width)
    filled = (count > 0).nonzero()[:, 0]
    return _Rows(triangle[filled], y[filled], left[filled].long(), count[filled].long())


def _resolve_depth(
    setup: _Triangles, rows: _Rows, n_images: int, width: int, height: int
) -> Tensor:
    """Index into `setup` of the nearest triangle of every pixel, (n_images * H * W,), or -1."""
    device = rows.y.device
    keys = torch.full((n_images * height * width,), -1, dtype=torch.int64, device=device)
    if len(rows.y) == 0:
        return keys
    plane = setup.plane[rows.triangle]
    # 40 bits of inverse depth; a little head-room because planes are evaluated with rounding.
    scale = (2.0**DEPTH_BITS - 2.0) / (float(setup.inverse_z.max()) * (1 + 1e-9))
    slope = plane[:, 0] * scale
    base = (plane[:, 1] * rows.y + plane[:, 2]) * scale
    tie_break = (2**FACE_BITS - 1) - rows.triangle
    row_start = (setup.image[rows.triangle] * height + rows.y.long()) * width

    ends = torch.cumsum(rows.count, 0)
    n_chunks = -(-int(ends[-1]) // MAX_FRAGMENTS)
    limits = torch.arange(1, n_chunks, device=device) * MAX_FRAGMENTS
    cuts = [0, *torch.searchsorted(ends, limits).tolist(), len(ends)]
    for begin, end in pairwise(cuts):
        owner, offset = _expand(rows.count[begin:end])
        owner += begin
        x = rows.first[owner] + offset
        depth = torch.addcmul(base[owner], slope[owner], x.double())
        key = (depth.clamp_(min=0).long() << FACE_BITS) | tie_break[owner]
        keys.scatter_reduce_(0, row_start[owner] + x, key, "amax")
    face = (2**FACE_BITS - 1) - (keys & (2**FACE_BITS - 1))
    return torch.where(keys >= 0, face, keys)


def _shade_winners(
    setup: _Triangles, winner: Tensor, n_faces: int, width: int, height: int
) -> tuple[Tensor, Tensor, Tensor]:
    covered = (winner >= 0).nonzero()[:, 0]
    triangle = winner[covered]
    position = covered % (width * height)
    x = (position % width).double()
    y = torch.div(position, width, rounding_mode="floor").double()
    edges = setup.edges[triangle]
    screen = torch.addcmul(edges[..., 2], edges[..., 0], x[:, None])
    screen = torch.addcmul(screen, edges[..., 1], y[:, None]).clamp_(min=0)
    screen *= setup.inverse_z[triangle]
    total = screen.sum(1)

    device = winner.device
    face_index = torch.full(winner.shape, -1, dtype=torch.int32, device=device)
    face_index[covered] = (setup.source[triangle] % n_faces).int()
    barycentric = torch.zeros((*winner.shape, 3), dtype=torch.float32, device=device)
    barycentric[covered] = (screen / total[:, None]).float()
    depth = torch.full(winner.shape, float("inf"), dtype=torch.float32, device=device)
    depth[covered] = (setup.area[triangle] / total).float()
    return face_index, barycentric, depth


def interpolate(
    attributes: ArrayLike, faces: ArrayLike, face_index: Tensor, barycentric: Tensor
) -> Tensor:
    """Spread values of the corners over the pixels of `rasterize`.

    attributes: (N, C) one row a vertex (or a UV point, with the faces that index it). faces:
    (T, 3). face_index: (...,) int with -1 for background. barycentric: (..., 3). Returns (..., C)
    in the type of the attributes; zeros in the background.
    """
    attributes = torch.as_tensor(attributes)
    faces = torch.as_tensor(faces).to(attributes.device).long()
    assert attributes.ndim == 2 and barycentric.shape == (*face_index.shape, 3)
    result = attributes.new_zeros((*face_index.shape, attributes.shape[1]))
    covered = face_index >= 0
    corners = attributes[faces[face_index[covered].long()]]
    weights = barycentric[covered].to(attributes.dtype)
    result[covered] = torch.einsum("pkc,pk->pc", corners, weights)
    return result


def render_shaded(
    vertices_cam: ArrayLike,
    faces: ArrayLike,
    K: ArrayLike,
    image_size: tuple[int, int],
    *,
    colors: ArrayLike | None = None,
    texture: ArrayLike | None = None,
    uv: ArrayLike | None = None,
    face_uv: ArrayLike | None = None,
    settings: ShadingSettings | None = None,
) -> np.ndarray:
    """Draw a mesh with a light at the camera, for contact sheets and checks.

    vertices_cam: (N, 3) metres, camera frame. faces: (T, 3). K: (3, 3) pixels. image_size: (W, H).
    colors: (N, 3) sRGB, u8 or 0 to 1. texture: (h, w, 3 or 4) u8 sRGB with uv (M, 2), v up, and
    face_uv (T, 3). Returns (H, W, 4) u8 RGBA; alpha tells covered pixels from the background.
    """
    settings = settings or ShadingSettings()
    vertices = torch.as_tensor(vertices_cam).float()
    faces = torch.as_tensor(faces).long()
    factor = settings.supersample
    width, height = image_size[0] * factor, image_size[1] * factor
    K = torch.as_tensor(K).float().clone()
    K[:2] *= factor
    # Pixel centres sit at integers: the first sample of pixel 0 is at -0.5 + 0.5 / factor.
    K[:2, 2] += 0.5 * (factor - 1)
    face_index, barycentric, _ = rasterize(
        to_pixels(vertices, K), faces, (width, height), cull_backfaces=settings.cull_backfaces
    )
    covered = face_index >= 0
    index, weights = face_index[covered], barycentric[covered]

    normals = torch.nn.functional.normalize(
        interpolate(vertex_normals(vertices, faces), faces, index, weights), dim=-1
    )
    view = torch.nn.functional.normalize(interpolate(vertices, faces, index, weights), dim=-1)
    if not settings.cull_backfaces:  # the inside of an open mesh is lit like its outside
        normals = normals * -torch.sign((normals * view).sum(-1, keepdim=True))
    toward = -view
    if settings.light is not None:
        toward = torch.nn.functional.normalize(torch.tensor(settings.light), dim=-1)
    lambert = (normals * toward).sum(-1).clamp(min=0)
    light = settings.ambient + (1.0 - settings.ambient) * lambert

    if texture is not None:
        assert uv is not None and face_uv is not None, "a texture needs uv and face_uv"
        color = _sample_texture(texture, interpolate(uv, face_uv, index, weights).float())
    elif colors is not None:
        per_vertex = torch.as_tensor(colors)
        per_vertex = per_vertex.float() / 255 if per_vertex.dtype == torch.uint8 else per_vertex
        color = interpolate(per_vertex.float(), faces, index, weights)
    else:
        color = torch.tensor(settings.base_color).expand(len(index), 3)

    # A gamma of 2.2 in place of the exact sRGB curve: this is a picture for people, not data.
    shaded = (color.clamp(0, 1) ** 2.2 * light[:, None]) ** (1 / 2.2) * 255
    background = torch.tensor(settings.background, dtype=torch.float32)
    image = background.repeat(height, width, 1)
    image[covered] = torch.cat((shaded, torch.full_like(shaded[:, :1], 255.0)), 1)
    image = image.reshape(image_size[1], factor, image_size[0], factor, 4)
    if factor > 1:
        # Average premultiplied, or clear background would darken the edges.
        alpha = image[..., 3:].mean((1, 3))
        image = (image[..., :3] * image[..., 3:]).mean((1, 3)) / alpha.clamp(min=1e-6)
        image = torch.cat((image, alpha), -1)
    else:
        image = image[:, 0, :, 0]
    return image.round_().clamp_(0, 255).byte().numpy()


def _sample_texture(texture: ArrayLike, uv: Tensor) -> Tensor:
    """Bilinear colours (P, 3) in 0 to 1 of a (h, w, C) u8 image at uv (P, 2), v up."""
    image = torch.as_tensor(texture)[..., :3].permute(2, 0, 1)[None].float() / 255
    grid = torch.stack((uv[:, 0] * 2 - 1, 1 - uv[:, 1] * 2), -1)[None, None]
    sampled = torch.nn.functional.grid_sample(
        image, grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return sampled[0, :, 0].T
