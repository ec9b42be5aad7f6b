"""The depth buffer of one posed head, and the test of points against it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, max_pool2d

from backend.geometry.rasterizer import rasterize, to_pixels


@dataclass(frozen=True)
class DepthSettings:
    """How finely a frame's depth buffer is drawn and how much a point may lie behind it."""

    resolution: int = 512
    """Longest side of the depth buffer in pixels; it covers the head only, whatever the image."""
    tolerance: float = 0.006
    """How far a point may lie behind the nearest surface, as a share of the mesh's scale (the
    root mean square distance of its vertices from their mean; about 0.1 m for a head)."""
    margin: float = 2.0
    """Depth-buffer pixels kept free around the head."""


@dataclass(frozen=True)
class DepthView:
    """A depth buffer that knows the plane of the triangle in every pixel.

    Comparing a point with the plane of the triangle beside it, in place of that pixel's depth,
    leaves no error from the slope of the surface, so the tolerance can stay below a millimetre.
    """

    K: Tensor
    """(3, 3) camera of the crop, in depth-buffer pixels."""
    face_index: Tensor
    """(h, w) int64 nearest triangle of every pixel, T where there is none."""
    depth: Tensor
    """(h, w) metres, inf where there is no triangle."""
    planes: Tensor
    """(T + 1, 5) a, b, c of 1/z = a x + b y + c in depth-buffer pixels, lowest and highest 1/z;
    row T is the background at infinity."""
    tolerance: float
    """Metres along the surface's normal."""

    def hidden(self, points: Tensor, facing: Tensor | None = None) -> Tensor:
        """How far points are hidden behind the mesh, 0 (in front) to 1.

        points: (P, 3) metres, camera frame, on or near the mesh. facing: (P,) cosine between the
        surface's normal and the direction to the camera; grazing surfaces get more tolerance
        along the view. Averages the four pixels around each point by their bilinear weights.
        Points outside the buffer, at its rim or behind the camera count as not hidden.
        """
        height, width = self.face_index.shape
        pixels = to_pixels(points, self.K)
        inverse_z = 1.0 / pixels[:, 2]
        slack = self.tolerance * inverse_z * inverse_z
        if facing is not None:
            slack = slack / facing.abs().clamp(min=0.15)
        x, y = pixels[:, 0], pixels[:, 1]
        known = (x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1)
        x, y = torch.where(known, x, 0.0), torch.where(known, y, 0.0)
        left, top = x.floor().clamp(max=width - 2), y.floor().clamp(max=height - 2)
        right_share, lower_share = x - left, y - top
        corner = (top * width + left).long()
        faces = self.face_index.reshape(-1)
        result = torch.zeros_like(x)
        for down in (0, 1):
            for right in (0, 1):
                plane = self.planes[faces[corner + (down * width + right)]]
                a, b, c, low, high = plane.unbind(-1)
                # A plane seen nearly edge-on explodes outside its triangle; its own depths do not.
                surface = torch.minimum(torch.maximum(a * x + b * y + c, low), high)
                # 1 at twice the tolerance, 0.5 at the tolerance, 0 on the surface or before it.
                behind = ((surface - inverse_z) / (2 * slack)).clamp(0, 1)
                share = (right_share if right else 1 - right_share) * (
                    lower_share if down else 1 - lower_share
                )
                result += share * behind
        return torch.where(known, result, torch.zeros_like(result))

    def clearance_map(self, reach_px: float) -> Tensor:
        """How far every pixel is from an outline of the mesh, 0 (on it) to 1 (clear): (h, w).

        Colours beside an outline may belong to the background or to the part in front when the
        fit is a little off. reach_px: distance in depth-buffer pixels up to which the value is 0;
        it is 1 from about three times that.
        """
        reach = max(1, round(reach_px))
        inverse = torch.where(torch.isfinite(self.depth), 1 / self.depth, 0.0)[None, None]
        nearest = max_pool2d(inverse, 3, stride=1, padding=1)
        # A step in depth of ten tolerances between neighbours is an outline, not a slope.
        step = (nearest - inverse) > 10 * self.tolerance * nearest * nearest
        outline = (step | (inverse == 0)).float()
        near = max_pool2d(outline, (2 * reach + 1, 1), stride=1, padding=(reach, 0))
        near = max_pool2d(near, (1, 2 * reach + 1), stride=1, padding=(0, reach))
        # Two box filters make a ramp. Zero padding: the buffer's rim is no outline.
        for _ in range(2):
            near = avg_pool2d(near, (2 * reach + 1, 1), stride=1, padding=(reach, 0))
            near = avg_pool2d(near, (1, 2 * reach + 1), stride=1, padding=(0, reach))
        return (1 - 2 * near[0, 0]).clamp(0, 1)

    def sample(self, buffer: Tensor, points: Tensor) -> Tensor:
        """Bilinear values (P,) of a buffer (h, w) at points (P, 3) metres, camera frame."""
        pixels = to_pixels(points, self.K)[:, :2]
        size = pixels.new_tensor((buffer.shape[1], buffer.shape[0]))
        grid = ((2 * pixels + 1) / size - 1)[None, None]
        value = grid_sample(buffer[None, None], grid, padding_mode="border", align_corners=False)
        return value[0, 0, 0]


