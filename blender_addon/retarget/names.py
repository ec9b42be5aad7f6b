# SPDX-License-Identifier: GPL-3.0-or-later
"""Which shape key of a character is which ARKit expression; knows no bpy.

A name is taken apart into words and a side, so that eyeBlinkLeft, EyeBlink_L, eye_blink.l and
"L eyeBlink" are the same. What rigs call otherwise is in ALIASES: MetaHuman's controls, and VRM's
expressions as VRoid Studio names them and as VRM 1.0 does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ..shared.arkit import EXPRESSION_NAMES
from ..translations import iface

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SIDES = {"l": "L", "left": "L", "lt": "L", "lf": "L", "r": "R", "right": "R", "rt": "R"}
_NOISE = {
    "arkit", "blend", "blendshape", "blendshapes", "bs", "ctrl", "expression", "expressions",
    "face", "fcl", "geo", "head", "lod", "mesh", "morph", "shape", "shapes", "target",
}  # fmt: skip
"""Words that say where a key is, not what it does."""

_ARKIT = frozenset(EXPRESSION_NAMES)

Key = tuple[str, str]
"""What a name does and on which side: ("eyeblink", "L"); "" for no side."""

ALIASES: dict[str, tuple[str, ...]] = {
    # MetaHuman's raw controls, without CTRL_expressions_.
    "browDown": ("browDown*",),
    "browInnerUp": ("browRaiseInL", "browRaiseInR", "browInnerUpL", "browInnerUpR",
                    "browsInnerUp", "brwSurprised"),
    "browOuterUp": ("browRaiseOuter*",),
    "cheekPuff": ("mouthCheekBlowL", "mouthCheekBlowR", "cheekPuffL", "cheekPuffR"),
    "cheekSquint": ("eyeCheekRaise*",),
    "eyeBlink": ("eyeClose*", "blink*"),
    "eyeLookDown": ("eyeLookDown*",),
    "eyeLookUp": ("eyeLookUp*",),
    "eyeLookIn": (),
    "eyeLookOut": (),
    "eyeSquint": ("eyeSquintInner*",),
    "eyeWide": ("eyeWiden*", "eyeSpread*"),
    "jawForward": ("jawFwd",),
    "jawOpen": ("mthA", "aa", "mouthOpen"),
    "mouthClose": ("mouthLipsTogetherUL", "mouthLipsTogetherUR", "mouthLipsTogetherDL",
                   "mouthLipsTogetherDR"),
    "mouthDimple": ("mouthDimple*",),
    "mouthFrown": ("mouthCornerDepress*",),
    "mouthFunnel": ("mouthFunnelUL", "mouthFunnelUR", "mouthFunnelDL", "mouthFunnelDR", "mthO",
                    "oh"),
    "mouthLowerDown": ("mouthLowerLipDepress*",),
    "mouthPress": ("mouthLipsPress*",),
    "mouthPucker": ("mouthLipsPurseUL", "mouthLipsPurseUR", "mouthLipsPurseDL",
                    "mouthLipsPurseDR", "mthU", "ou"),
    "mouthRollLower": ("mouthLowerLipRollInL", "mouthLowerLipRollInR"),
    "mouthRollUpper": ("mouthUpperLipRollInL", "mouthUpperLipRollInR"),
    "mouthShrugLower": ("jawChinRaiseDL", "jawChinRaiseDR"),
    "mouthShrugUpper": ("jawChinRaiseUL", "jawChinRaiseUR"),
    "mouthSmile": ("mouthCornerPull*",),
    "mouthStretch": ("mouthStretch*",),
    "mouthUpperUp": ("mouthUpperLipRaise*",),
    "noseSneer": ("noseWrinkle*",),
    "tongueOut": ("tongueForward",),
}  # fmt: skip
"""Other names of each expression without its side; * stands where the side is."""

_OWN_ALIASES = {
    # The eye that looks to its own side looks out.
    "eyeLookLeftL": "eyeLookOutLeft",
    "eyeLookRightL": "eyeLookInLeft",
    "eyeLookLeftR": "eyeLookInRight",
    "eyeLookRightR": "eyeLookOutRight",
}

EXACT, SAME, ALIAS = 0, 1, 2
"""How well a name fits: to the letter, but for its spelling, or by another rig's word."""


