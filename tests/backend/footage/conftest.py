"""Small clips and pictures whose every pixel is known."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest


def grey_level(index: int) -> int:
    """Brightness that marks frame `index` of a test clip."""
    return 20 + 5 * index


@pytest.fixture
def write_clip(tmp_path: Path) -> Callable[..., Path]:
    """Write a clip of flat grey frames, each as bright as `grey_level` says."""

    def write(
        name: str = "clip.mp4",
        n_frames: int = 30,
        size: tuple[int, int] = (64, 48),
        rate: Fraction = Fraction(24000, 1001),
        codec: str = "libx264",
        times: list[int] | None = None,
        options: dict[str, str] | None = None,
    ) -> Path:
        path = tmp_path / name
        with av.open(str(path), "w", options=options or {}) as container:
            stream = container.add_stream(codec, rate=rate)
            stream.width, stream.height = size
            stream.pix_fmt = "yuv420p" if codec != "gif" else "rgb8"
            if codec == "libx264":
                stream.options = {"g": "7", "bf": "2", "crf": "4"}
            for index in range(n_frames):
                rgb = np.full((size[1], size[0], 3), grey_level(index), np.uint8)
                frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
                frame.pts = index if times is None else times[index]
                frame.time_base = 1 / rate
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path

    return write
