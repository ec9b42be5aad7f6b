"""One face followed live: look where the last frame's head leads, fit, and search when it is lost.

No time goes into finding a face that is followed: the solved head, moved on by its last motion,
says where to look. A lost face is looked for at that place, then by one step of the search a frame.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from backend.detect import FaceLandmarks
from backend.detect.choice import load_detector
from backend.detect.window_detector import FindSettings, WindowDetector
from backend.detect.windows import Window, roi
from backend.fit import FitSettings
from backend.fit.realtime import LiveFit, RealtimeFitter, RealtimeSettings
from backend.head import Head
from backend.settings import known_focal_px

from .landmark_rows import LAYOUT
from .places import region_of
from .settings import LiveSettings
from .window_graph import Look, WindowGraph

_INNER = slice(17, 68)
# A face that has moved by this share of its window, or grown by this factor, is looked at again.
_MOVED, _GREW = 0.12, 1.18
# Share of the face's size that landmarks move in a frame above which no light look will do.
_QUICK = 0.025
# Median distance of landmarks and solved head, over the face's size, of what is no face after all.
_NO_FACE = 0.05


@dataclass(frozen=True)
class LiveFrame:
    """What was made of one frame."""

    seen: Look | None
    """The landmarks, of the chosen rows; None where no face was seen."""
    fit: LiveFit | None
    """The head; None where no face was seen."""
    seconds_detect: float
    seconds_fit: float
    """Seconds of each, by the tracker's clock."""


class LiveTracker:
    """Follows one face, in bounded time a frame."""

    def __init__(
        self, head: Head, image_size: tuple[int, int], settings: LiveSettings | None = None,
        graph: WindowGraph | None = None, clock: Callable[[], float] = time.perf_counter,
    ) -> None:  # fmt: skip
        """graph: the network, where one is there already. Raises: MissingWeightsError."""
        self.settings = settings or LiveSettings()
        torch.set_num_threads(1)
        self.graph = graph or WindowGraph(self.settings)
        finder = load_detector(self.settings.detector, torch.device("cpu"))
        assert isinstance(finder, WindowDetector)
        finder.prepare()
        self.finder = finder
        energy = FitSettings(focal_px=known_focal_px(self.settings, image_size))
        self.fitter = RealtimeFitter(
            head, LAYOUT, image_size, RealtimeSettings(energy=energy), rows=self.graph.rows
        )
        self.looks = 0
        """At windows so far."""
        self._clock = clock
        self._find = FindSettings()
        self._search_step = 0
        self._failed = 0
        self._warm_up(image_size)

    def step(self, image: NDArray[np.uint8], interval: float = 1.0) -> LiveFrame:
        """The next frame (H,W,3) RGB; interval: frames since the last one."""
        began = self._clock()
        seen = self._follow(image)
        if seen is None:
            seen = self._search(image)
        looked = self._clock()
        fit = None
        if seen is None:
            self.fitter.miss()
        else:
            fit = self.fitter.step(seen.landmarks_2d, seen.landmark_sigma, interval)
            if fit is None or fit.error > _NO_FACE:
                self._failed += 1
                if self._failed > 3:
                    self.fitter.forget()
            else:
                self._failed = 0
        return LiveFrame(seen, fit, looked - began, self._clock() - looked)

    def _follow(self, image: NDArray[np.uint8]) -> Look | None:
        foreseen = self.fitter.foreseen()
        if foreseen is None:
            return None
        window = region_of(foreseen)
        is_slow = self.fitter.speed() < _QUICK
        seen, there = self._look(image, window, foreseen if is_slow else None)
        if seen is None:
            return None
        away = math.hypot(there.x - window.x, there.y - window.y)
        ratio = max(there.side, window.side) / min(there.side, window.side)
        if away > _MOVED * window.side or ratio > _GREW:
            seen, _ = self._look(image, there)
        return seen

    def _look(
        self, image: NDArray[np.uint8], window: Window,
        foreseen: NDArray[np.float64] | None = None,
    ) -> tuple[Look | None, Window]:  # fmt: skip
        """Landmarks where they are a face's, and the region of interest that they give."""
        self.looks += 1
        seen = self.graph.look(image, window, foreseen)
        there = region_of(seen.landmarks_2d)
        height, width = image.shape[:2]
        inside = 0 <= there.x < width and 0 <= there.y < height and there.side >= 16
        doubt = float(seen.landmark_sigma[_INNER].mean()) / there.side
        sure = seen.score >= self._find.score and doubt <= self._find.followed_sigma
        if seen.is_light and not (sure and inside):
            return self._look(image, window)
        return (seen if sure and inside else None), there

    def _search(self, image: NDArray[np.uint8]) -> Look | None:
        """A step of the search; the next frame goes on with the next one."""
        faces = self.finder.find_stepwise(image, self._search_step)
        self._search_step += 1
        sure: list[FaceLandmarks] = [face for face in faces if self.finder.is_face(face)]
        if not sure:
            return None
        self._search_step = 0
        largest = max(sure, key=lambda face: roi(face.landmarks_2d).side)
        return self._look(image, roi(largest.landmarks_2d))[0]

    def _warm_up(self, image_size: tuple[int, int]) -> None:
        """Let everything that is compiled at its first call be compiled before the first frame."""
        width, height = image_size
        blank = np.full((height, width, 3), 127, np.uint8)
        window = Window(0.5 * width, 0.5 * height, 0.5 * min(image_size))
        for _ in range(2):
            self.graph.look(blank, window)
            self.graph.look(blank, window, np.zeros((len(self.graph.rows), 2)))
            self.finder.look(blank, [window])
        for step in (0, 3):
            self.finder.find_stepwise(blank, step)
        self.fitter.warm_up()
