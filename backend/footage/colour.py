"""From a decoder's frame to an upright RGB picture."""

from __future__ import annotations

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

_UNSPECIFIED = 2
_RGB_FORMATS = ("rgb", "bgr", "gbr", "gray", "pal", "arg", "abg", "ya", "mono")
_HDR_TRANSFERS = {16: "PQ", 18: "HLG"}


def upright_rgb(frame: VideoFrame) -> NDArray[np.uint8]:
    """Convert a decoded frame to (H, W, 3) RGB and apply the rotation that it only reports."""
    rgb = frame.to_ndarray(
        format="rgb24",
        src_colorspace=_matrix(frame),
        dst_color_range=ColorRange.JPEG,
    )
    return np.ascontiguousarray(np.rot90(rgb, quarter_turns(frame)))


def quarter_turns(frame: VideoFrame) -> int:
    """Quarter turns counter-clockwise that make the stored picture upright."""
    return round(frame.rotation / 90) % 4


def hdr_transfer(frame: VideoFrame) -> str | None:
    """Name of the HDR transfer function of a frame, or None: HDR is shown without tone mapping."""
    return _HDR_TRANSFERS.get(int(frame.color_trc))


def _matrix(frame: VideoFrame) -> Colorspace | None:
    """Say BT.709 for untagged HD, which the converter would read as BT.601."""
    if frame.format.name.startswith(_RGB_FORMATS) or int(frame.colorspace) != _UNSPECIFIED:
        return None
    is_hd = frame.height >= 720 or frame.width >= 1280
    return Colorspace.ITU709 if is_hd else Colorspace.ITU601
