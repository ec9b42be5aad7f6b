"""Where annotators' points lie on the head, from real portraits and a published mapping.

People mark a brow, the base of the nose or the inner lip a few millimetres away from where geometry
alone puts it; there habit decides, and there this is used (`MARKED`). Google's FaceMesh has seen
such marks; which of its vertices stand for the 68 is published. The portraits' fits say where those
vertices lie on this head (``backend.train.portraits``). Along the brows and the bridge of the nose
nothing but habit says where a point sits, and FaceMesh's vertices are only the nearest ones of a
coarse mesh: there the mean of both, geometry and mapping, is taken (`BLENDED`). Each point is then
written as an affine mix of dense landmarks near it, which follows every expression. No position is
learned from photographs of a benchmark.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from backend.detect.markup import MARKUP_FILE
from backend.head import Head
from backend.head.landmarks import layout

# FaceMesh vertices of iBUG 17 to 67; two that are joined by + stand for their middle.
FACEMESH = (
    "70 63 105 66 107 336 296 334 293 300 168+6 197+195 5 4 75 97 2 326 305 33 160 158 133 153 144 "
    "362 385 387 263 373 380 61 39 37 0 267 269 291 321 314 17 84 91 78 82 13 312 308 317 14 87"
).split()
# Brows, nose, inner lips. Lids and the lips' outline are lines of the surface.
MARKED = (*range(17, 36), *range(60, 68))
BLENDED = (*range(17, 27), *range(27, 31))
NEIGHBOURS = 8
# Square metres: keeps the mix from leaning hard on a few far landmarks.
RIDGE = 2e-6


def marked_points(head: Head, fits: Path) -> np.ndarray:
    """(51,3) iBUG 17 to 67 as FaceMesh places them, on the template, made symmetric."""
    template = head.template.double().numpy()
    with np.load(fits) as data:
        place = {
            int(m): (template[c] * w[:, None]).sum(0)
            for m, c, w in zip(data["mediapipe"], data["corners"], data["barycentric"], strict=True)
        }
    points = np.array([np.mean([place[int(i)] for i in m.split("+")], axis=0) for m in FACEMESH])
    mirror = layout("ibug68").mirror[17:] - 17
    return 0.5 * (points + points[mirror] * (-1, 1, 1))


def affine_mix(target: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """Weights (K,) summing to 1 whose mix of anchors (K,3) is the target (3,), of least norm."""
    k = len(anchors)
    system = np.zeros((k + 1, k + 1))
    system[:k, :k] = anchors @ anchors.T + RIDGE * np.eye(k)
    system[k, :k] = system[:k, k] = 1.0
    return np.linalg.solve(system, np.append(anchors @ target, 1.0))[:k]


def learn(head: Head, fits: Path) -> tuple[np.ndarray, np.ndarray]:
    """Indices (M,8) into dense320 and weights (M,8) of the points in MARKED."""
    dense = head.landmarks(head.template.double(), layout("dense320")).numpy()
    skin = np.ones(len(dense), dtype=bool)
    skin[68:98] = False  # irises and teeth do not move with the skin
    indices, weights = [], []
    marked = marked_points(head, fits)
    blended = np.array(BLENDED)
    marked[blended - 17] = 0.5 * (marked[blended - 17] + dense[blended])
    for number in MARKED:
        target = marked[number - 17]
        distance = np.where(skin, np.linalg.norm(dense - target, axis=1), np.inf)
        # Lids and lips have two sides close by: only the own side's points move alike.
        distance = distance + np.where(_same_side(number, dense), 0.0, 1.0)
        near = np.argsort(distance)[:NEIGHBOURS]
        indices.append(near)
        weights.append(affine_mix(target - dense[near].mean(0), dense[near] - dense[near].mean(0)))
    return np.array(indices), np.array(weights)


def _same_side(number: int, dense: np.ndarray) -> np.ndarray:
    """Which dense landmarks may serve point `number`: lips by their half, the others no lips."""
    upper = {*range(48, 55), 60, 61, 62, 63, 64}
    lower = {48, 54, *range(55, 61), 64, 65, 66, 67}
    allowed = np.ones(len(dense), dtype=bool)
    allowed[48:68] = False
    if number >= 48:
        allowed[:] = False
        allowed[sorted(upper if number in upper else lower)] = True
    return allowed


def main() -> None:
    """Learn the markup and write it beside the detector's weights."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--fits", type=Path, required=True, help="fits.npz of the portraits")
    parser.add_argument("-o", "--output", type=Path, default=MARKUP_FILE)
    args = parser.parse_args()
    indices, weights = learn(Head.load(), args.fits)
    np.savez(
        args.output,
        points=np.array(MARKED, np.int16),
        indices=indices.astype(np.int16),
        weights=weights.astype(np.float32),
    )


if __name__ == "__main__":
    main()
