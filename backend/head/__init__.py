"""The morphable head: coefficients to vertices."""

from .model import Head
from .prior import GaussianMixture

__all__ = ["GaussianMixture", "Head"]
