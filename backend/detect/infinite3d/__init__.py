"""Infinite 3D Landmarks (Chandran et al., 2024): any point of the head, in 3D, in a whole frame."""
