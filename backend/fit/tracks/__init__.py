"""Features of the skin, tracked through a fitted shot: what they say of the camera."""

from .focal import FeatureSettings, FocalSolve, focal_from_skin, spread_rows

__all__ = ["FeatureSettings", "FocalSolve", "focal_from_skin", "spread_rows"]
