"""The expression names."""

from __future__ import annotations

import pytest

from shared.arkit import EXPRESSION_NAMES, from_pascal_case, mirrored, to_pascal_case


def test_there_are_52_different_names_in_apples_order() -> None:
    assert len(EXPRESSION_NAMES) == len(set(EXPRESSION_NAMES)) == 52
    assert EXPRESSION_NAMES[0] == "eyeBlinkLeft"
    assert EXPRESSION_NAMES[7] == "eyeBlinkRight"
    assert EXPRESSION_NAMES[17] == "jawOpen"
    assert EXPRESSION_NAMES[-1] == "tongueOut"


def test_pascal_case_there_and_back() -> None:
    assert to_pascal_case("jawOpen") == "JawOpen"
    for name in EXPRESSION_NAMES:
        assert from_pascal_case(to_pascal_case(name)) == name
    with pytest.raises(ValueError):
        to_pascal_case("")


def test_every_mirror_is_an_expression_and_mirrors_back() -> None:
    for name in EXPRESSION_NAMES:
        assert mirrored(name) in EXPRESSION_NAMES
        assert mirrored(mirrored(name)) == name
    assert mirrored("mouthLeft") == "mouthRight"
    assert mirrored("browInnerUp") == "browInnerUp"
