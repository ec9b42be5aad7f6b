"""The landmark layouts: nested, mirrored, on the surface, and where anatomy says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from backend.errors import BadInputError
from backend.head import Head
from backend.head.landmarks import layout


@pytest.fixture(scope="module")
def head() -> Head:
    return Head.load()


def points(head: Head, name: str) -> np.ndarray:
    return head.landmarks(head.template, layout(name)).numpy()


def test_layouts_are_nested(head: Head) -> None:
    dense = points(head, "dense703")
    assert dense.shape == (703, 3)
    np.testing.assert_array_equal(points(head, "dense320"), dense[:320])
    np.testing.assert_array_equal(points(head, "ibug68"), dense[:68])
    np.testing.assert_allclose(points(head, "all"), head.template.numpy(), atol=1e-7)


@pytest.mark.parametrize("name", ["ibug68", "dense320", "dense703", "all"])
def test_mirror_maps(head: Head, name: str) -> None:
    lay = layout(name)
    assert np.array_equal(lay.mirror[lay.mirror], np.arange(len(lay)))
    flipped = points(head, name)[lay.mirror] * (-1, 1, 1)
    assert np.abs(flipped - points(head, name)).max() < 1.5e-3
    assert np.allclose(lay.barycentric.sum(1), 1, atol=1e-6) and lay.barycentric.min() > -1e-6


def test_ibug_points_are_where_their_names_say(head: Head) -> None:
    p = points(head, "ibug68")
    right_eye, left_eye = p[36:42].mean(0), p[42:48].mean(0)
    assert np.linalg.norm(right_eye[:2] - head.joints_template[3].numpy()[:2]) < 0.006
    assert np.linalg.norm(left_eye[:2] - head.joints_template[2].numpy()[:2]) < 0.006
    assert p[36, 0] < p[39, 0] < 0 < p[42, 0] < p[45, 0], "right eye first, outer corner first"
    assert (p[37:39, 1] < p[[41, 40], 1]).all(), "upper lids above lower lids"
    assert p[30, 2] == p[:, 2].min(), "the nose's tip is foremost"
    assert (np.diff(p[27:31, 1]) > 0).all()
    assert p[51, 1] < p[62, 1] <= p[66, 1] < p[57, 1] < p[8, 1], (
        "lips from top to bottom, then chin"
    )
    assert abs(p[62, 1] - p[66, 1]) < 0.003, "the mouth is closed at rest"
    assert p[0, 0] < p[4, 0] < p[8, 0] < p[12, 0] < p[16, 0]
    assert (p[17:27, 1] < p[36:48, 1].min()).all(), "brows above the eyes"


def test_dense_landmarks_cover_eyes_teeth_and_ears(head: Head) -> None:
    corners = torch.as_tensor(layout("dense703").vertices)
    for region, least in (("eye.L", 9), ("eye.R", 9), ("teeth_upper", 4), ("teeth_lower", 4)):
        inside = torch.isin(corners, torch.as_tensor(head.regions[region])).all(1)
        assert int(inside.sum()) >= least, region
    p = points(head, "dense703")
    ears = (np.abs(p[:, 0]) > 0.077) & (np.abs(p[:, 1] - 0.02) < 0.04)
    assert ears.sum() >= 10
    back = p[:, 2] > 0.12
    assert back.sum() >= 10


def test_an_unknown_layout_is_refused() -> None:
    with pytest.raises(BadInputError, match="dense99"):
        layout("dense99")
