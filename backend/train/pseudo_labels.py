"""Labels of the next round: what our own detector sees on pictures that nobody labelled.

Portraits and frames of clips alike, for ``backend.train.portraits`` and everything after it. The
first round's labels come from a fixed 2D detector; from the second on, the Infinite 3D detector is
asked for the same points of the surface, and the two are averaged by their uncertainty. The errors
of the two are nearly independent, so that their mean is better than either.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from numpy.typing import NDArray
from tqdm import tqdm

from backend.atomic import atomic_path
from backend.detect.infinite3d.canonical import Queries, canonical_head
from backend.detect.infinite3d.detector import Infinite3DDetector
from backend.detect.landmarks import FaceLandmarks
from backend.detect.windows import roi
from backend.errors import BadInputError
from backend.footage.video import read_picture

from .portraits import load_fits
from .portraits_points import IBUG_FROM_MEDIAPIPE, N_MEDIAPIPE, ibug_points

_PORTRAITS = 1
"""The dataset code of portraits."""
_FIRST_SIGMA = 0.012
"""Standard deviation of the first round's points, in distances of the outer eye corners: what the
fits leave over on portraits (median 0.8 %), and what every point shares."""
_FLOOR = 0.008
"""Of our own: a network's sigma does not know of what all its looks have in common."""
_FAR = 0.12
"""Distance of the two, likewise, beyond which they mean different faces or one has slipped."""


@dataclass(frozen=True)
class PseudoLabelSettings:
    """Label pictures with our own detector, together with the labels of the round before."""

    pictures: Path
    """Folder of pictures."""
    fits: Path
    """fits.npz of the round before: where FaceMesh's vertices lie on our head."""
    out: Path
    """File to write: ``names``, ``landmarks`` (P,478,3) as ``--landmarks`` of the portraits."""
    before: Path | None = None
    """The round before: a file like ``out``. Pictures that it does not have get ours alone."""
    weights: Path | None = None
    """Of the detector; the shipped ones when not given."""


def surface_queries(corners: NDArray[np.int64], barycentric: NDArray[np.float64]) -> Queries:
    """Queries at points given by three vertices (L,3) each, with their weights (L,3)."""
    canonical = canonical_head()
    faces = np.sort(canonical.head.faces.numpy(), axis=1)
    number = {tuple(face): i for i, face in enumerate(faces)}
    triangles = np.empty(len(corners), np.int64)
    weights = np.zeros((len(corners), 3))
    for row, (corner, weight) in enumerate(zip(corners, barycentric, strict=True)):
        at = number.get(tuple(np.sort(corner)))
        if at is None:  # a vertex, given three times: any of its triangles
            at = int(np.flatnonzero((faces == corner[0]).any(axis=1))[0])
        triangles[row] = at
        for c, w in zip(corner, weight, strict=True):
            weights[row, int(np.flatnonzero(canonical.head.faces[at].numpy() == c)[0])] += w
    return canonical.on_triangles(triangles, weights)


def combine(
    first: NDArray[np.float64],
    ours: NDArray[np.float64],
    sigma: NDArray[np.float64],
    size: float,
) -> NDArray[np.float64]:
    """The mean (L,2) of two opinions by their variance.

    first, ours (L,2) px; sigma (L,) of ours, px; size: distance of the outer eye corners, px.
    """
    mine = 1 / (sigma**2 + (_FLOOR * size) ** 2)
    theirs = 1 / (_FIRST_SIGMA * size) ** 2
    return (ours * mine[:, None] + first * theirs) / (mine + theirs)[:, None]


def label(settings: PseudoLabelSettings) -> dict[str, NDArray]:
    """``names`` and ``landmarks`` of every picture that shows a face; raises `BadInputError`."""
    s = settings
    before: dict[str, NDArray] = {}
    if s.before is not None:
        with np.load(s.before) as data:
            before = dict(zip(map(str, data["names"]), data["landmarks"], strict=True))
    _, _, found = load_fits(s.fits)
    points = found.points
    queries = surface_queries(points.corners.numpy(), points.barycentric.double().numpy())
    detector = Infinite3DDetector.load(s.weights)
    suffixes = {".jpg", ".jpeg", ".png", ".webp"}
    paths = sorted(p for p in s.pictures.iterdir() if p.suffix.lower() in suffixes)
    if not paths:
        raise BadInputError(f"{s.pictures}: no pictures (JPEG, PNG, WebP) to label.")
    names, rows = [], []
    for path in tqdm(paths, desc="labels", unit="picture"):
        image = read_picture(path)[0]
        known = before.get(path.name)
        if known is not None and not np.isfinite(known[:, :2]).all():
            known = None
        face = _face(detector, image, known)
        if face is None:
            if known is not None:
                names.append(path.name)
                rows.append(known)
            continue
        seen = detector.query(image, face, queries, "final", _PORTRAITS)
        row = np.full((N_MEDIAPIPE, 3), np.nan) if known is None else known.astype(np.float64)
        marked = face.ibug68()[0].astype(np.float64)
        at, size = found.mediapipe, float(np.linalg.norm(marked[36] - marked[45]))
        ours = seen.landmarks_2d.astype(np.float64)
        if known is None:
            row[:, :2] = _filled(ours, at, marked)
        elif np.linalg.norm(ours - row[at, :2], axis=1).mean() < _FAR * size:
            sigma = seen.landmark_sigma.astype(np.float64)
            row[at, :2] = combine(row[at, :2], ours, sigma, size)
        names.append(path.name)
        rows.append(row)
    return {"names": np.array(names), "landmarks": np.array(rows, np.float32)}


def _face(
    detector: Infinite3DDetector, image: NDArray[np.uint8], known: NDArray[np.float64] | None
) -> FaceLandmarks | None:
    if known is None:
        faces = detector.find(image, max_faces=1, quality="final")
        return faces[0] if faces else None
    region = roi(ibug_points(known[:, :2].astype(np.float64)))
    first = detector.look(image, [region], "fast")[0]
    return detector.look(image, [roi(first.landmarks_2d)], "final")[0]


def _filled(
    ours: NDArray[np.float64], at: NDArray[np.int64], marked: NDArray[np.float64]
) -> NDArray[np.float64]:
    """All vertices of FaceMesh (478,2), of which only those `at` (L,) have a place on our head.

    The others are not read, but for those of iBUG's points `marked` (68,2), which frame the face.
    """
    full = np.tile(ours.mean(0), (N_MEDIAPIPE, 1))
    for vertices, point in zip(IBUG_FROM_MEDIAPIPE, marked, strict=True):
        full[list(vertices)] = point
    full[at] = ours
    return full


def main(settings: PseudoLabelSettings) -> None:
    """Label and write."""
    labels = label(settings)
    with atomic_path(settings.out) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **labels)
    print(f"{len(labels['names'])} pictures labelled: {settings.out}")


if __name__ == "__main__":
    main(tyro.cli(PseudoLabelSettings))
