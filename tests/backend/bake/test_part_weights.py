"""Frames with open eyes serve eyes, those with an open mouth its inside."""

from __future__ import annotations

import numpy as np

from backend.bake.part_weights import LEAST, part_weights
from shared.arkit import EXPRESSION_NAMES


def _landmarks(lids: np.ndarray, mouth: np.ndarray) -> np.ndarray:
    """(F, 68, 2): eyes 30 px wide with this opening, lips with this gap, a face of 200 px."""
    points = np.zeros((len(lids), 68, 2), np.float32)
    points[:, 8] = (100, 200)
    for first, x in ((36, 40), (42, 120)):
        points[:, first] = (x, 80)
        points[:, first + 3] = (x + 30, 80)
        for above, below, at in ((1, 5, 10), (2, 4, 20)):
            points[:, first + above, 0] = points[:, first + below, 0] = x + at
            points[:, first + above, 1] = 80 - lids / 2
            points[:, first + below, 1] = 80 + lids / 2
    for top, low in ((61, 67), (62, 66), (63, 65)):
        points[:, top, 1] = 150
        points[:, low, 1] = 150 + mouth
    return points


def test_openings_rule() -> None:
    lids = np.array([10.0, 10.0, 5.0, 0.0, 10.0])
    mouth = np.array([0.0, 20.0, 20.0, 10.0, 0.0])
    still = np.zeros((5, 4, 2), np.float32)
    expression = np.zeros((5, len(EXPRESSION_NAMES)), np.float32)
    weights = part_weights(_landmarks(lids, mouth), still, expression, EXPRESSION_NAMES)
    for eye in weights.eyes.values():
        np.testing.assert_allclose(eye, [1, 1, LEAST, LEAST, 1], atol=1e-6)
    assert weights.mouth[1] == 1 and weights.mouth[0] == np.float32(LEAST)
    assert LEAST < weights.mouth[3] < 0.5
    np.testing.assert_allclose(weights.frame, 1)
    of = weights.of_vertices(3, {"eye.L": [0], "teeth_upper": [1], "skin": [2]}, 4)
    np.testing.assert_allclose(of, [LEAST, weights.mouth[3], 1, 1])


def test_an_eye_on_the_far_side_is_not_the_widest_open() -> None:
    points = _landmarks(np.full(4, 10.0), np.zeros(4))
    # In the last frame the right eye is half as wide as in the others, and as high.
    points[3, 36:42, 0] = 40 + 0.5 * (points[3, 36:42, 0] - 40)
    still = np.zeros((4, 4, 2), np.float32)
    expression = np.zeros((4, len(EXPRESSION_NAMES)), np.float32)
    weights = part_weights(points, still, expression, EXPRESSION_NAMES)
    np.testing.assert_allclose(weights.eyes["eye.L"], 1)
    assert weights.eyes["eye.R"][3] < 0.1 and weights.eyes["eye.R"][0] == 1


def test_without_landmarks_the_fit_says_it() -> None:
    expression = np.zeros((3, len(EXPRESSION_NAMES)), np.float32)
    expression[1, EXPRESSION_NAMES.index("eyeBlinkLeft")] = 1
    expression[2, EXPRESSION_NAMES.index("jawOpen")] = 0.6
    still = np.zeros((3, 4, 2), np.float32)
    weights = part_weights(None, still, expression, EXPRESSION_NAMES)
    assert weights.eyes["eye.L"][1] == np.float32(LEAST) and weights.eyes["eye.R"][1] == 1
    assert weights.mouth.argmax() == 2


def test_motion_takes_weight_away() -> None:
    place = np.zeros((5, 3, 2), np.float32)
    place[3:] += 40
    expression = np.zeros((5, len(EXPRESSION_NAMES)), np.float32)
    frame = part_weights(None, place, expression, EXPRESSION_NAMES).frame
    assert frame[0] == 1 and frame[2] < 0.3 and frame[3] < 0.3
