"""What live tracking prints: one JSON object a line (docs/live.md)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .source import LiveImage
from .tracker import LiveFrame

FORMAT = 1
"""Raised when a reader of older lines would misread them."""


def start_line(
    source: str, image_size: tuple[int, int], frame_rate: float, runtime: str,
    expression_names: Sequence[str],
) -> str:  # fmt: skip
    """The first line: what holds for all frames."""
    return _line(
        "start", format=FORMAT, source=source, image_size=list(image_size),
        frame_rate=round(frame_rate, 6), runtime=runtime, expression_names=list(expression_names),
    )  # fmt: skip


def frame_line(image: LiveImage, made: LiveFrame, dropped: int, latency_s: float) -> str:
    """A frame: coefficients and pose where a face was seen."""
    numbers: dict[str, Any] = {}
    if made.fit is not None:
        frame = made.fit.frame
        numbers = {
            "expression": _rounded(frame.expression, 4),
            "rotations": _rounded(frame.rotations, 5),
            "translation": _rounded(frame.translation, 5),
            "focal_px": round(frame.focal_px, 2),
        }
    return _line(
        "frame", index=image.index, time=round(image.timestamp, 4), found=made.fit is not None,
        **numbers, dropped=dropped, latency_ms=round(1000 * latency_s, 1),
        ms=[round(1000 * made.seconds_detect, 2), round(1000 * made.seconds_fit, 2)],
    )  # fmt: skip


def head_line(file: Path, focal_px: float) -> str:
    """The head of the person, written to a file, is another one now."""
    return _line("head", file=str(file), focal_px=round(focal_px, 2))


def end_line(frames: int, found: int, dropped: int, reason: str) -> str:
    """The last line; reason: why there are no more frames."""
    return _line("end", frames=frames, found=found, dropped=dropped, reason=reason)


def _line(kind: str, **values: Any) -> str:
    return json.dumps({"type": kind, **values}, separators=(",", ":"), allow_nan=False)


def _rounded(values: NDArray[np.float32], digits: int) -> list[Any]:
    rounded: list[Any] = np.round(values.astype(np.float64), digits).tolist()
    return rounded
