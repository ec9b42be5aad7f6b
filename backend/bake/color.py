"""sRGB and linear light."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def srgb_to_linear(encoded: np.ndarray) -> np.ndarray:
    """Decode sRGB values of 0 to 1 to linear light, any shape (IEC 61966-2-1)."""
    low = encoded / 12.92
    high = ((np.maximum(encoded, 0.0) + 0.055) / 1.055) ** 2.4
    return np.where(encoded <= 0.04045, low, high)


_DECODED = srgb_to_linear(np.arange(256) / 255.0).astype(np.float32)


def srgb8_to_linear(image: np.ndarray) -> np.ndarray:
    """Decode sRGB u8 to linear light float32 in 0 to 1, any shape."""
    assert image.dtype == np.uint8
    return _DECODED[image]


def linear_on(image: np.ndarray, device: torch.device) -> Tensor:
    """Decode sRGB u8 to linear light float32 in 0 to 1 on a device, any shape."""
    if device.type == "cpu":
        return torch.from_numpy(srgb8_to_linear(image)).to(device)
    # A quarter of the bytes go over when it is decoded there.
    table = torch.as_tensor(_DECODED, device=device)
    return table[torch.as_tensor(np.ascontiguousarray(image), device=device).long()]


def linear_to_srgb8(linear: Tensor) -> Tensor:
    """Encode linear light (clipped to 0 to 1) as sRGB u8, any shape."""
    value = linear.clamp(0, 1)
    encoded = torch.where(value <= 0.0031308, value * 12.92, 1.055 * value ** (1 / 2.4) - 0.055)
    return (encoded * 255).round().byte()
