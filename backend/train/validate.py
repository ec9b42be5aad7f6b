"""Errors on rendered faces that training never sees."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from backend.detect.infinite3d.layout_net import LayoutNet
from backend.detect.network import INPUT_SIZE, DenseLandmarkNet
from backend.detect.windows import ROI_SCALE, crop, roi
from backend.train.batches import SamplePool
from backend.train.shards import decode_points

YAW_BUCKETS = (0.0, 15.0, 30.0, 50.0, 120.0)
"""Degrees."""


@torch.no_grad()
def validate(
    net: DenseLandmarkNet | LayoutNet,
    pool: SamplePool,
    device: torch.device,
    count: int = 256,
    window_size: int = INPUT_SIZE,
) -> dict[str, float]:
    """Errors of iBUG's inner 51 in percent of the face's size, overall and by yaw.

    The face's size is the longer side of the box around the 68 points, which, unlike the distance
    of the eyes, does not vanish in profile. Windows are the true region, slightly moved.
    """
    rng = np.random.default_rng(1)
    images: list[NDArray[np.uint8]] = []
    targets: list[NDArray[np.float64]] = []
    yaws: list[float] = []
    for number, row in pool.validation[: 2 * count]:
        sample = pool.readers[number][row]
        if not sample["has_face"] or len(images) == count:
            continue
        points = decode_points(np.asarray(sample["landmarks"][:68]))
        window = roi(points).jittered(
            tuple(rng.uniform(-0.03, 0.03, 2)), float(np.exp(rng.uniform(-0.05, 0.05))), 0.0
        )
        images.append(crop(np.asarray(sample["images"]), window, window_size))
        targets.append(window.to_window(points))
        camera = sample.get("scanned_camera", sample.get("camera"))
        yaws.append(0.0 if camera is None else abs(yaw_deg(np.asarray(camera))))
    net.eval()
    predicted = []
    for start in range(0, len(images), 32):
        batch = torch.from_numpy(np.stack(images[start : start + 32])).to(device)
        predicted.append(net(batch.permute(0, 3, 1, 2).float()).points[:, :68].cpu().numpy())
    error = np.linalg.norm(np.concatenate(predicted) - np.stack(targets), axis=-1)[:, 17:].mean(1)
    percent = 100 * error / (2 / ROI_SCALE)
    yaw = np.array(yaws)
    figures = {"error": float(percent.mean())}
    for low, high in pairwise(YAW_BUCKETS):
        inside = (yaw >= low) & (yaw < high)
        figures[f"error_yaw_{low:.0f}"] = float(percent[inside].mean()) if inside.any() else np.nan
    return figures


def yaw_deg(camera: NDArray[np.float32]) -> float:
    """Degrees between a head's direction and the camera's axis, seen from above."""
    root, head = Rotation.from_rotvec(camera[3:9].reshape(2, 3))
    forward = (root * head).apply([0.0, 0.0, -1.0])
    return float(np.degrees(np.arctan2(forward[0], -forward[2])))
