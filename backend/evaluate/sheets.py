"""Contact sheets of identities, expressions and landmark layouts, drawn to be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from backend.geometry.rasterizer import (
    ShadingSettings,
    rasterize,
    render_shaded,
    to_pixels,
    vertex_normals,
)
from backend.head import Head
from backend.head.landmarks import LandmarkLayout, layout

BACKGROUND = (236, 234, 230)
INK = (40, 40, 40)

PART_COLORS: dict[str, tuple[int, int, int]] = {
    "eye.L": (238, 238, 240),
    "eye.R": (238, 238, 240),
    "teeth_upper": (246, 240, 222),
    "teeth_lower": (246, 240, 222),
    "tongue": (214, 116, 116),
    "lashes": (60, 50, 46),
}
"""sRGB colours of the parts on an untextured head; the rest is skin."""

SKIN = (206, 170, 152)

IRIS = (84, 104, 116)
IRIS_ANGLE = 0.42
"""Radians about the eye's axis that the iris covers."""

SHADING = ShadingSettings(
    ambient=0.25, light=(-0.45, -0.6, -0.75), supersample=2, cull_backfaces=False
)
"""From above and the image's left, where brows and cheeks show."""

SHEET_SIZE = 256
"""Side of one picture of a head; landmark pictures are three times as large."""

TOGETHER: dict[str, tuple[str, ...]] = {"mouthClose": ("jawOpen",), "tongueOut": ("jawOpen",)}
"""Expressions that only mean something together with others (Apple's definition)."""


