"""`mien bench faces`: landmarks on whole photographs against points that people set.

`--data` names a folder with pictures and an `index.json`: `items`, each with `image`, `source` and
`landmarks_68` (iBUG's 68 points, pixel centres at integers). Nothing here is used for training.
Every system sees the same pixels. MediaPipe's own face finder misses many faces of whole
photographs, so it is also shown the part around the labels alone (`mediapipe_cropped_`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from backend.detect import FaceDetector
from backend.errors import BadInputError
from backend.evaluate.detectors import load_detectors, make_clock
from backend.evaluate.landmark_errors import Measured, errors, figures
from backend.evaluate.peer import PREFIX, MediaPipeMesh, PeerError, open_peer
from backend.evaluate.settings import BenchSettings, PartialFigures
from backend.footage.video import read_picture

COLUMNS = ("mediapipe_cropped_", "mediapipe_")
"""Prefixes of figures that are a column of the table of their own."""
CROPPED = "mediapipe_cropped_"
CROP_SIDE = 2.0
"""Side of the part that is shown alone, over the longer side of the box around the labels."""
_MAX_FACES = 32
_MATCH = 0.2
"""Least intersection over union with the labelled face's box to have found it."""
_QUICK = 40
_FRAME = (1080, 1920)

Find = Callable[[NDArray[np.uint8], NDArray[np.float64]], tuple[list[NDArray[np.float64]], float]]
"""Image (H,W,3) and labels (68,2) to the faces (68,2) that were found, and seconds."""


@dataclass(frozen=True)
class Photograph:
    """A picture with the points that a person set on one face in it."""

    path: Path
    source: str
    landmarks_68: NDArray[np.float64]
    """(68,2) px."""


@dataclass
class Entrant:
    """One system that is measured, and what it has found so far."""

    find: Find
    predicted: list[NDArray[np.float64]] = field(default_factory=list)
    """(68,2) a photograph; NaN where the labelled face was missed."""
    seconds: list[float] = field(default_factory=list)
    extra_faces: int = 0
    """Faces found beside the labelled ones; some are there, unlabelled."""

    def step(self, image: NDArray[np.uint8], labels: NDArray[np.float64]) -> None:
        """Find the labelled face (68,2) of an image."""
        faces, seconds = self.find(image, labels)
        overlaps = [_overlap(face, labels) for face in faces]
        best = int(np.argmax(overlaps)) if overlaps and max(overlaps) >= _MATCH else None
        self.predicted.append(np.full((68, 2), np.nan) if best is None else faces[best])
        self.seconds.append(seconds)
        self.extra_faces += len(faces) - (best is not None)


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
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInputError(f"{index}: cannot be read as an index of photographs.") from error


