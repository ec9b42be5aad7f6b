"""Landmarks of the faces in single pictures, as rows of a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from backend.atomic import atomic_path
from backend.detect.choice import load_detector
from backend.detect.infinite3d.canonical import canonical_head
from backend.detect.infinite3d.detector import Infinite3DDetector
from backend.detect.landmarks import FaceLandmarks
from backend.detect.protocol import FaceDetector
from backend.device import choose_device
from backend.errors import BadInputError
from backend.footage.errors import FootageError
from backend.footage.sequence import PICTURE_SUFFIXES
from backend.footage.video import read_picture
from backend.head.landmarks import layout as landmark_layout
from backend.settings import DetectorName

LayoutName = Literal["ibug68", "dense320", "dense703", "all"]


@dataclass(frozen=True)
class LandmarkRows:
    """One row for each face, largest first in a picture; one not found row for none."""

    names: tuple[str, ...]
    """R file names, repeated where a picture shows several faces."""
    landmarks_2d: NDArray[np.float32]
    """(R, L, 2) pixels of the full picture; NaN where not found."""
    sigma: NDArray[np.float32]
    """(R, L) standard deviation in pixels; NaN where not found."""
    found: NDArray[np.bool_]
    """(R,) whether the row is a face."""


def list_pictures(paths: Sequence[Path]) -> list[Path]:
    """Replace folders by the pictures in them, in order of name; raises `BadInputError`."""
    pictures: list[Path] = []
    for path in paths:
        if path.is_dir():
            # Names that begin with a dot are a Mac's notes about files, not pictures.
            inside = sorted(
                p
                for p in path.iterdir()
                if p.suffix.lower() in PICTURE_SUFFIXES and not p.name.startswith(".")
            )
            if not inside:
                raise BadInputError(f"{path}: holds no pictures.")
            pictures += inside
        else:
            pictures.append(path)
    return pictures


def find_landmarks(
    pictures: Iterable[Path],
    layout: LayoutName,
    max_faces: int,
    skip_bad: bool = False,
    device: str = "auto",
    detector: DetectorName = "infinite3d",
    on_bad: Callable[[FootageError], None] = lambda error: None,
) -> LandmarkRows:
    """Find the faces of every picture by itself and return their landmarks.

    layout: "ibug68", with the jaw's visible outline as people mark it, "dense320", "dense703", or
    "all" for every vertex of the head; the last two need the detector "infinite3d".
    Raises `FootageError` for a picture that cannot be read, unless `skip_bad`: then `on_bad` is
    told; `BadInputError` for a layout that the detector does not know.
    """
    if layout in ("dense703", "all") and detector != "infinite3d":
        raise BadInputError(f'layout "{layout}" needs the detector "infinite3d".')
    finder = load_detector(detector, choose_device(device))
    count = len(landmark_layout(layout))
    missing = np.full((count, 2), np.nan, np.float32), np.full(count, np.nan, np.float32)
    names: list[str] = []
    points: list[NDArray[np.float32]] = []
    sigmas: list[NDArray[np.float32]] = []
    found: list[bool] = []
    for path in pictures:
        try:
            image, _ = read_picture(path)
        except FootageError as error:
            if not skip_bad:
                raise
            on_bad(error)
            continue
        faces = finder.find(image, max_faces=max_faces, quality="final")
        rows = [_points(finder, image, face, layout) for face in faces]
        for landmarks_2d, sigma in rows or [missing]:
            names.append(path.name)
            points.append(landmarks_2d)
            sigmas.append(sigma)
            found.append(bool(faces))
    return LandmarkRows(
        names=tuple(names),
        landmarks_2d=np.array(points, np.float32).reshape(-1, count, 2),
        sigma=np.array(sigmas, np.float32).reshape(-1, count),
        found=np.array(found, bool),
    )


def _points(
    finder: FaceDetector, image: NDArray[np.uint8], face: FaceLandmarks, layout: LayoutName
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Points (L,2) and sigma (L,) of a face in one layout."""
    if layout == "ibug68":
        return face.ibug68()
    if layout == "dense320":
        return face.landmarks_2d, face.landmark_sigma
    assert isinstance(finder, Infinite3DDetector)
    found = finder.query(image, face, canonical_head().layout(layout), "final")
    return found.landmarks_2d, found.landmark_sigma


def save_landmarks(path: Path, rows: LandmarkRows) -> None:
    """Write rows as an .npz file, whole or not at all."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(
            file,
            names=np.array(rows.names, dtype=np.str_),
            landmarks_2d=rows.landmarks_2d,
            sigma=rows.sigma,
            found=rows.found,
        )
