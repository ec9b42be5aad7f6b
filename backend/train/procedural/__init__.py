"""Procedural variety for training images: glasses, backgrounds, occluders, photometric changes.

Every function is pure: the same numpy Generator state gives the same result.
"""

from backend.train.procedural.backgrounds import BACKGROUND_KINDS, make_background
from backend.train.procedural.glasses import (
    GLASSES_SHAPES,
    GlassesAnchors,
    GlassesSpec,
    ProceduralMesh,
    anchors_from_base,
    make_glasses,
    sample_glasses,
)
from backend.train.procedural.occluders import OCCLUDER_KINDS, make_occluder, paste_sprite
from backend.train.procedural.photometric import PhotometricSettings, augment

__all__ = [
    "BACKGROUND_KINDS",
    "GLASSES_SHAPES",
    "OCCLUDER_KINDS",
    "GlassesAnchors",
    "GlassesSpec",
    "PhotometricSettings",
    "ProceduralMesh",
    "anchors_from_base",
    "augment",
    "make_background",
    "make_glasses",
    "make_occluder",
    "paste_sprite",
    "sample_glasses",
]
