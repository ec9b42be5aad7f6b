"""Training of Infinite 3D Landmarks."""
