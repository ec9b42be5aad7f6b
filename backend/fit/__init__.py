"""Landmarks to identity, expression, pose and camera."""

from .correction import corrected_head, fitted_head
from .frame import fit_frame
from .settings import Constraints, FitSettings, FrameFit, Pin, Rig, ShotFit
from .stages import fit_shot, fit_views

__all__ = [
    "Constraints",
    "FitSettings",
    "FrameFit",
    "Pin",
    "Rig",
    "ShotFit",
    "corrected_head",
    "fit_frame",
    "fit_shot",
    "fit_views",
    "fitted_head",
]
