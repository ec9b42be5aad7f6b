"""What a fit needs of a head, made once for each: gathering it takes longer than a frame's fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from weakref import WeakKeyDictionary

from backend.head import Head
from backend.head.landmarks import layout

from .correction import CorrectionBasis, correction_basis
from .intersection import Intersection
from .posed_points import PosedPoints
from .size import SizeSplit

Key = TypeVar("Key")
Made = TypeVar("Made")

_points: WeakKeyDictionary[Head, dict[tuple[str, str], PosedPoints]] = WeakKeyDictionary()
_corrections: WeakKeyDictionary[Head, dict[tuple[str, str, float], CorrectionBasis]] = (
    WeakKeyDictionary()
)
_size_splits: WeakKeyDictionary[Head, dict[str, SizeSplit]] = WeakKeyDictionary()
_meetings: WeakKeyDictionary[Head, dict[str, Intersection]] = WeakKeyDictionary()


def restricted_points(head: Head, layout_name: str) -> PosedPoints:
    """A layout's points on a head."""
    key = (layout_name, _kind(head))
    return _kept(_points, head, key, lambda: PosedPoints.of(head, layout(layout_name)))


def size_split(head: Head) -> SizeSplit:
    """How a head's size is told from its shape."""
    return _kept(_size_splits, head, _kind(head), lambda: SizeSplit.of(head))


def meeting(head: Head) -> Intersection:
    """Lids and eyeballs, lips and teeth of a head."""
    return _kept(_meetings, head, _kind(head), lambda: Intersection.of(head))


def correction_of(head: Head, layout_name: str, spread: float) -> CorrectionBasis:
    """The free-form correction of a head; spread in metres."""
    key = (layout_name, _kind(head), spread)
    return _kept(
        _corrections, head, key, lambda: correction_basis(head, layout(layout_name), spread)
    )


def _kind(head: Head) -> str:
    return f"{head.template.device} {head.template.dtype}"


def _kept(
    cache: WeakKeyDictionary[Head, dict[Key, Made]], head: Head, key: Key, make: Callable[[], Made]
) -> Made:
    kept = cache.setdefault(head, {})
    if key not in kept:
        kept[key] = make()
    return kept[key]
