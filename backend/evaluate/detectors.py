"""The detectors that benchmarks can measure, and the clock for them."""

from __future__ import annotations

import time
from collections.abc import Callable

import cv2
import torch

from backend.detect import FaceDetector
from backend.detect.choice import load_detector
from backend.device import choose_device
from backend.evaluate.settings import BenchSettings


def load_detectors(settings: BenchSettings) -> dict[str, FaceDetector]:
    """The detectors to measure, each on one thread, by the prefix of its figures.

    The first one's figures have none, as they are what the documentation states.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    device = choose_device(settings.device)
    return {
        "" if number == 0 else f"{name}_": load_detector(
            name, device, settings.weights if number == 0 else None
        )
        for number, name in enumerate(dict.fromkeys(settings.detectors))
    }


def make_clock(settings: BenchSettings) -> Callable[[], float]:
    """Seconds of this process on a CPU, which other processes do not lengthen; of the wall else."""
    on_cpu = choose_device(settings.device).type == "cpu"
    return time.process_time if on_cpu else time.perf_counter
