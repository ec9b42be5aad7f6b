"""One frame at a time, in real time: sparse Levenberg-Marquardt with a warm start."""

from .fitter import LiveFit, RealtimeFitter
from .settings import RealtimeSettings

__all__ = ["LiveFit", "RealtimeFitter", "RealtimeSettings"]
