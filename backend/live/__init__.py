"""Faces as they come: detect and fit each frame within a bounded time."""
