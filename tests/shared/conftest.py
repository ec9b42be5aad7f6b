"""One message of every kind, with random content."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from shared import messages as m
from shared.codec import WIRE_DTYPES, array_specs

SCALARS: dict[str, Any] = {
    "boot_id": "b00",
    "version": "0.1.0 ü",
    "code": "no_face",
    "message": 'quote " and \u2028 and 漢字',
    "job_id": "0123456789abcdef" * 2,
    "attempt": 2,
    "sequence": 3,
    "state": "running",
    "stage": "final",
    "expression_names": ["jawOpen", "tongueOut"],
    "frame_index": 41,
    "timestamp": 1.75,
    "found": True,
    "focal_px": 1234.5,
    "step": 7,
    "fraction": 0.25,
    "image_size": (1920, 1080),
    "frame_rate": (30000, 1001),
    "place": (12.5, 20.0),
    "distortion": (-0.1, 0.02, 0.0),
    "devices": ["cpu", "cuda:0"],
    "number": 1,
    "clip": "/clips/b.mp4",
    "offset": -3.5,
    "focal_sd_percent": 2.5,
    "near_ms": 120.5,
    "whole_ms": 900.0,
    "sources": [
        m.UsedSource(name="anna 漢.jpg", n_frames=1, focal_px=2400.5, image_size=(4000, 3000))
    ],
    "skipped": ["b.jpg: no face"],
    "job": m.TrackJob(
        clip="/clips/a.mp4",
        start=3,
        subject=(10.0, 20.5),
        subject_frame=7,
        focal_px=900.0,
        lens=m.Lens(principal_point=(960.5, 540.0), distortion=(-0.1, 0.02, 0.0), zoom=True),
        constraints=m.ShotConstraints(
            pins=[m.PinnedPoint(frame=3, point="ibug68/30", x=1.5, y=-2.0, camera=1, sigma_px=2.0)],
            ignore_frames=[(4, 6), (9, 9)],
            limits=[m.ExpressionLimit(name="jawOpen", low=0.0, high=0.3)],
            mask="/clips/mask.png",
            neutral=7,
            further_neutrals=[9],
        ),
        cameras=[
            m.RigCamera(
                clip="/clips/b.mp4",
                offset=3.5,
                rotation=((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
                translation=(0.1, 0.0, 0.0),
                focal_px=800.0,
            )
        ],
        person="/people/anna.npz",
        frame_rate=(30000, 1001),
    ),
}
SIZES = {"N": 7, "E": 2, "I": 5, "T": 4, "J": 4, "L": 6, "H": 3, "W": 5, "S": 3,
         "A": 4, "B": 2, "C": 9, "F": 3, "K": 6}  # fmt: skip


def make_message(message_type: type[m.Message], seed: int = 0) -> m.Message:
    """Return a message with every field filled."""
    rng = np.random.default_rng(seed)
    values = {name: SCALARS[name] for name in message_type.__struct_fields__ if name in SCALARS}
    for name, spec in array_specs(message_type).items():
        shape = [SIZES[size] if isinstance(size, str) else size for size in spec.shape]
        dtype = WIRE_DTYPES[spec.dtype]
        if dtype.kind == "f":
            values[name] = rng.normal(size=shape).astype(dtype)
        else:
            values[name] = rng.integers(0, 255, shape).astype(dtype)
    if message_type is m.Progress:
        values["stage"] = "detect"
    return message_type(**values)


@pytest.fixture
def make() -> Callable[..., m.Message]:
    return make_message
