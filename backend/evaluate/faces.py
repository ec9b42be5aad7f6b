"""`mien bench faces`: landmarks on whole photographs against points that people set.

`--data` names a folder with pictures and an `index.json`: `items`, each with `image`, `source` and
`landmarks_68` (iBUG's 68 points, pixel centres at integers). Nothing here is used for training.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from backend.detect import DenseDetector, FaceLandmarks
from backend.device import choose_device
from backend.errors import BadInputError
from backend.evaluate.settings import BenchSettings
from backend.footage.video import read_picture

FAILURE = 0.10
"""Error above which an image counts as failed."""
_MAX_FACES = 32
_MATCH = 0.2
"""Least intersection over union with the labelled face's box to have found it."""


@dataclass(frozen=True)
class Photograph:
    """A picture with the points that a person set on one face in it."""

    path: Path
    source: str
    landmarks_68: NDArray[np.float64]
    """(68,2) px."""


@dataclass(frozen=True)
class Measured:
    """What was found of P photographs."""

    predicted: NDArray[np.float64]
    """(P,68,2) px; NaN where the labelled face was missed."""
    labels: NDArray[np.float64]
    """(P,68,2) px."""
    sources: tuple[str, ...]
    """Where each photograph comes from."""
    extra_faces: int
    """Faces found beside the labelled ones; some are there, unlabelled."""


def read_index(folder: Path) -> list[Photograph]:
    """The photographs of a folder; raises `BadInputError`."""
    index = folder / "index.json"
    try:
        items = json.loads(index.read_text())["items"]
        return [
            Photograph(
                folder / item["image"],
                item["source"],
                np.array(item["landmarks_68"], np.float64).reshape(68, 2),
            )
            for item in items
        ]
    except (OSError, ValueError, KeyError) as error:
        raise BadInputError(f"{index}: cannot be read as an index of photographs.") from error


def measure(detector: DenseDetector, photographs: list[Photograph]) -> Measured:
    """Find every photograph's faces in the whole picture and keep the one that is labelled."""
    predicted, extra = [], 0
    for photograph in tqdm(photographs, desc="Finding faces", unit="picture"):
        image, _ = read_picture(photograph.path)
        faces = detector.find(image, max_faces=_MAX_FACES, quality="final")
        best = _matching(faces, photograph.landmarks_68)
        extra += len(faces) - (best is not None)
        missing = np.full((68, 2), np.nan)
        predicted.append(missing if best is None else best.ibug68()[0].astype(np.float64))
    return Measured(
        np.stack(predicted),
        np.stack([p.landmarks_68 for p in photographs]),
        tuple(p.source for p in photographs),
        extra,
    )


def figures(measured: Measured) -> dict[str, float]:
    """Every figure by name; errors in percent of the distance of the outer eye corners."""
    found = np.isfinite(measured.predicted).all((1, 2))
    predicted, labels = measured.predicted[found], measured.labels[found]
    plain = errors(predicted, labels)
    moved = errors(without_offset(predicted, labels), labels)
    inner, inner_moved = 100 * plain[:, 17:].mean(1), 100 * moved[:, 17:].mean(1)
    failed = (~found).sum() + (inner > 100 * FAILURE).sum()
    result = {
        "nme51": float(inner.mean()),
        "nme68": float(100 * plain.mean()),
        "nme51_offset": float(inner_moved.mean()),
        "nme68_offset": float(100 * moved.mean()),
        "nme51_median": float(np.median(inner)),
        "failure_percent": 100 * float(failed) / len(found),
        "missed": float((~found).sum()),
        "images": float(len(found)),
        "extra_faces": float(measured.extra_faces),
    }
    sources = np.array(measured.sources)[found]
    for source in sorted(set(measured.sources)):
        result[f"nme51_{source}"] = float(inner[sources == source].mean())
    return result


def errors(predicted: NDArray[np.float64], labels: NDArray[np.float64]) -> NDArray[np.float64]:
    """(P,68) distances over that of the labels' outer eye corners (iBUG 36 and 45)."""
    size = np.linalg.norm(labels[:, 45] - labels[:, 36], axis=-1)
    return np.linalg.norm(predicted - labels, axis=-1) / size[:, None]


def without_offset(
    predicted: NDArray[np.float64], labels: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Predictions (P,68,2) less one constant offset a landmark, learned on the other half.

    The offset lives in the face's similarity frame: turned with the line of the predicted outer
    eye corners and in units of their distance. It stands for what two conventions of marking the
    same face differ by.
    """
    eye = predicted[:, 45] - predicted[:, 36]
    frame = np.stack([eye, np.stack([-eye[:, 1], eye[:, 0]], -1)], -1)
    local = np.linalg.solve(frame[:, None], (labels - predicted)[..., None])[..., 0]
    half = np.arange(len(predicted)) % 2
    offset = np.empty_like(local)
    for part in (0, 1):
        offset[half == part] = np.median(local[half != part], axis=0)
    return predicted + (frame[:, None] @ offset[..., None])[..., 0]


def run(settings: BenchSettings) -> dict[str, float]:
    """Measure on the folder `settings.data`; raises `BadInputError` where there is none."""
    if settings.data is None:
        raise BadInputError("mien bench faces needs --data FOLDER with an index.json.")
    photographs = read_index(settings.data)
    if settings.quick:
        photographs = photographs[:: max(1, len(photographs) // 40)]
    detector = DenseDetector.load(device=choose_device(settings.device))
    return figures(measure(detector, photographs))


def _matching(faces: list[FaceLandmarks], labels: NDArray[np.float64]) -> FaceLandmarks | None:
    overlaps = [_overlap(face.ibug68()[0], labels) for face in faces]
    if not overlaps or max(overlaps) < _MATCH:
        return None
    return faces[int(np.argmax(overlaps))]


def _overlap(a: NDArray, b: NDArray) -> float:
    low = np.maximum(a.min(0), b.min(0))
    high = np.minimum(a.max(0), b.max(0))
    inside = np.clip(high - low, 0, None).prod()
    areas = np.ptp(a, axis=0).prod() + np.ptp(b, axis=0).prod()
    return float(inside / (areas - inside))
