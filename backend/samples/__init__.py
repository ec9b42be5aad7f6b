"""A short performance made by the project's own renderer, whose truth is known."""

from pathlib import Path

PERFORMANCE = Path(__file__).with_name("performance.mp4")
"""The clip."""
PERFORMANCE_TRUTH = Path(__file__).with_name("performance_truth.npz")
"""What was rendered: vertices, camera and coefficients of every frame."""
