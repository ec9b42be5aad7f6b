"""How frames are weighed against each other in a texture."""

from __future__ import annotations

from dataclasses import dataclass, field

from backend.bake.depth_view import DepthSettings


@dataclass(frozen=True)
class TextureSettings:
    """How frames are weighed and merged."""

    samples: int = 8
    """Best samples kept a texel, which bounds the memory; their robust mean is the result."""
    angle_power: float = 2.0
    """A sample's weight falls with this power of the cosine of the viewing angle."""
    min_weight: float = 0.03
    """Samples of lower visibility x angle x clearance are not used; 0.03 is 80 degrees."""
    outline: float = 0.008
    """Distance kept from the head's outlines, as a share of its size in the image."""
    loose_least: float = 0.1
    """The same for scalp, ears and neck, which no landmark holds: 72 degrees. Where the mesh lies a
    little off the surface, a place moves along it with the tangent of that angle."""
    loose_outline: float = 0.012
    """Distance that these keep from outlines."""
    border_px: float = 6.0
    """The weight falls to nothing over this distance from the image's border."""
    inner_outline: float = 0.25
    """Share of that distance which eyes, teeth and the mouth keep."""
    inner_least: float = 0.25
    """Texels of teeth, tongue and mouth count as seen where their best weight reaches this share of
    what the part's well-seen texels have: others were seen only along lips, and have their
    colour."""
    eye_least: float = 0.5
    """The same for eyes: lids reach farther in, and less of an eye has to be made up."""
    inner_power: float = 3.0
    """Weights of their samples are raised to this power, so that the best frames prevail."""
    clipped: float = 0.15
    """Weight of a sample whose brightest channel is burnt out, or that is black."""
    agreement: float = 0.25
    """Skin whose samples agree on less than this share of their weight counts as not seen: hair or
    a collar that moves over it."""
    seams: bool = True
    """Blend seams in the gradient domain."""
    padding: int = 8
    """Texels around the charts that repeat the alpha of the chart; the colour reaches on."""
    depth: DepthSettings = field(default_factory=DepthSettings)
    """The depth buffer that tells hidden texels."""
