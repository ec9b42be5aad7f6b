"""Errors of landmarks against points that people set, and the figures made of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FAILURE = 0.10
"""Error of the inner 51 above which a photograph counts as failed."""


@dataclass(frozen=True)
class Measured:
    """What was found on P photographs."""

    predicted: NDArray[np.float64]
    """(P,68,2) px; NaN where the labelled face was missed."""
    labels: NDArray[np.float64]
    """(P,68,2) px."""
    sources: tuple[str, ...]
    """Where each photograph comes from."""

    @property
    def found(self) -> NDArray[np.bool_]:
        """(P,) whether the labelled face was found."""
        return np.isfinite(self.predicted).all((1, 2))


def figures(measured: Measured) -> dict[str, float]:
    """Every figure by name; errors in percent of the distance of the outer eye corners.

    Errors are of the faces that were found, those missed count as failures. `_offset`: after one
    constant offset a landmark, learned on the other half of the photographs. What no photograph
    tells is NaN.
    """
    found = measured.found
    predicted, labels = measured.predicted[found], measured.labels[found]
    plain = 100 * errors(predicted, labels)
    moved = 100 * errors(without_offset(predicted, labels), labels)
    by_face = {
        "nme51": plain[:, 17:].mean(1),
        "nme68": plain.mean(1),
        "nme51_offset": moved[:, 17:].mean(1),
        "nme68_offset": moved.mean(1),
    }
    sources = np.array(measured.sources)
    failed = ~found
    failed[found] = by_face["nme51"] > 100 * FAILURE
    result = {name: _mean(values) for name, values in by_face.items()}
    result |= {f"{name}_median": _median(values) for name, values in by_face.items()}
    result |= {
        "failure_percent": 100 * _mean(failed),
        "missed": float((~found).sum()),
        "images": float(len(found)),
    }
    for source in sorted(set(measured.sources)):
        of_source = sources == source
        for name, values in by_face.items():
            result[f"{name}_{source}"] = _mean(values[of_source[found]])
        result[f"failure_percent_{source}"] = 100 * _mean(failed[of_source])
        result[f"missed_{source}"] = float((~found & of_source).sum())
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
    same face differ by. A single photograph has no other half and gives NaN.
    """
    if len(predicted) < 2:
        return np.full_like(predicted, np.nan)
    eye = predicted[:, 45] - predicted[:, 36]
    frame = np.stack([eye, np.stack([-eye[:, 1], eye[:, 0]], -1)], -1)
    local = np.linalg.solve(frame[:, None], (labels - predicted)[..., None])[..., 0]
    half = np.arange(len(predicted)) % 2
    offset = np.empty_like(local)
    for part in (0, 1):
        offset[half == part] = np.median(local[half != part], axis=0)
    return predicted + (frame[:, None] @ offset[..., None])[..., 0]


def _mean(values: NDArray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _median(values: NDArray) -> float:
    return float(np.median(values)) if len(values) else float("nan")
