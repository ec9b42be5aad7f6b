"""Finding faces in a whole image, and their dense landmarks, with one network and nothing else.

Wood et al., section 3.3 and supplement: multi-scale windows over the image, the least uncertain
wins, and its landmarks give the region of interest on which the network looks again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from backend.detect.graph import GraphNet
from backend.detect.landmarks import FaceLandmarks
from backend.detect.network import INPUT_SIZE, N_DENSE, STRIDE, Prediction
from backend.detect.windows import BORDER, Window, crop, roi
from backend.head.landmarks import layout

Quality = Literal["fast", "final"]
"""One look at each face, or the average of eight: four windows, each mirrored too."""

VIEWS = ((0.03, 0.03, 0.94), (-0.03, 0.03, 1.06), (0.03, -0.03, 1.06), (-0.03, -0.03, 0.94))
"""Shift in sides and scale of the windows that quality "final" averages over."""


@dataclass(frozen=True)
class FindSettings:
    """How the whole image is searched."""

    largest: float = 1.3
    """Side of the largest windows over the image's longer side."""
    smallest: float = 0.16
    """The same for the smallest: faces of 60 % of their height are still found."""
    last_resort: tuple[float, ...] = (0.113, 0.08)
    """The same for windows that take longest: where several faces are asked for, or where all
    larger windows found nothing."""
    passer_by: float = 0.2
    """Windows smaller than this share of the largest certain face are not tried: whoever is so
    much smaller is not who the picture is of."""
    step: float = 2**0.5
    """Ratio of the sides of neighbouring levels."""
    candidate_score: float = 0.15
    """Presence above which a window is looked at again."""
    candidates: int = 12
    """Most windows of one level that are looked at again; more where more faces are asked for."""
    score: float = 0.5
    """Presence, on its own region of interest, that makes a face."""
    sigma: float = 0.035
    """Largest mean standard deviation of the inner 51 points, in sides of that region. On
    photographs faces have 0.008 to 0.03, and what else passes for one 0.037 to 0.15."""
    followed_sigma: float = 0.08
    """The same for a face that the frame before showed."""
    certain_score: float = 0.9
    """Presence of a face that is certain: one such is enough where one is asked for."""
    certain_sigma: float = 0.03
    """Largest standard deviation of such a face."""
    overlap: float = 0.35
    """Intersection over union of two boxes above which they are one face."""


