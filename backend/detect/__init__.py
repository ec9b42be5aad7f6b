"""Frames to dense landmarks with uncertainty."""

from backend.detect.dense import DenseDetector, FindSettings
from backend.detect.landmarks import FaceLandmarks
from backend.detect.tracker import FaceTracker

__all__ = ["DenseDetector", "FaceLandmarks", "FaceTracker", "FindSettings"]