@dataclass(frozen=True)
class Match:
    """One shape key of a character and the expression that drives it."""

    source: str
    """ARKit name."""
    target: str
    """Name of the shape key."""
    quality: int
    """EXACT, SAME or ALIAS."""


@dataclass(frozen=True)
class Report:
    """What was matched, and what was not."""

    matches: tuple[Match, ...]
    """In the order of the ARKit names; one expression may drive several keys."""
    missing: tuple[str, ...]
    """Expressions that found no key."""
    unused: tuple[str, ...]
    """Keys that no expression drives."""

    def text(self) -> str:
        """Return the report in lines for people."""
        found = len(EXPRESSION_NAMES) - len(self.missing)
        total = len(EXPRESSION_NAMES)
        lines = [
            iface("{found} of {total} expressions found a shape key.", found=found, total=total)
        ]
        if self.missing:
            lines.append(iface("Found nothing: {names}.", names=", ".join(self.missing)))
        if self.unused:
            lines.append(iface("Not driven: {names}.", names=", ".join(self.unused)))
        return "\n".join(lines)


def key_of(name: str) -> Key:
    """Take a name apart into what it does, in lower case without separators, and its side.

    The last word that names a side is the side: eyeLookLeftL looks left, on the left eye.
    """
    words = [word.lower() for word in _WORDS.findall(name)]
    side = ""
    for place in range(len(words) - 1, -1, -1):
        if words[place] in _SIDES:
            side = _SIDES[words.pop(place)]
            break
    kept = [word for word in words if word not in _NOISE and not word.isdigit()]
    return "".join(kept or words), side


def match_names(targets: Iterable[str]) -> Report:
    """Find for each of the 52 expressions the keys among targets that it drives."""
    names = list(targets)
    best: dict[str, int] = {}
    found: list[Match] = []
    for target in names:
        hit = _source_of(target)
        if hit is not None:
            found.append(Match(hit[0], target, hit[1]))
            best[hit[0]] = min(best.get(hit[0], ALIAS), hit[1])
    # A rig may carry several sets of keys: the one that is named best drives, once.
    order = {name: number for number, name in enumerate(EXPRESSION_NAMES)}
    matches = sorted(
        (m for m in found if m.quality == best[m.source]), key=lambda m: order[m.source]
    )
    driven = {match.target for match in matches}
    return Report(
        matches=tuple(matches),
        missing=tuple(name for name in EXPRESSION_NAMES if name not in best),
        unused=tuple(name for name in names if name not in driven),
    )


def _source_of(target: str) -> tuple[str, int] | None:
    if target in _ARKIT:
        return target, EXACT
    key = key_of(target)
    joined = re.sub(r"[^a-z]", "", target.lower())
    for candidate in (key, (joined, "")):
        if candidate in _TABLE:
            return _TABLE[candidate]
    return None


def _table() -> dict[Key, tuple[str, int]]:
    table: dict[Key, tuple[str, int]] = {}
    for name in EXPRESSION_NAMES:
        table[key_of(name)] = (name, SAME)
        # Without any capitals there are no words to tell apart.
        table[(name.lower(), "")] = (name, SAME)
    for alias, name in _OWN_ALIASES.items():
        table.setdefault(key_of(alias), (name, ALIAS))
    for base, aliases in ALIASES.items():
        for alias in aliases:
            for letter, side in (("L", "Left"), ("R", "Right")) if "*" in alias else (("", ""),):
                source = base + side
                if source in _ARKIT:
                    key = key_of(alias.replace("*", letter))
                    table.setdefault(key, (source, ALIAS))
    return table


_TABLE = _table()
