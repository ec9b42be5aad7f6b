"""Which frames serve which part: open lids for eyes, an open mouth for teeth, no motion for all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

F4 = NDArray[np.float32]

SIDES = {"eye.R": (36, 37, 38, 39, 40, 41), "eye.L": (42, 43, 44, 45, 46, 47)}
"""iBUG's points of the lids: outer corner, two above, inner corner, two below (or the reverse)."""
INSIDE_MOUTH = ("teeth_upper", "teeth_lower", "tongue", "mouth")
LEAST = 0.02
"""Weight that the worst frame keeps, so that a shot of closed eyes still has a texture."""


@dataclass(frozen=True)
class PartWeights:
    """How well each of F frames serves each part, 0 to 1."""

    frame: F4
    """(F,) the whole head: falls with the blur that motion makes."""
    eyes: dict[str, F4]
    """(F,) by region, "eye.L" and "eye.R": rises as lids open and the eye turns to us."""
    mouth: F4
    """(F,) the inside of the mouth: rises with its opening."""

    def of_vertices(self, number: int, regions: Mapping[str, Any], n_vertices: int) -> F4:
        """(N,) weight of each vertex in one frame."""
        weights = np.ones(n_vertices, np.float32)
        for name, values in self.eyes.items():
            if name in regions:
                weights[np.asarray(regions[name])] = values[number]
        for name in INSIDE_MOUTH:
            if name in regions:
                weights[np.asarray(regions[name])] = self.mouth[number]
        return weights


def part_weights(
    landmarks_2d: F4 | None,
    vertices_px: F4,
    expression: F4,
    expression_names: tuple[str, ...],
) -> PartWeights:
    """Weigh the frames of a shot.

    landmarks_2d: (F, L, 2) pixels with iBUG's 68 first, nan where no face was found, or None.
    vertices_px: (F, M, 2) pixels of some vertices of the posed head, for its motion. expression:
    (F, E). Openings are judged against the widest of the shot. Where there are no landmarks, the
    fitted expression says how far lids and jaw are open.
    """
    column = {name: index for index, name in enumerate(expression_names)}
    blink = {
        "eye.L": 1 - np.clip(expression[:, column["eyeBlinkLeft"]], 0, 1),
        "eye.R": 1 - np.clip(expression[:, column["eyeBlinkRight"]], 0, 1),
    }
    jaw = np.clip(expression[:, column["jawOpen"]], 0, 1)
    eyes, gap = {}, jaw
    points = None if landmarks_2d is None else np.asarray(landmarks_2d, np.float64)
    if points is not None and points.shape[1] >= 68:
        face = np.ptp(points[:, :68], axis=1).max(-1)
        for name, (a, b, c, d, e, f) in SIDES.items():
            # Against the face and not the eye's own width: an eye on the far side of a turned head
            # is narrow, and would pass as the widest open.
            height = (_distance(points, b, f) + _distance(points, c, e)) / np.maximum(face, 1e-6)
            width = _distance(points, a, d) / np.maximum(face, 1e-6)
            eyes[name] = _open(height, blink[name], 0.6, 0.9) * _towards(width)
        seen = sum(_distance(points, top, low) for top, low in ((61, 67), (62, 66), (63, 65))) / 3
        gap = np.where(np.isfinite(seen), seen / np.maximum(face, 1e-6), 0.0)
    else:
        eyes = {name: _open(value, np.ones_like(value), 0.6, 0.9) for name, value in blink.items()}
    widest = float(np.percentile(gap, 95)) if len(gap) else 0.0
    # A hundredth of the face is a closed mouth, whatever the shot shows otherwise.
    mouth = np.clip(gap / max(widest, 0.02) - 0.3, 0, 0.6) / 0.6
    return PartWeights(
        frame=_steady(vertices_px),
        eyes=eyes,
        mouth=np.maximum(mouth**2, LEAST).astype(np.float32),
    )


def _open(opening: Any, fitted: Any, closed: float, wide: float) -> F4:
    """Weight (F,) of an opening against the shot's widest; nan falls back to the fit's."""
    usable = opening[np.isfinite(opening)]
    widest = float(np.percentile(usable, 90)) if len(usable) else 1.0
    relative = np.where(np.isfinite(opening), opening / max(widest, 1e-6), fitted)
    value = np.clip((relative - closed) / (wide - closed), 0, 1) * np.clip(2 * fitted, 0, 1)
    return np.maximum(value**2, LEAST).astype(np.float32)


def _towards(width: Any) -> F4:
    """Weight (F,) of an eye that is seen from the side, by its width against the shot's widest."""
    usable = width[np.isfinite(width)]
    widest = float(np.percentile(usable, 90)) if len(usable) else 1.0
    relative = np.where(np.isfinite(width), width / max(widest, 1e-6), 1.0)
    value = np.clip((relative - 0.6) / 0.3, 0, 1)
    return np.maximum(value**2, LEAST).astype(np.float32)


def _distance(points: NDArray[np.float64], first: int, second: int) -> NDArray[np.float64]:
    distance: NDArray[np.float64] = np.linalg.norm(points[:, first] - points[:, second], axis=-1)
    return distance


def _steady(vertices_px: F4) -> F4:
    """(F,) weight that falls with the blur of half a frame's exposure: 1/2 at three pixels."""
    if len(vertices_px) < 2:
        return np.ones(len(vertices_px), np.float32)
    step = np.median(np.linalg.norm(np.diff(vertices_px, axis=0), axis=-1), axis=1)
    step = np.nan_to_num(step, nan=1e3)
    motion = 0.5 * (np.concatenate((step[:1], step)) + np.concatenate((step, step[-1:])))
    blur = 0.5 * motion
    return (1 / (1 + (blur / 3) ** 2)).astype(np.float32)
