"""Landmarks on teeth, which no fit of a motion asks for, but that of lens and person.

Lips hide most of them in most frames, and a network guesses where they are then: where people smile
they lie up to 5 % of the face's height off while they claim to be as certain as lips, and would
close the mouth (docs/fitting.md). Of a person's size they tell more than others, and a fit of a
shot's lens and person allows for what a detector always gets wrong (`stages._with_offsets`).
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from backend.head import Head
from backend.head.landmarks import layout

TEETH = ("teeth_upper", "teeth_lower")

_kept: WeakKeyDictionary[Head, dict[str, NDArray[np.bool_]]] = WeakKeyDictionary()


def behind_lips(head: Head, layout_name: str) -> NDArray[np.bool_]:
    """(L,) which of a layout's landmarks lie on teeth."""
    kept = _kept.setdefault(head, {})
    if layout_name not in kept:
        teeth = np.concatenate([head.regions[name] for name in TEETH])
        kept[layout_name] = np.isin(layout(layout_name).vertices, teeth).all(1)
    return kept[layout_name]
