"""Lenses of live jobs, and frames that a track leaves out, in Blender."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from shared.messages import FrameResult, JobDone
from tests.blender.test_tracking import Service

pytestmark = pytest.mark.blender


def test_distortion_and_zoom_of_a_live_job(
    blender: Any, performance: Any, clip: Path, tmp_path: Path
) -> None:
    focal_px = np.linspace(410.0, 500.0, 9)
    messages: list[Any] = []
    for message in performance.messages():
        if isinstance(message, FrameResult):
            focal = float(focal_px[message.frame_index - 2])
            message = msgspec.structs.replace(message, focal_px=focal)
        elif isinstance(message, JobDone):
            message = msgspec.structs.replace(message, distortion=(-0.1, 0.02, 0.003))
        messages.append(message)
    service = Service(tmp_path, clip, messages)
    try:
        told = blender.run("frame_checks.py", "lens", clip=clip, connection=service.connection,
                           job_id=service.job_id)  # fmt: skip
    finally:
        service.close()
    assert told["model"] == "POLYNOMIAL" and told["straight"]
    assert told["distortion"] == pytest.approx([-0.1, 0.02, 0.003])
    assert told["focal_px"] == pytest.approx(focal_px, rel=1e-5)
    assert told["clip_focal_px"] == pytest.approx(np.median(focal_px), rel=1e-5)
    assert told["centre"] == pytest.approx([0.0, 0.0], abs=1e-6)


def test_the_clips_own_lens_becomes_the_jobs(blender: Any, clip: Path) -> None:
    jobs = blender.run("frame_checks.py", "lens_job", clip=clip)
    assert jobs["SOLVE"]["distortion"] == [0.0, 0.0, 0.0] and not jobs["SOLVE"]["zoom"]
    assert jobs["ZOOM"]["zoom"] and jobs["ZOOM"]["focal_px"] is None
    assert jobs["CLIP"]["focal_px"] == pytest.approx(400.0)
    assert jobs["CLIP"]["distortion"] == pytest.approx([-0.12, 0.03, 0.0])
    # A tenth of half the width to the right, two of half the height down.
    assert jobs["CLIP"]["principal_point"] == pytest.approx([159.5 + 16.0, 89.5 + 18.0], abs=1e-4)
    assert "Polynomial" in jobs["refused"]


def test_frames_that_a_clip_leaves_out_hold_the_one_before(
    blender: Any, track_file: Path, clip: Path, tmp_path: Path
) -> None:
    with np.load(track_file) as file:
        arrays = dict(file)
    kept = [0, 1, 2, 5, 6]
    count = len(arrays["frame_index"])
    for name, array in arrays.items():
        if array.ndim and array.shape[0] == count and name not in ("shape_keys", "joints"):
            arrays[name] = array[kept]
    np.savez(tmp_path / "uneven.npz", **arrays)
    for number in range(12):
        Image.fromarray(np.zeros((180, 320, 3), np.uint8)).save(tmp_path / f"p_{number:03d}.png")
    found = blender.run("frame_checks.py", "held", track=tmp_path / "uneven.npz", clip=clip,
                        pictures=tmp_path / "p_000.png")  # fmt: skip
    places, visible = found["movie"]
    assert places["6"] == places["7"] == places["5"] != places["8"]
    assert visible["6"] == visible["7"] == visible["5"] > 0.1
    assert places["3"] != places["4"] != places["5"] and places["8"] != places["9"]
    # Pictures that a sequence lacks are not shown: there the motion goes on.
    places, visible = found["sequence"]
    assert places["5"] != places["6"] != places["7"] != places["8"]
    assert visible["6"] == visible["5"]
