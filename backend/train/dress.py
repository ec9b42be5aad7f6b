"""Random skins, hair, clothes, glasses and hats for a rendered face."""

from __future__ import annotations

import numpy as np

from .assets import AssetLibrary
from .gl_scene import Surface
from .procedural import sample_glasses
from .renderer import Wardrobe
from .skins import SkinLibrary

# Linear albedo gains that turn a texture's grey into a hair colour.
HAIR_COLOURS = np.array([
    (0.25, 0.22, 0.20), (0.35, 0.25, 0.18), (0.55, 0.36, 0.22), (0.8, 0.55, 0.3), (1.4, 1.05, 0.6),
    (1.9, 1.6, 1.1), (1.1, 0.45, 0.2), (1.3, 1.3, 1.3), (2.2, 2.2, 2.2), (0.7, 0.7, 0.72),
])  # fmt: skip
REAL_SKIN_SHARE = 0.6
# Hair that hangs over the face teaches only so much.
CURTAINS = frozenset({"junglebookhair", "long_alpha7", "long2_alpha7", "curly", "afro01"})


def rgb(colour: np.ndarray) -> tuple[float, float, float]:
    """A colour (3,) as a surface takes it."""
    return float(colour[0]), float(colour[1]), float(colour[2])


def rgba(colour: np.ndarray, weight: float) -> tuple[float, float, float, float]:
    """A colour (3,) and the weight with which it replaces the texture's."""
    return *rgb(colour), float(weight)


def dress(library: AssetLibrary, skins: SkinLibrary, rng: np.random.Generator) -> Wardrobe:
    """A random wardrobe; opaque things first, glass last."""
    n_real = len(skins) - skins.n_synthetic
    real = n_real > 0 and rng.random() < REAL_SKIN_SHARE
    skin = int(
        skins.n_synthetic + rng.integers(n_real) if real else rng.integers(skins.n_synthetic)
    )
    tone = rng.lognormal(0, 0.12 if real else 0.3)
    hue = rng.normal(0, 0.04 if real else 0.08, 3)
    skin_surface = Surface(
        specular=float(rng.gamma(2.0, 0.28)), exponent=float(rng.uniform(6, 40)),
        wrap=float(rng.uniform(0.1, 0.4)), alpha_cut=0.0,
        tint=rgb(np.clip(tone * (1 + hue), 0.25, 1.9)),
    )  # fmt: skip
    items: list[tuple[str, int, Surface]] = []

    def wear(category: str, surface: Surface, share: float = 1.0) -> str | None:
        choice = library.of(category)
        if not choice or rng.random() > share:
            return None
        share_of = np.array([0.25 if a.name in CURTAINS else 1.0 for a in choice])
        asset = choice[rng.choice(len(choice), p=share_of / share_of.sum())]
        items.append((asset.name, int(rng.integers(max(len(asset.textures), 1))), surface))
        return asset.name

    def tint(spread: float) -> tuple[float, float, float]:
        return tuple(float(x) for x in rng.lognormal(-0.1, spread) * rng.lognormal(0, spread, 3))  # type: ignore[return-value]

    items.append(("body", 0, skin_surface))
    wear("clothes", Surface(specular=0.05, alpha_cut=0.5, tint=tint(0.5)), 0.93)
    wear("eyes", Surface(specular=float(rng.uniform(1.0, 4.0)), exponent=120.0, alpha_cut=0.3,
                         tint=(float(rng.uniform(0.6, 1.0)),) * 3))  # fmt: skip
    wear(
        "teeth",
        Surface(
            specular=0.8, exponent=30.0, alpha_cut=0.3, tint=(float(rng.uniform(0.5, 0.95)),) * 3
        ),
    )
    wear("tongue", Surface(specular=0.6, alpha_cut=0.3, tint=(0.75, 0.6, 0.6)))
    colour = HAIR_COLOURS[rng.integers(len(HAIR_COLOURS))] * rng.lognormal(0, 0.2)
    hair = Surface(specular=0.25, exponent=14.0, alpha_cut=0.32,
                   recolour=rgba(colour, rng.uniform(0.6, 1.0)))  # fmt: skip
    brow_colour = colour * rng.uniform(0.5, 1.0)
    # Real skins carry their own brows.
    brows = Surface(specular=0.05, alpha_cut=0.06, opacity=float(rng.uniform(0.5, 0.999)),
                    recolour=rgba(brow_colour, 0.9))  # fmt: skip
    wear("eyebrows", brows, 0.15 if real else 0.93)
    wear(
        "eyelashes",
        Surface(specular=0.0, alpha_cut=0.06, opacity=0.999, tint=(0.3, 0.3, 0.3)),
        0.85,
    )
    wear("beard", Surface(specular=0.05, alpha_cut=0.06, opacity=float(rng.uniform(0.7, 0.999)),
                          recolour=hair.recolour), 0.18)  # fmt: skip
    hat = wear("hat", Surface(specular=0.1, alpha_cut=0.4, tint=tint(0.6)), 0.10)
    wear("hair", hair, 0.45 if hat else 0.88)
    shine = Surface(specular=1.5, exponent=50.0, alpha_cut=0.04, opacity=0.98)
    glasses = None
    if rng.random() < 0.04:
        wear("glasses", shine)
    elif rng.random() < 0.2:
        glasses = (sample_glasses(rng), shine)
    return Wardrobe(skin, skin_surface, tuple(items), glasses)
