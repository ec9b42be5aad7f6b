"""Clips, image sequences and pictures as RGB frames with true timestamps."""

from backend.footage.errors import FootageError
from backend.footage.frame import Footage, Frame
from backend.footage.open import open_footage

__all__ = ["Footage", "FootageError", "Frame", "open_footage"]
