"""Frames to dense landmarks with uncertainty."""

from backend.detect.dense import DenseDetector
from backend.detect.landmarks import FaceLandmarks
from backend.detect.protocol import FaceDetector
from backend.detect.tracker import FaceTracker
from backend.detect.window_detector import FindSettings, Quality

__all__ = [
    "DenseDetector",
    "FaceDetector",
    "FaceLandmarks",
    "FaceTracker",
    "FindSettings",
    "Quality",
]
