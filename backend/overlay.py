"""The tracked head drawn over the footage: what a person looks at to judge a result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from backend.atomic import atomic_path
from backend.footage import Footage
from backend.geometry.rasterizer import ShadingSettings, render_shaded
from backend.picture_file import write_picture
from backend.track import Track

Image = NDArray[np.uint8]

# Blue against any skin.
_PLASTER = ShadingSettings(ambient=0.2, base_color=(0.45, 0.72, 1.0))


@dataclass(frozen=True)
class OverlaySettings:
    """How the head is drawn."""

    style: Literal["shaded", "wire", "textured"] = "shaded"
    """"shaded" is a see-through plaster head, "wire" the visible edges of the mesh, "textured" the
    head with its own texture, opaque."""
    opacity: float = 0.6
    """Opacity of the shaded head and of the edges, 0 to 1."""
    landmarks: bool = True
    """Draw the detected landmarks as dots."""


def draw_overlay(
    image: Image, track: Track, frame: int, settings: OverlaySettings | None = None
) -> Image:
    """Draw frame number `frame` of the track (counted in the track) over its image.

    image: (H, W, 3) RGB. Returns a new (H, W, 3) image. Where the face was not found the head is
    drawn fainter and nothing else.
    """
    settings = settings or OverlaySettings()
    result = image.copy()
    opacity = 1.0 if settings.style == "textured" else settings.opacity
    opacity *= 1.0 if track.found[frame] else 0.3
    if settings.style == "wire":
        _draw_wire(result, track, frame, opacity)
    else:
        _blend_head(result, track, frame, opacity, settings.style == "textured")
    if settings.landmarks and track.found[frame]:
        _draw_landmarks(result, track.landmarks_2d[frame], track.vertices[frame], track.K[frame])
    return result


def write_overlay_video(
    footage: Footage,
    track: Track,
    path: Path,
    settings: OverlaySettings | None = None,
    progress: Callable[[float], None] = lambda fraction: None,
) -> None:
    """Write the overlay of every frame as H.264 in .mp4, whole or not at all."""
    rate = Fraction(int(track.frame_rate[0]), int(track.frame_rate[1]))
    with atomic_path(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate)
        # H.264's usual pixel format halves the colour's resolution: sides must be even.
        stream.width, stream.height = (int(side) // 2 * 2 for side in track.image_size)
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "20", "preset": "veryfast", "movflags": "faststart"}
        for number, image in _overlays(footage, track, settings):
            picture = np.ascontiguousarray(image[: stream.height, : stream.width])
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = int(track.frame_index[number] - track.frame_index[0])
            frame.time_base = 1 / rate
            container.mux(stream.encode(frame))
            progress((number + 1) / track.n_frames)
        container.mux(stream.encode())


def write_overlay_sheet(
    footage: Footage,
    track: Track,
    path: Path,
    settings: OverlaySettings | None = None,
    n_frames: int = 12,
    width: int = 480,
) -> None:
    """Write a picture with `n_frames` overlays, evenly spaced over the shot, each `width` wide.

    A track of one frame gives that frame alone, in its own size.
    """
    wanted = np.unique(np.linspace(0, track.n_frames - 1, n_frames).round().astype(int))
    if track.n_frames == 1:
        image = next(image for _, image in _overlays(footage, track, settings))
        write_picture(path, image)
        return
    height = round(width * int(track.image_size[1]) / int(track.image_size[0]))
    tiles = []
    for number, image in _overlays(footage, track, settings, set(wanted.tolist())):
        tile = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        label = str(int(track.frame_index[number]))
        for colour, thickness in (((0, 0, 0), 4), ((255, 255, 255), 1)):
            cv2.putText(tile, label, (8, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.7, colour, thickness)
        tiles.append(tile)
    columns = int(np.ceil(np.sqrt(len(tiles))))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    write_picture(path, np.vstack(rows))


def _overlays(
    footage: Footage, track: Track, settings: OverlaySettings | None, only: set[int] | None = None
) -> Iterator[tuple[int, Image]]:
    number_of = {int(index): number for number, index in enumerate(track.frame_index)}
    for frame in footage:
        number = number_of.get(frame.index)
        if number is not None and (only is None or number in only):
            yield number, draw_overlay(frame.image, track, number, settings)


def _blend_head(image: Image, track: Track, frame: int, opacity: float, textured: bool) -> None:
    vertices, K = track.vertices[frame], track.K[frame]
    box = _head_box(vertices, K, (image.shape[1], image.shape[0]))
    if box is None:
        return
    left, top, right, bottom = box
    K_crop = K.copy()
    K_crop[:2, 2] -= (left, top)
    textured = textured and track.texture.size > 0
    drawn = render_shaded(
        vertices,
        track.faces,
        K_crop,
        (right - left, bottom - top),
        texture=track.texture if textured else None,
        uv=track.uv.reshape(-1, 2) if textured else None,
        face_uv=np.arange(3 * len(track.faces)).reshape(-1, 3) if textured else None,
        settings=ShadingSettings(ambient=1.0) if textured else _PLASTER,
    )
    region = image[top:bottom, left:right]
    alpha = opacity * drawn[..., 3:].astype(np.float32) / 255
    region[:] = np.rint(region * (1 - alpha) + drawn[..., :3] * alpha).astype(np.uint8)


def _draw_wire(image: Image, track: Track, frame: int, opacity: float) -> None:
    """Edges of the triangles whose corners the camera sees."""
    pixels = _project(track.vertices[frame], track.K[frame])
    seen = track.faces[track.visibility[frame][track.faces].all(1)]
    drawn = image.copy()
    # Four fractional bits, or thin lines jump from pixel to pixel between frames.
    corners = np.rint(pixels[seen] * 16).astype(np.int32)
    cv2.polylines(drawn, list(corners), True, (120, 220, 255), 1, cv2.LINE_AA, shift=4)
    image[:] = cv2.addWeighted(drawn, opacity, image, 1 - opacity, 0)


def _project(vertices: NDArray[np.float32], K: NDArray[np.float64]) -> NDArray[np.float64]:
    points = vertices @ K.T
    return points[..., :2] / points[..., 2:]


def _head_box(
    vertices: NDArray[np.float32], K: NDArray[np.float64], image_size: tuple[int, int]
) -> tuple[int, int, int, int] | None:
    """The part of the image that the head covers: left, top, right, bottom; None for none."""
    in_front = vertices[vertices[:, 2] > 1e-3]
    if not len(in_front) or not np.isfinite(in_front).all():
        return None
    pixels = _project(in_front, K)
    left, top = np.floor(np.clip(pixels.min(0), 0, image_size)).astype(int)
    right, bottom = np.ceil(np.clip(pixels.max(0) + 1, 0, image_size)).astype(int)
    return (left, top, right, bottom) if right > left and bottom > top else None


def _draw_landmarks(
    image: Image,
    landmarks_2d: NDArray[np.float32],
    vertices: NDArray[np.float32],
    K: NDArray[np.float64],
) -> None:
    """Dots, sized to the head, with four fractional bits of precision."""
    pixels_per_metre = K[0, 0] / max(float(np.median(vertices[:, 2])), 1e-3)
    radius = max(0.75, 0.0007 * pixels_per_metre)
    for x, y in landmarks_2d:
        if np.isfinite(x) and np.isfinite(y):
            centre = (round(float(x) * 16), round(float(y) * 16))
            cv2.circle(image, centre, round(radius * 16), (90, 255, 120), -1, cv2.LINE_AA, shift=4)
