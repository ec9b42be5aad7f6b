"""Errors on rendered faces whose landmarks are known, by how far the head is turned."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from backend.detect import FaceDetector
from backend.detect.windows import ROI_SCALE, roi
from backend.errors import BadInputError
from backend.evaluate.settings import BenchSettings
from backend.train.batches import SamplePool
from backend.train.shards import decode_points
from backend.train.validate import YAW_BUCKETS, yaw_deg

_COUNT, _QUICK = 1024, 32


def on_shards(detector: FaceDetector, folder: Path, settings: BenchSettings) -> dict[str, float]:
    """Errors of iBUG's inner 51 surface points on shards that training keeps for validation.

    In percent of the face's size, the longer side of the box around the 68 points: the distance of
    the eyes vanishes in profile. Windows are the true region, slightly moved. Raises:
    `BadInputError` where the folder has no such samples.
    """
    pool = SamplePool([folder], {})
    if not pool.validation:
        raise BadInputError(f"{folder}: no rendered shards.")
    rng = np.random.default_rng(settings.seed)
    count = _QUICK if settings.quick else _COUNT
    order = rng.permutation(len(pool.validation))
    errors: list[float] = []
    yaws: list[float] = []
    with tqdm(total=count, desc="Rendered faces", unit="picture") as progress:
        for place in order:
            number, row = pool.validation[place]
            sample = pool.readers[number][row]
            if not sample["has_face"] or "camera" not in sample:
                continue
            truth = decode_points(np.asarray(sample["landmarks"][:68]))
            errors.append(_error(detector, np.asarray(sample["images"]), truth, settings, rng))
            yaws.append(abs(yaw_deg(np.asarray(sample["camera"]))))
            progress.update()
            if len(errors) == count:
                break
    if not errors:
        raise BadInputError(f"{folder}: its validation samples show no face with a known camera.")
    percent, yaw = np.array(errors), np.array(yaws)
    figures = {"rendered_error": float(percent.mean()), "rendered_images": float(len(percent))}
    for low, high in pairwise(YAW_BUCKETS):
        inside = (yaw >= low) & (yaw < high)
        if inside.any():
            figures[f"rendered_error_yaw_{low:.0f}_{high:.0f}"] = float(percent[inside].mean())
            figures[f"rendered_images_yaw_{low:.0f}_{high:.0f}"] = float(inside.sum())
    return figures


def _error(
    detector: FaceDetector,
    image: NDArray[np.uint8],
    truth: NDArray[np.float32],
    settings: BenchSettings,
    rng: np.random.Generator,
) -> float:
    region = roi(truth)
    shift = rng.uniform(-0.03, 0.03, 2)
    window = region.jittered((shift[0], shift[1]), float(np.exp(rng.uniform(-0.05, 0.05))), 0.0)
    face = detector.look(image, [window], settings.quality or "final")[0]
    distance = np.linalg.norm(face.landmarks_2d[17:68] - truth[17:], axis=-1)
    return 100 * float(distance.mean()) * ROI_SCALE / region.side