def mesh_scale(vertices: Tensor) -> float:
    """Root mean square distance of vertices (N, 3) from their mean, in their unit."""
    return float((vertices - vertices.mean(0)).square().sum(-1).mean().sqrt())


def render_depth_view(
    vertices: Tensor,
    faces: Tensor,
    K: Tensor,
    image_size: tuple[int, int],
    settings: DepthSettings | None = None,
) -> DepthView | None:
    """Draw the depth buffer of a posed mesh in a crop around it.

    vertices: (N, 3) metres, camera frame. faces: (T, 3) the triangles that hide others. K: (3, 3)
    pixels of the image. image_size: (W, H); the crop never leaves the image by more than a pixel.
    Returns None where no part of the mesh is in the image.
    """
    settings = settings or DepthSettings()
    assert vertices.ndim == 2 and vertices.shape[1] == 3 and K.shape == (3, 3)
    pixels = to_pixels(vertices, K)
    seen = torch.isfinite(pixels).all(-1) & (pixels[:, 2] > 1e-3)
    if not bool(seen.any()):
        return None
    limit = pixels.new_tensor(image_size)
    low = torch.maximum(pixels[seen, :2].amin(0), torch.full_like(limit, -1.0))
    high = torch.minimum(pixels[seen, :2].amax(0), limit)
    extent = high - low
    if not bool((extent > 0).all()):
        return None
    zoom = (settings.resolution - 1 - 2 * settings.margin) / float(extent.max())
    size = torch.ceil(extent * zoom + 1 + 2 * settings.margin).long().tolist()
    left, top = (settings.margin - zoom * low).tolist()
    crop = K.new_tensor([[zoom, 0, left], [0, zoom, top], [0, 0, 1]])
    K_view = crop @ K
    crop_pixels = to_pixels(vertices, K_view)
    face_index, _, depth = rasterize(crop_pixels, faces, (max(size[0], 2), max(size[1], 2)))
    return DepthView(
        K=K_view,
        face_index=torch.where(face_index >= 0, face_index, len(faces)).long(),
        depth=depth,
        planes=_inverse_depth_planes(crop_pixels, faces),
        tolerance=settings.tolerance * mesh_scale(vertices),
    )


def _inverse_depth_planes(pixels: Tensor, faces: Tensor) -> Tensor:
    corners = pixels[faces].double()
    xy, inverse_z = corners[..., :2], 1.0 / corners[..., 2]
    edge_1, edge_2 = xy[:, 1] - xy[:, 0], xy[:, 2] - xy[:, 0]
    rise_1, rise_2 = inverse_z[:, 1] - inverse_z[:, 0], inverse_z[:, 2] - inverse_z[:, 0]
    area = edge_1[:, 0] * edge_2[:, 1] - edge_1[:, 1] * edge_2[:, 0]
    a = (rise_1 * edge_2[:, 1] - rise_2 * edge_1[:, 1]) / area
    b = (rise_2 * edge_1[:, 0] - rise_1 * edge_2[:, 0]) / area
    c = inverse_z[:, 0] - a * xy[:, 0, 0] - b * xy[:, 0, 1]
    planes = torch.stack((a, b, c, inverse_z.amin(1), inverse_z.amax(1)), -1)
    # Triangles without area on the screen, or partly behind the camera, never win a pixel.
    planes = torch.nan_to_num(planes, nan=0.0, posinf=0.0, neginf=0.0)
    return torch.cat((planes, planes.new_zeros(1, 5))).to(pixels.dtype)
