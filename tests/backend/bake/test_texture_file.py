"""Textures are written with their colour space, and read back as they were."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from backend.bake.color import linear_to_srgb8
from backend.bake.texture_file import REC709, write_texture
from backend.errors import BadInputError


@pytest.fixture
def color() -> torch.Tensor:
    return torch.rand(16, 16, 3, generator=torch.Generator().manual_seed(0))


def test_png_says_that_it_is_srgb(color: torch.Tensor, tmp_path: Path) -> None:
    alpha = torch.full((16, 16), 128, dtype=torch.uint8)
    write_texture(tmp_path / "t.png", color, alpha)
    data = (tmp_path / "t.png").read_bytes()
    assert data[33 + 4 : 33 + 8] == b"sRGB"
    read = cv2.imread(str(tmp_path / "t.png"), cv2.IMREAD_UNCHANGED)
    assert (read[..., 2::-1] == linear_to_srgb8(color).numpy()).all()
    assert (read[..., 3] == 128).all()


def test_exr_is_linear_and_says_its_primaries(color: torch.Tensor, tmp_path: Path) -> None:
    OpenEXR = pytest.importorskip("OpenEXR")
    alpha = torch.full((16, 16), 255, dtype=torch.uint8)
    write_texture(tmp_path / "t.exr", 3 * color, alpha)
    with OpenEXR.File(str(tmp_path / "t.exr"), separate_channels=True) as file:
        channels = file.channels()
        for number, name in enumerate("RGB"):
            values = 3 * color[..., number].numpy()
            np.testing.assert_allclose(channels[name].pixels, values, rtol=1e-3, atol=1e-6)
        assert (channels["measured.Y"].pixels == 1).all() and "A" not in channels
        np.testing.assert_allclose(file.header()["chromaticities"], REC709, atol=1e-6)


def test_other_names_are_refused(color: torch.Tensor, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="png"):
        write_texture(tmp_path / "t.jpg", color)
    assert not list(tmp_path.iterdir())