def run(settings: BenchSettings) -> dict[str, float]:
    """Measure on `settings.data`, `settings.shards`, or both.

    Raises: `BadInputError` where there is neither; `PartialFigures` on Ctrl-C.
    """
    if settings.data is None and settings.shards is None:
        raise BadInputError(
            "mien bench faces needs --data FOLDER with an index.json, or --shards FOLDER."
        )
    detectors = load_detectors(settings)
    result: dict[str, float] = {}
    if settings.data is not None:
        photographs = read_index(settings.data)
        if settings.quick:
            photographs = photographs[:: max(1, len(photographs) // _QUICK)]
        # Shuffled, so that a run that is stopped has seen something of every source.
        order = np.random.default_rng(settings.seed).permutation(len(photographs))
        photographs = [photographs[number] for number in order]
        result |= on_photographs(detectors, photographs, settings)
    if settings.shards is not None:
        # What reads shards trains with them, too, and needs more than a measurement does.
        from backend.evaluate.rendered import on_shards

        for prefix, detector in detectors.items():
            of_shards = on_shards(detector, settings.shards, settings)
            result |= {prefix + name: value for name, value in of_shards.items()}
    return result


def on_photographs(
    detectors: dict[str, FaceDetector], photographs: list[Photograph], settings: BenchSettings
) -> dict[str, float]:
    """Figures of every system on the same photographs, each name with the system's prefix.

    Raises: `PartialFigures` on Ctrl-C, with those of the photographs so far.
    """
    clock = make_clock(settings)
    entrants = {
        prefix: Entrant(_detector_find(detector, settings, clock))
        for prefix, detector in detectors.items()
    }
    with ExitStack() as stack:
        peer = open_peer(settings.peer)
        if peer is not None:
            stack.enter_context(peer)
            entrants[PREFIX] = Entrant(_peer_find(peer))
            entrants[CROPPED] = Entrant(_peer_find_cropped(peer))
        done: list[Photograph] = []
        rng = np.random.default_rng(settings.seed)
        try:
            for photograph in tqdm(photographs, desc="Finding faces", unit="picture"):
                image, _ = read_picture(photograph.path)
                if settings.face_height is not None:
                    share = settings.face_height
                    image, labels = far_away(image, photograph.landmarks_68, share, rng)
                    photograph = replace(photograph, landmarks_68=labels)
                for prefix in list(entrants):
                    try:
                        entrants[prefix].step(image, photograph.landmarks_68)
                    except PeerError as error:
                        print(f"MediaPipe ended, going on without it: {error}", file=sys.stderr)
                        entrants.pop(PREFIX, None), entrants.pop(CROPPED, None)
                        break
                done.append(photograph)
        except KeyboardInterrupt as error:
            raise PartialFigures(
                f"cancelled after {len(done)} of {len(photographs)} photographs",
                summary(entrants, done),
            ) from error
    return summary(entrants, done)


def far_away(
    image: NDArray[np.uint8],
    labels: NDArray[np.float64],
    share: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """A frame (1080,1920,3) with the photograph somewhere in it, and its labels there.

    The box around the labels (68,2) takes `share` of the frame's height; around the photograph its
    border goes on.
    """
    height, width = _FRAME
    scale = share * height / float(np.ptp(labels[:, 1]))
    small = cv2.GaussianBlur(image, (0, 0), max(0.45 / scale - 0.3, 0.01)) if scale < 1 else image
    half = share * height
    at = rng.uniform((half, half), (width - half, height - half))
    place = np.hstack([np.eye(2) * scale, (at - scale * labels.mean(0))[:, None]])
    frame = cv2.warpAffine(
        small, place, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(frame, np.uint8), labels @ place[:, :2].T + place[:, 2]


def summary(entrants: dict[str, Entrant], photographs: list[Photograph]) -> dict[str, float]:
    """Every entrant's figures on photographs that all have gone through."""
    if not photographs:
        return {}
    count = len(photographs)
    labels = np.stack([photograph.landmarks_68 for photograph in photographs])
    sources = tuple(photograph.source for photograph in photographs)
    measured = {
        prefix: Measured(np.stack(entrant.predicted[:count]), labels, sources)
        for prefix, entrant in entrants.items()
    }
    shared = np.all([m.found for prefix, m in measured.items() if prefix != CROPPED], axis=0)
    result: dict[str, float] = {}
    for prefix, of_entrant in measured.items():
        values = figures(of_entrant)
        if len(measured) > 1 and prefix != CROPPED and shared.any():
            inner = errors(of_entrant.predicted[shared], labels[shared])[:, 17:]
            values["nme51_found_by_all"] = 100 * float(inner.mean())
        values["extra_faces"] = float(entrants[prefix].extra_faces)
        # The first picture pays for what is set up once.
        seconds = entrants[prefix].seconds[:count][1:] or entrants[prefix].seconds[:1]
        values["ms_per_picture"] = 1000 * float(np.mean(seconds))
        result |= {prefix + name: value for name, value in values.items()}
    return result


def _detector_find(
    detector: FaceDetector, settings: BenchSettings, clock: Callable[[], float]
) -> Find:
    quality = settings.quality or "final"

    def find(
        image: NDArray[np.uint8], _labels: NDArray[np.float64]
    ) -> tuple[list[NDArray[np.float64]], float]:
        began = clock()
        faces = detector.find(image, max_faces=_MAX_FACES, quality=quality)
        points = [face.ibug68()[0].astype(np.float64) for face in faces]
        return points, clock() - began

    return find


def _peer_find(peer: MediaPipeMesh) -> Find:
    return lambda image, _labels: peer.find(image, _MAX_FACES)


def _peer_find_cropped(peer: MediaPipeMesh) -> Find:
    def find(
        image: NDArray[np.uint8], labels: NDArray[np.float64]
    ) -> tuple[list[NDArray[np.float64]], float]:
        low, high = labels.min(0), labels.max(0)
        centre, half = (low + high) / 2, CROP_SIDE * (high - low).max() / 2
        x, y = np.maximum(np.floor(centre - half), 0).astype(int)
        right, bottom = np.ceil(centre + half).astype(int) + 1
        faces, seconds = peer.find(image[y:bottom, x:right], _MAX_FACES)
        return [face + np.array([x, y]) for face in faces], seconds

    return find


def _overlap(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Intersection over union of the boxes around two sets of points."""
    low, high = np.maximum(a.min(0), b.min(0)), np.minimum(a.max(0), b.max(0))
    inside = np.clip(high - low, 0, None).prod()
    areas = np.ptp(a, axis=0).prod() + np.ptp(b, axis=0).prod()
    return float(inside / (areas - inside))
