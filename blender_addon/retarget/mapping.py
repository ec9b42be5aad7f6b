# SPDX-License-Identifier: GPL-3.0-or-later
"""Which bones of a character an expression or a joint moves, as a JSON file; knows no bpy.

Lengths are in units of the character: the distance between two of its bones at rest. Directions
are those of its armature object (x its left where it faces -y, z up), so that a mapping does not
depend on how bones are rolled.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..shared.arkit import EXPRESSION_NAMES
from ..translations import rpt

FORMAT, VERSION = "mien-bone-mapping", 1
PRESETS = Path(__file__).parent / "presets"
JOINTS = ("head", "eye.L", "eye.R")
Vector = tuple[float, float, float]


class MappingError(ValueError):
    """A file that is no mapping; the text names the file and what is wrong."""


@dataclass(frozen=True)
class BoneRule:
    """What one expression does to one bone at weight 1. Rules of the same bone add up."""

    channel: str
    """ARKit name."""
    bone: str
    """Name of the bone."""
    move: Vector = (0.0, 0.0, 0.0)
    """Displacement in units, in the armature's directions."""
    turn: Vector = (0.0, 0.0, 0.0)
    """Rotation vector in radians, in the armature's directions."""


@dataclass(frozen=True)
class JointRule:
    """A bone that turns with a joint of the tracked head."""

    joint: str
    """One of JOINTS."""
    bone: str
    """Name of the bone."""
    gain: float = 1.0
    """Share of the rotation that it takes."""
    pivot: str = ""
    """With a name, the bone is a target that this bone looks at: it is moved, not turned."""


@dataclass(frozen=True)
class BoneMapping:
    """All rules for one kind of character."""

    name: str
    """For people."""
    unit: tuple[str, str]
    """Two bones whose distance at rest is the unit of length."""
    bones: tuple[BoneRule, ...]
    """By expressions."""
    joints: tuple[JointRule, ...] = ()
    """By joints."""

    def bone_names(self) -> list[str]:
        """Return the names of all bones that are moved, once each."""
        return list(dict.fromkeys(rule.bone for rule in (*self.bones, *self.joints)))


def load_mapping(path: Path | str) -> BoneMapping:
    """Read a mapping from a file. Raises `MappingError`."""
    path = Path(path)
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise MappingError(
            rpt("{path}: cannot be read: {reason}.", path=path, reason=error.strerror or error)
        ) from error
    except UnicodeDecodeError as error:
        raise MappingError(rpt("{path}: is not text.", path=path)) from error
    return parse_mapping(text, str(path))


def parse_mapping(text: str, path: str) -> BoneMapping:
    """Read a mapping from its text; path names it in messages. Raises `MappingError`."""
    try:
        told = json.loads(text)
    except ValueError as error:
        raise MappingError(rpt("{path}: is not JSON: {error}.", path=path, error=error)) from error
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise MappingError(
            rpt(
                '{path}: is not a mapping of Mien; it lacks "format": "{form}".',
                path=path,
                form=FORMAT,
            )
        )
    if told.get("version") != VERSION:
        raise MappingError(
            rpt(
                "{path}: has version {version}; this Mien reads {known}. Update Mien.",
                path=path,
                version=told.get("version"),
                known=VERSION,
            )
        )
    try:
        first, second = (str(name) for name in told["unit"])
        bones = tuple(_bone_rule(rule) for rule in told.get("bones", ()))
        joints = tuple(_joint_rule(rule) for rule in told.get("joints", ()))
        return BoneMapping(str(told.get("name", "Mapping")), (first, second), bones, joints)
    except MappingError as error:
        raise MappingError(f"{path}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MappingError(
            rpt("{path}: a rule is not complete: {error!r}.", path=path, error=error)
        ) from error


def mapping_text(mapping: BoneMapping) -> str:
    """Return a mapping as JSON, one rule a line: people read and edit it."""
    about = {
        "format": FORMAT,
        "version": VERSION,
        "name": mapping.name,
        "unit": list(mapping.unit),
    }
    lines = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in about.items()]
    for name, rules in (("joints", mapping.joints), ("bones", mapping.bones)):
        rows = ",\n".join(f"  {json.dumps(_told(rule))}" for rule in rules)
        lines.append(f' "{name}": [\n{rows}\n ]' if rows else f' "{name}": []')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def save_mapping(mapping: BoneMapping, path: Path | str) -> None:
    """Write a mapping, whole or not at all. Raises OSError."""
    path = Path(path)
    partial = path.with_name(f"{path.name}.part")
    try:
        partial.write_text(mapping_text(mapping), "utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def presets() -> dict[str, Path]:
    """Return the shipped mappings by name."""
    return {load_mapping(path).name: path for path in sorted(PRESETS.glob("*.json"))}


def _told(rule: BoneRule | JointRule) -> dict[str, Any]:
    blank = type(rule)("", "")
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in vars(rule).items()
        if value != getattr(blank, name)
    }


def _bone_rule(told: dict[str, Any]) -> BoneRule:
    rule = BoneRule(
        str(told["channel"]),
        str(told["bone"]),
        _vector(told.get("move", (0, 0, 0))),
        _vector(told.get("turn", (0, 0, 0))),
    )
    if rule.channel not in EXPRESSION_NAMES:
        raise MappingError(
            rpt('"{channel}" is none of the 52 ARKit expressions.', channel=rule.channel)
        )
    return rule


def _joint_rule(told: dict[str, Any]) -> JointRule:
    gain, pivot = float(told.get("gain", 1.0)), str(told.get("pivot", ""))
    rule = JointRule(str(told["joint"]), str(told["bone"]), gain, pivot)
    if rule.joint not in JOINTS or not np.isfinite(gain):
        raise MappingError(
            rpt('"{joint}" is none of {names}.', joint=rule.joint, names=", ".join(JOINTS))
        )
    return rule


def _vector(values: Any) -> Vector:
    x, y, z = (float(value) for value in values)
    if not np.isfinite((x, y, z)).all():
        raise ValueError("a number is not finite")
    return x, y, z