def contact_sheet(
    images: Sequence[np.ndarray], columns: int, labels: Sequence[str] = ()
) -> np.ndarray:
    """Lay pictures of one size out in rows, with a label under each.

    images: (H, W, 3 or 4) u8 each, alpha over a light background. columns: pictures a row. labels:
    one a picture, or none. Returns (rows * (H + label), columns * W, 3) u8 RGB.
    """
    assert images and columns > 0 and (not labels or len(labels) == len(images))
    height, width = images[0].shape[:2]
    strip = 20 if labels else 0
    rows = -(-len(images) // columns)
    sheet = np.empty((rows * (height + strip), columns * width, 3), np.uint8)
    sheet[:] = BACKGROUND
    for index, image in enumerate(images):
        y, x = index // columns * (height + strip), index % columns * width
        sheet[y : y + height, x : x + width] = over_background(image)
        if labels:
            scale = min(0.42, 0.42 * width / (7.6 * max(1, len(labels[index]))))
            place = (x + 4, y + height + 14)
            cv2.putText(
                sheet, labels[index], place, cv2.FONT_HERSHEY_SIMPLEX, scale, INK, 1, cv2.LINE_AA
            )
    return sheet


def over_background(image: np.ndarray) -> np.ndarray:
    """An (H, W, 3 or 4) u8 picture over the sheets' background: (H, W, 3) u8."""
    if image.shape[2] == 3:
        return image
    alpha = image[..., 3:].astype(np.float32) / 255
    mixed = image[..., :3] * alpha + np.array(BACKGROUND, np.float32) * (1 - alpha)
    return mixed.round().astype(np.uint8)


def part_colors(head: Head) -> np.ndarray:
    """A colour for every vertex by the part that it belongs to, (N, 3) u8 sRGB."""
    colors = np.empty((head.n_vertices, 3), np.uint8)
    colors[:] = SKIN
    for name, color in PART_COLORS.items():
        colors[np.asarray(head.regions[name])] = color
    template = head.template.cpu().numpy()
    for name, joint in (("eye.L", 2), ("eye.R", 3)):
        region = np.asarray(head.regions[name])
        direction = template[region] - head.joints_template[joint].cpu().numpy()
        angle = np.arccos(-direction[:, 2] / np.linalg.norm(direction, axis=1))
        colors[region[angle < IRIS_ANGLE]] = IRIS
    return colors


def place_before_camera(
    head: Head, vertices: Tensor, size: int, yaw: float = 0.0, zoom: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Turn vertices (N, 3) of the head frame about the head's axis and put a camera before them.

    size: side of the square picture in pixels. yaw: radians, positive turns the face to the
    image's right. zoom: 1 shows the whole head. Returns vertices (N, 3) in the camera frame and
    K (3, 3).
    """
    cos, sin = np.cos(yaw), np.sin(yaw)
    turn = vertices.new_tensor([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])
    center = (
        vertices.new_tensor([0.0, 0.012, 0.09])
        if zoom <= 1
        else vertices.new_tensor([0.0, 0.03, 0.03])
    )
    posed = (vertices - center) @ turn.T + vertices.new_tensor([0.0, 0.0, 1.0])
    focal = 3.1 * size * zoom
    middle = (size - 1) / 2
    return posed, vertices.new_tensor([[focal, 0, middle], [0, focal, middle], [0, 0, 1]])


def render_head(
    head: Head,
    identity: Tensor,
    expression: Tensor,
    size: int = 256,
    yaw: float = 0.0,
    zoom: float = 1.0,
) -> np.ndarray:
    """Picture (size, size, 4) u8 of a head with coefficients (100,) and (52,), skinned.

    The eyes turn only by skinning, so gaze does not show here; lids do.
    """
    vertices, K = place_before_camera(head, head.shape(identity, expression), size, yaw, zoom)
    return render_shaded(
        vertices, head.faces, K, (size, size), colors=part_colors(head), settings=SHADING
    )


def identity_sheet(head: Head, count: int = 24, size: int = 256, seed: int = 0) -> np.ndarray:
    """Heads sampled from the identity prior, from the front and half from the side."""
    identities = head.identity_prior.sample(count, torch.Generator().manual_seed(seed))
    neutral = torch.zeros(head.n_expression)
    pictures, labels = [], []
    for index, identity in enumerate(identities):
        for yaw in (0.0, 0.7):
            pictures.append(render_head(head, identity, neutral, size, yaw))
            labels.append(f"{index}: mean |c| {identity.abs().mean():.2f}" if yaw == 0 else "")
    return contact_sheet(pictures, 8, labels)


def expression_sheet(
    head: Head, identity: Tensor | None = None, size: int = 256, yaw: float = 0.0
) -> np.ndarray:
    """All 52 expressions at 1.0, named; some together with what they need (`TOGETHER`)."""
    identity = torch.zeros(head.n_identity) if identity is None else identity
    names = list(head.expression_names)
    neutral = torch.zeros(head.n_expression)
    pictures, labels = [render_head(head, identity, neutral, size, yaw, 1.7)], ["neutral"]
    for index, name in enumerate(names):
        coefficients = torch.zeros(head.n_expression)
        coefficients[index] = 1.0
        for other in TOGETHER.get(name, ()):
            coefficients[names.index(other)] = 1.0
        pictures.append(render_head(head, identity, coefficients, size, yaw, 1.7))
        labels.append(" + ".join((name, *TOGETHER.get(name, ()))))
    return contact_sheet(pictures, 9, labels)


def landmark_picture(
    head: Head, lay: LandmarkLayout, size: int, yaw: float, zoom: float, numbers: bool
) -> np.ndarray:
    """The mean head with a layout's points: blue to red by index, hollow where hidden."""
    neutral = head.shape(torch.zeros(head.n_identity), torch.zeros(head.n_expression))
    vertices, K = place_before_camera(head, neutral, size, yaw, zoom)
    picture = over_background(
        render_shaded(
            vertices, head.faces, K, (size, size), colors=part_colors(head), settings=SHADING
        )
    ).copy()
    points = to_pixels(head.landmarks(vertices, lay), K)
    _, _, depth = rasterize(to_pixels(vertices, K), head.faces, (size, size))
    facing = -(vertex_normals(vertices, head.faces) * vertices).sum(-1)
    shown = facing[torch.from_numpy(lay.vertices)].amax(-1) > 0
    for index, (x, y, z) in enumerate(points.tolist()):
        column, row = round(x), round(y)
        if not (0 <= column < size and 0 <= row < size):
            continue
        seen = bool(shown[index]) and z < float(depth[row, column]) + 0.004
        hue = round(170 * (1 - index / max(1, len(points) - 1)))
        rgb = cv2.cvtColor(np.array([[[hue, 255, 230]]], np.uint8), cv2.COLOR_HSV2RGB)[0, 0]
        place = (round(16 * x), round(16 * y))
        radius = 16 * 3 if len(points) < 100 else 16 * 2
        thickness = -1 if seen else 1
        cv2.circle(picture, place, radius, rgb.tolist(), thickness, cv2.LINE_AA, 4)
        if numbers and seen:
            cv2.putText(
                picture, str(index), (column + 4, row - 3), cv2.FONT_HERSHEY_SIMPLEX, 0.34,
                (20, 20, 20), 1, cv2.LINE_AA,
            )  # fmt: skip
    return picture


def landmark_sheet(head: Head, name: str, size: int = 720) -> np.ndarray:
    """A layout on the mean head from the front, 45 and 90 degrees; points numbered if only 68."""
    lay = layout(name)
    few = len(lay) < 100
    pictures, labels = [], []
    for degrees in (0, 45, 90):
        yaw, zoom = np.radians(degrees), 1.0 if not few else 1.5
        pictures.append(landmark_picture(head, lay, size, float(yaw), zoom, few))
        labels.append(f"{name}, {degrees} degrees")
    return contact_sheet(pictures, 3, labels)


def render_head_sheets(out_dir: Path, head: Head | None = None) -> list[Path]:
    """Write every sheet of the head as PNG into a folder and return the files."""
    head = head or Head.load()
    out_dir.mkdir(parents=True, exist_ok=True)
    sheets = {
        "identities": identity_sheet(head, size=SHEET_SIZE),
        "expressions": expression_sheet(head, size=SHEET_SIZE),
        "expressions_side": expression_sheet(head, size=SHEET_SIZE, yaw=0.8),
        **{
            f"landmarks_{name}": landmark_sheet(head, name, 3 * SHEET_SIZE)
            for name in ("ibug68", "dense320", "dense703")
        },
    }
    written = []
    for name, sheet in sheets.items():
        written.append(out_dir / f"{name}.png")
        cv2.imwrite(str(written[-1]), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    return written