@dataclass(frozen=True)
class Face:
    """A face between two looks."""

    points: NDArray[np.float64]
    """(337,2) image pixels."""
    sigma: NDArray[np.float64]
    """(337,) image pixels."""
    score: float
    window: Window
    """Where the network looked."""
    focal_px: float | None = None
    """Focal length in pixels of the image, from a network that says so."""

    @property
    def uncertainty(self) -> float:
        """Mean sigma of the inner 51 points, in sides of the face's own region of interest."""
        return float(self.sigma[17:68].mean()) / roi(self.points).side

    def box(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Corners (2,) of the box around the 68 points."""
        return self.points[:68].min(0), self.points[:68].max(0)


class WindowNet(Protocol):
    """A network that sees landmarks in square windows, and whether they show a face."""

    n_points: int

    def __call__(self, windows: torch.Tensor) -> Prediction:
        """Predict for windows (B,3,S,S), RGB in [0,255]."""

    def forward_pyramid(
        self, image: torch.Tensor, cells: int, least_score: float = 0.0
    ) -> Prediction:
        """Predict for every window of `cells` cells over larger images (B,3,h,w).

        Landmarks of windows whose presence is below `least_score` may be NaN.
        """


class WindowDetector:
    """Finds faces in images and their landmarks, by a network that sees one window at a time."""

    def __init__(
        self,
        net: WindowNet,
        device: torch.device,
        settings: FindSettings | None = None,
        window_size: int = INPUT_SIZE,
    ) -> None:
        """window_size: pixels of the windows that the network was trained on."""
        self.net = net
        self.window_size = window_size
        self.settings = settings or FindSettings()
        self.device = device
        mirror = layout("dense320").mirror
        contour = np.arange(net.n_points - 1, N_DENSE - 1, -1)
        self._mirror = torch.from_numpy(np.concatenate([mirror, contour])).to(self.device)

    def find(
        self, image: NDArray[np.uint8], max_faces: int = 1, quality: Quality = "fast"
    ) -> list[FaceLandmarks]:
        """The faces of a whole image (H,W,3) RGB, largest first; empty where there is none.

        With `max_faces` 1 the search ends at the coarsest level that shows a face for certain.
        quality "final" looks eight times at each face that was found.
        """
        assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3, image.shape
        s = self.settings
        longer = max(image.shape[:2])
        found = self._first(image, max_faces)
        sure = any(map(self._certain, found))
        for side in self._levels(longer) if max_faces > 1 or not sure else ():
            if found and max_faces == 1 and side < 0.99 * s.smallest * longer:
                break
            known = [roi(face.points) for face in found if self._certain(face)]
            if known and side < s.passer_by * max(window.side for window in known):
                break
            windows = self._search(image, side, known, max(s.candidates, 3 * max_faces))
            found = self.distinct(found + self._refine(image, windows))
            if max_faces == 1 and any(map(self._certain, found)):
                break
        # Which faces: the certain ones first. In which order: by size alone.
        found.sort(key=lambda face: (not self._certain(face), -roi(face.points).side))
        found = sorted(found[:max_faces], key=lambda face: -roi(face.points).side)
        if quality == "final" and found:
            found = self._predict(image, [roi(face.points) for face in found], quality)
        return [as_landmarks(face) for face in found]

    def find_stepwise(self, image: NDArray[np.uint8], step: int) -> list[FaceLandmarks]:
        """One step of the search for faces, the surest first: those of one size of window.

        For whoever has a frame's time only: steps 0, 1, 2... of consecutive frames go through all
        sizes but the smallest, and begin again.
        """
        s = self.settings
        longer = max(image.shape[:2])
        sides = [side for side in self._levels(longer) if side >= 0.99 * s.smallest * longer]
        windows = self._search(image, sides[step % len(sides)], (), s.candidates)
        return [as_landmarks(face) for face in self._refine(image, windows)]

    def prepare(self) -> None:
        """Compile the networks now, where that is possible, in place of some calls later."""
        if isinstance(self.net, GraphNet):
            self.net.prepare()

    def look(
        self, image: NDArray[np.uint8], windows: Sequence[Window], quality: Quality = "fast"
    ) -> list[FaceLandmarks]:
        """Landmarks in given windows, whether or not there is a face; see `score`."""
        return [as_landmarks(face) for face in self._predict(image, windows, quality)]

    def is_face(self, face: FaceLandmarks, followed: bool = False) -> bool:
        """Whether landmarks are sure enough to be a face's.

        followed: the frame before showed it there, so that a blur or a hand may pass.
        """
        s = self.settings
        uncertainty = float(face.landmark_sigma[17:68].mean()) / roi(face.landmarks_2d).side
        return face.score >= s.score and uncertainty <= (s.followed_sigma if followed else s.sigma)

    def _first(self, image: NDArray[np.uint8], max_faces: int) -> list[Face]:
        """Faces that are known before the search; a detector with a quicker way gives them."""
        return []

    def _certain(self, face: Face) -> bool:
        s = self.settings
        return face.score > s.certain_score and face.uncertainty < s.certain_sigma

    def distinct(self, faces: Sequence[Face]) -> list[Face]:
        """The surest of all faces that overlap."""
        kept: list[Face] = []
        for face in sorted(faces, key=lambda face: face.uncertainty - 0.1 * face.score):
            if all(_overlap(face, other) < self.settings.overlap for other in kept):
                kept.append(face)
        return kept

    def _levels(self, longer: int) -> list[float]:
        """Sides of the windows for an image whose longer side has so many pixels."""
        s = self.settings
        count = int(np.ceil(np.log(s.largest / s.smallest) / np.log(s.step))) + 1
        shares = [*np.geomspace(s.largest, s.smallest, count).tolist(), *s.last_resort]
        sides = [share * longer for share in shares]
        # A face of a few pixels cannot be told; windows need not be smaller than that.
        return [side for side in sides if side >= 24] or sides[:1]

    @torch.inference_mode()
    def _search(
        self, image: NDArray[np.uint8], side: float, known: Sequence[Window], limit: int
    ) -> list[Window]:
        """Regions of interest that windows of one size over the image suggest, but known ones."""
        s = self.settings
        height, width = image.shape[:2]
        size = self.window_size
        scale = size / side
        # Half a window around the image, so that a face at the border has a window of its own.
        margin = size // 2
        cells = [int(np.ceil((n * scale + 2 * margin) / STRIDE)) for n in (width, height)]
        canvas = (cells[0] * STRIDE, cells[1] * STRIDE)
        small = image
        if scale < 1:
            reduced = (max(1, round(width * scale)), max(1, round(height * scale)))
            small = cv2.resize(image, reduced, interpolation=cv2.INTER_AREA)
        zoom = np.array([small.shape[1] / width, small.shape[0] / height])
        # From pixels of the canvas to those of the image, and to those of the shrunken one.
        offset = (np.array(canvas) - 1) / 2 - ((np.array([width, height]) - 1) / 2) * scale
        a, b = zoom / scale, -offset * zoom / scale + 0.5 * (zoom - 1)
        shown = cv2.warpAffine(
            small,
            np.array([[a[0], 0, b[0]], [0, a[1], b[1]]]),
            canvas,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=BORDER,
        )
        prediction = self.net.forward_pyramid(
            as_input([shown], self.device), size // STRIDE, s.candidate_score
        )
        score = prediction.presence[0].sigmoid().cpu().numpy()
        points = prediction.points[0, ..., :68, :].cpu().numpy()
        sigma = prediction.log_sigma[0, ..., 17:68].mean(-1).cpu().numpy()
        rows, columns = np.nonzero(score > s.candidate_score)
        order = np.argsort(sigma[rows, columns] - np.log(score[rows, columns]))
        kept: list[Window] = []
        for row, column in zip(rows[order], columns[order], strict=True):
            corner = np.array([column, row]) * STRIDE
            on_canvas = corner + (points[row, column] + 1) * (size / 2) - 0.5
            window = roi((on_canvas - offset) / scale)
            if all(differ(window, other) for other in [*known, *kept]):
                kept.append(window)
            if len(kept) == limit:
                break
        return kept

    def _refine(self, image: NDArray[np.uint8], windows: Sequence[Window]) -> list[Face]:
        """Look twice more, each time at the region that the last look's landmarks give."""
        s = self.settings
        longer = max(image.shape[:2])
        faces: list[Face] = []
        for last in (False, True):
            if not windows:
                return []
            faces = self._predict(image, windows)
            threshold = s.score if last else s.candidate_score
            faces = [
                face
                for face in faces
                if face.score >= threshold and 8 <= roi(face.points).side <= 4 * longer
            ]
            faces = self.distinct(faces)
            windows = [roi(face.points) for face in faces]
        return [face for face in faces if face.uncertainty <= s.sigma]

    def _predict(
        self, image: NDArray[np.uint8], windows: Sequence[Window], quality: Quality = "fast"
    ) -> list[Face]:
        if quality == "fast":
            return self._look_once(image, windows)
        views = [w.jittered((x, y), scale, 0.0) for w in windows for x, y, scale in VIEWS]
        seen = self._look_once(image, views, mirrored=False)
        other = self._look_once(image, views, mirrored=True)
        faces = []
        for number, window in enumerate(windows):
            part = slice(number * len(VIEWS), (number + 1) * len(VIEWS))
            looks = seen[part] + other[part]
            logits = [np.log(max(f.score, 1e-6) / max(1 - f.score, 1e-6)) for f in looks]
            faces.append(
                Face(
                    points=np.mean([f.points for f in looks], axis=0),
                    sigma=np.exp(np.mean([np.log(f.sigma) for f in looks], axis=0)),
                    score=float(1 / (1 + np.exp(-np.mean(logits)))),
                    window=window,
                    focal_px=_mean_focal(looks),
                )
            )
        return faces

    @torch.inference_mode()
    def _look_once(
        self, image: NDArray[np.uint8], windows: Sequence[Window], mirrored: bool = False
    ) -> list[Face]:
        crops = as_input([crop(image, w, self.window_size) for w in windows], self.device)
        prediction = self.net(crops.flip(3) if mirrored else crops)
        points, log_sigma = prediction.points, prediction.log_sigma
        if mirrored:
            points = points[:, self._mirror] * points.new_tensor([-1.0, 1.0])
            log_sigma = log_sigma[:, self._mirror]
        score = prediction.presence.sigmoid().cpu().numpy()
        half = np.array([0.5 * w.side for w in windows])
        sigma = np.exp(log_sigma.cpu().numpy().astype(np.float64)) * half[:, None]
        focal: list[float | None] = [None] * len(windows)
        if prediction.focal is not None:
            focal = (prediction.focal.cpu().numpy() * half).tolist()
        return [
            Face(w.to_image(p), g, float(v), w, f)
            for w, p, g, v, f in zip(
                windows, points.cpu().numpy().astype(np.float64), sigma, score, focal, strict=True
            )
        ]


def _mean_focal(looks: Sequence[Face]) -> float | None:
    focal = [face.focal_px for face in looks if face.focal_px is not None]
    return float(np.exp(np.mean(np.log(focal)))) if focal else None


def as_input(images: Sequence[NDArray[np.uint8]], device: torch.device) -> torch.Tensor:
    """Images (S,S,3) as a batch (B,3,S,S) in [0,255]."""
    return torch.from_numpy(np.stack(images)).to(device).permute(0, 3, 1, 2).float()


def differ(a: Window, b: Window) -> bool:
    """Whether two regions are of different faces, or at least worth two looks."""
    distance = float(np.hypot(a.x - b.x, a.y - b.y))
    ratio = max(a.side, b.side) / min(a.side, b.side)
    return distance > 0.25 * min(a.side, b.side) or ratio > 1.6


def _overlap(a: Face, b: Face) -> float:
    """Intersection over union of two faces' boxes, or over the smaller where one holds it."""
    (low_a, high_a), (low_b, high_b) = a.box(), b.box()
    inside = np.clip(np.minimum(high_a, high_b) - np.maximum(low_a, low_b), 0, None).prod()
    areas = (high_a - low_a).prod(), (high_b - low_b).prod()
    union = max(areas[0] + areas[1] - inside, 1e-9)
    return float(max(inside / union, 0.6 * inside / max(min(areas), 1e-9)))


def as_landmarks(face: Face) -> FaceLandmarks:
    """A face as it is handed out."""
    points, sigma = face.points.astype(np.float32), face.sigma.astype(np.float32)
    return FaceLandmarks(
        landmarks_2d=points[:N_DENSE],
        landmark_sigma=sigma[:N_DENSE],
        score=face.score,
        contour_2d=points[N_DENSE:],
        contour_sigma=sigma[N_DENSE:],
        focal_px=face.focal_px,
    )
