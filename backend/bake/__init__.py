"""Visibility of the fitted head in every frame, and its texture over the shot."""
