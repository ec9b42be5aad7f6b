"""Opening one file with PyAV: only known formats, only this file, only so many pixels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import av.container
import av.video.stream

from backend.footage.errors import FootageError, named

VIDEO_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2",
    "matroska,webm",
    "avi",
    "asf",
    "flv",
    "gif",
    "apng",
    "mpeg",
    "mpegts",
    "mxf",
    "ogg",
)
PICTURE_FORMATS = tuple(f"{name}_pipe" for name in "bmp dpx exr j2k jpeg png tiff webp".split()) + (
    "image2",
)
# A playlist (concat, HLS, DASH, SDP) would make the demuxer open other files or addresses.
_WHITELIST = ",".join(VIDEO_FORMATS + PICTURE_FORMATS)

DEFAULT_MAX_PIXELS = 8192 * 8192
"""More than 8K video; enough for large photographs, far below what a hostile picture can ask."""


@contextmanager
def open_stream(
    path: Path, max_pixels: int = DEFAULT_MAX_PIXELS
) -> Iterator[tuple[av.container.InputContainer, av.video.stream.VideoStream]]:
    """Open `path` and give its container and first video stream.

    max_pixels: refuse pictures with more pixels. It must stand on the container's options and on
    the codec's: each alone leaves a way round it.
    Raises `FootageError`.
    """
    limit = {"max_pixels": str(max_pixels)}
    # An absolute path keeps a name such as "http:clip" from being read as an address.
    options = {"format_whitelist": _WHITELIST, "protocol_whitelist": "file", **limit}
    if path.exists() and path.is_file() and path.stat().st_size == 0:
        raise FootageError(f"{path}: is empty. Copy it again.")
    name = str(path.absolute())
    with (
        named(path),
        av.open(name, mode="r", options=options, metadata_errors="replace") as container,
    ):
        if not container.streams.video:
            raise FootageError(f"{path}: holds no picture, only sound or data.")
        stream = container.streams.video[0]
        codec = stream.codec_context
        if codec is None or codec.width == 0 or codec.height == 0:
            raise FootageError(
                f"{path}: its codec is not supported here, or it is damaged or larger than "
                f"{max_pixels} pixels. Convert it to H.264 in .mp4 or to a PNG sequence."
            )
        if codec.width * codec.height > max_pixels:
            raise FootageError(
                f"{path}: {codec.width} x {codec.height} is more than the {max_pixels} pixels "
                "allowed. Scale it down."
            )
        codec.options = {**limit, **({"apply_trc": "iec61966_2_1"} if codec.name == "exr" else {})}
        yield container, stream
