"""Cameras, rotations, rasterisation and barycentrics: pure functions without state."""
