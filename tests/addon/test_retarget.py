"""Names of shape keys, and mappings to bones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from backend.head import Head
from backend.head.landmarks import layout
from shared.arkit import EXPRESSION_NAMES, to_pascal_case

Addon = Callable[[str], ModuleType]


def _short(name: str, form: str) -> str:
    for side in ("Left", "Right"):
        if name.endswith(side):
            return form.format(name.removesuffix(side), side[0])
    return name


@pytest.mark.parametrize(
    "spell",
    [
        lambda name: name,
        to_pascal_case,
        str.lower,
        str.upper,
        lambda name: _short(name, "{}_{}"),
        lambda name: _short(to_pascal_case(name), "{}_{}"),
        lambda name: _short(name, "{}{}"),
        lambda name: _short(name, "{}.{}"),
        lambda name: _short(name, "{1}_{0}"),
        lambda name: f"blendShape1.{name}",
        lambda name: "".join(f"_{c.lower()}" if c.isupper() else c for c in name),
    ],
)  # fmt: skip
def test_all_52_are_found_in_every_spelling(addon: Addon, spell: Callable[[str], str]) -> None:
    names = addon("retarget.names")
    targets = {spell(name): name for name in EXPRESSION_NAMES}
    report = names.match_names(["Basis", *targets, "Adjust"])
    assert {m.target: m.source for m in report.matches} == targets
    assert report.missing == () and report.unused == ("Basis", "Adjust")
    assert "52 of 52" in report.text()


def test_metahuman_and_vrm(addon: Addon) -> None:
    names = addon("retarget.names")
    found = {
        "CTRL_expressions_eyeLookLeftL": "eyeLookOutLeft",
        "CTRL_expressions_eyeLookLeftR": "eyeLookInRight",
        "CTRL_expressions_browRaiseInL": "browInnerUp",
        "CTRL_expressions_browRaiseInR": "browInnerUp",
        "CTRL_expressions_mouthCornerPullR": "mouthSmileRight",
        "CTRL_expressions_mouthLipsPurseUL": "mouthPucker",
        "CTRL_expressions_jawFwd": "jawForward",
        "head_lod0_mesh__nose_wrinkle_l": "noseSneerLeft",
        "CTRL_expressions_jawOpen": "jawOpen",
    }
    report = names.match_names(found)
    assert {m.target: m.source for m in report.matches} == found
    assert "eyeBlinkLeft" in report.missing
    vrm = {"Fcl_EYE_Close_L": "eyeBlinkLeft", "blinkRight": "eyeBlinkRight",
           "Fcl_MTH_A": "jawOpen", "Fcl_MTH_U": "mouthPucker",
           "Fcl_BRW_Surprised": "browInnerUp"}  # fmt: skip
    report = names.match_names([*vrm, "Fcl_HA_Hide", "Fcl_ALL_Joy"])
    assert {m.target: m.source for m in report.matches} == vrm
    assert report.unused == ("Fcl_HA_Hide", "Fcl_ALL_Joy")


def test_the_better_named_set_drives_alone(addon: Addon) -> None:
    names = addon("retarget.names")
    report = names.match_names(["Fcl_EYE_Close_L", "EyeBlink_L", "eyeBlinkLeft", "jaw_open"])
    assert [(m.source, m.target) for m in report.matches] == [
        ("eyeBlinkLeft", "eyeBlinkLeft"), ("jawOpen", "jaw_open"),
    ]  # fmt: skip
    assert report.unused == ("Fcl_EYE_Close_L", "EyeBlink_L")


def test_the_shipped_mapping_is_whole_and_symmetric(addon: Addon, tmp_path: Path) -> None:
    mapping = addon("retarget.mapping")
    found = mapping.presets()
    assert list(found) == ["Rigify Face"]
    rigify = mapping.load_mapping(found["Rigify Face"])
    assert rigify.unit == ("master_eye.L", "master_eye.R")
    # Where the eyes look is on the joints.
    gaze = {n for n in EXPRESSION_NAMES if n.startswith(("eyeLookIn", "eyeLookOut"))}
    assert set(EXPRESSION_NAMES) - {rule.channel for rule in rigify.bones} == gaze
    rules = {(rule.channel, rule.bone): rule for rule in rigify.bones}
    for (channel, bone), rule in rules.items():
        if channel.endswith("Left") and channel not in ("jawLeft", "mouthLeft"):
            other = rules[channel[:-4] + "Right", bone.replace(".L", ".R")]
            assert other.move == (-rule.move[0], *rule.move[1:])
    mapping.save_mapping(rigify, tmp_path / "copy.json")
    assert mapping.load_mapping(tmp_path / "copy.json") == rigify
    assert found["Rigify Face"].read_text("utf-8") == mapping.mapping_text(rigify)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        ("[]", "not a mapping"),
        ('{"format": "mien-bone-mapping", "version": 9}', "Update Mien"),
        ('{"format": "mien-bone-mapping", "version": 1, "unit": ["a"]}', "not complete"),
        ('{"format": "mien-bone-mapping", "version": 1, "unit": ["a", "b"], "bones": '
         '[{"channel": "smile", "bone": "x"}]}', "none of the 52"),
        ('{"format": "mien-bone-mapping", "version": 1, "unit": ["a", "b"], "bones": '
         '[{"channel": "jawOpen", "bone": "x", "move": [1, 2]}]}', "not complete"),
        ('{"format": "mien-bone-mapping", "version": 1, "unit": ["a", "b"], "joints": '
         '[{"joint": "hand", "bone": "x"}]}', "none of head"),
    ],
)  # fmt: skip
def test_what_is_no_mapping_is_refused(addon: Addon, tmp_path: Path, text: str, words: str) -> None:
    mapping = addon("retarget.mapping")
    path = tmp_path / "wrong.json"
    path.write_text(text, "utf-8")
    with pytest.raises(mapping.MappingError, match=words) as caught:
        mapping.load_mapping(path)
    assert "wrong.json" in str(caught.value)
    with pytest.raises(mapping.MappingError, match="cannot be read"):
        mapping.load_mapping(tmp_path / "missing.json")


def test_the_add_ons_landmarks_are_the_heads(package_folder: Path) -> None:
    text = (package_folder / "scene" / "landmarks.py").read_text("utf-8")
    head, points = Head.load(), layout("ibug68")
    assert f"N_VERTICES = {head.n_vertices}\n" in text
    for name, number in (("nose_tip", 30), ("chin", 8), ("eye_outer.L", 45), ("brow_inner.R", 21)):
        corners = tuple(int(vertex) for vertex in points.vertices[number])
        assert f'"{name}": Landmark({corners}' in text
