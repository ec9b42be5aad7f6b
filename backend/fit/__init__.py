"""Landmarks to identity, expression, pose and camera."""

from .frame import fit_frame
from .settings import FitSettings, FrameFit, ShotFit
from .stages import fit_shot

__all__ = ["FitSettings", "FrameFit", "ShotFit", "fit_frame", "fit_shot"]
