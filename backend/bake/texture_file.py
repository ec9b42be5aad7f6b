"""Textures as files that name their colour space: PNG in sRGB, OpenEXR in linear light."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from backend.atomic import atomic_path
from backend.bake.color import linear_to_srgb8
from backend.errors import BadInputError

REC709 = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)
"""Chromaticities of sRGB's primaries and white, x and y: red, green, blue, white."""

SUFFIXES = (".png", ".exr")


def write_texture(path: Path, color: Tensor, alpha: Tensor | None = None) -> None:
    """Write a texture whole or not at all.

    color: (H, W, 3) linear light with sRGB's primaries; alpha: (H, W) u8 data, not opacity, or
    None. .png: 8-bit sRGB with the chunk that says so. .exr: half floats in linear light with the
    chromaticities; needs the `exr` extra. Raises `BadInputError` for other names.
    """
    if path.suffix == ".png":
        _write_png(path, color, alpha)
    elif path.suffix == ".exr":
        _write_exr(path, color, alpha)
    else:
        raise BadInputError(f"{path}: the texture's name must end in {' or '.join(SUFFIXES)}.")


def _write_png(path: Path, color: Tensor, alpha: Tensor | None) -> None:
    planes = linear_to_srgb8(color)
    if alpha is not None:
        planes = torch.cat((planes, alpha[..., None]), -1)
    order = [2, 1, 0, 3][: planes.shape[2]]
    done, data = cv2.imencode(".png", np.ascontiguousarray(planes.numpy()[..., order]))
    assert done
    encoded = data.tobytes()
    # The sRGB chunk, perceptual intent, goes between the header (33 bytes with the signature) and
    # the pixels: PNG specification, 11.3.3.5.
    body = b"sRGB\x00"
    chunk = struct.pack(">I", 1) + body + struct.pack(">I", zlib.crc32(body))
    with atomic_path(path) as temporary:
        temporary.write_bytes(encoded[:33] + chunk + encoded[33:])


def _write_exr(path: Path, color: Tensor, alpha: Tensor | None) -> None:
    try:
        import OpenEXR
    except ImportError as error:
        raise BadInputError(f'{path}: .exr files need OpenEXR: pip install "mien[exr]"') from error
    pixels = color.numpy().astype(np.float16)
    channels = {name: np.ascontiguousarray(pixels[..., k]) for k, name in enumerate("RGB")}
    if alpha is not None:
        # Not called A: programs multiply colour by that.
        channels["measured.Y"] = (alpha.numpy() / 255).astype(np.float16)
    header = {
        "compression": OpenEXR.ZIP_COMPRESSION,
        "type": OpenEXR.scanlineimage,
        "chromaticities": REC709,
    }
    with atomic_path(path) as temporary:
        OpenEXR.File(header, channels).write(str(temporary))
