"""The artist's hand without Blender: places of landmarks and pixels, and filled masks."""

from __future__ import annotations

import numpy as np
import pytest

from backend.fit.observations import undistort
from backend.head import Head
from backend.head.landmarks import layout
from blender_addon.refine.layout import is_name, label, landmarks
from blender_addon.refine.raster import MaskLayer, draw, fill, flatten, mask_to_pixels
from blender_addon.refine.view import Lens, PictureView, nearest
from scripts.addon_landmarks import FILE, content


def test_the_add_on_has_the_fits_landmarks() -> None:
    assert FILE.read_text("utf-8") == content(), "run python scripts/addon_landmarks.py"
    table, points = landmarks(), layout("dense320")
    assert table.names == points.names and table.n_vertices == Head.load().n_vertices
    vertices = Head.load().template.numpy()
    expected = np.einsum("lc,lcx->lx", points.barycentric, vertices[points.vertices])
    np.testing.assert_allclose(table.points(vertices), expected, atol=1e-6)


def test_normals_point_out_of_the_face() -> None:
    vertices = Head.load().template.numpy()
    normals = landmarks().normals(vertices)
    # The head's z goes into the head: the nose, the brows and the chin look the other way.
    assert (normals[[8, 19, 24, 30, 51]][:, 2] < 0).all()


def test_landmarks_have_names() -> None:
    assert label("ibug68/30") == "Nose Tip"
    assert label("ibug68/20") == "Right Brow 20" and label("ibug68/46") == "Left Eye 46"
    assert label("dense320/101") == "Point 101" and label("vertex/7") == "Vertex 7"
    # iBUG's are numbered along the picture: the first brow is on its left, the person's right.
    vertices = Head.load().template.numpy()
    points = landmarks().points(vertices)
    assert points[20, 0] < 0 < points[25, 0], "the head's x is the subject's left"
    assert is_name("ibug68/67") and is_name("dense320/319") and is_name("vertex/0")
    assert not is_name("ibug68/68") and not is_name("vertex/99999") and not is_name("nose")


def test_pixels_and_places_go_there_and_back() -> None:
    view = PictureView(left=20.0, bottom=-30.0, width=960.0, height=720.0, size=(1920, 1080))
    # The picture's corners lie half a pixel beyond the centres of its first and last pixels.
    np.testing.assert_allclose(view.to_region((-0.5, 1079.5)), (20.0, -30.0))
    np.testing.assert_allclose(view.to_region((1919.5, -0.5)), (980.0, 690.0))
    np.testing.assert_allclose(view.to_region((959.5, 539.5)), (500.0, 330.0))
    pixels = np.random.default_rng(0).uniform(-100, 2000, (50, 2))
    np.testing.assert_allclose(view.to_pixels(view.to_region(pixels)), pixels, atol=1e-9)


def test_a_lens_projects_and_bends() -> None:
    lens = Lens(1000.0, (639.5, 359.5))
    np.testing.assert_allclose(lens.project((0.1, -0.05, 0.5)), (839.5, 259.5))
    assert np.isnan(lens.project((0.1, 0.0, -0.5))).all()
    bent = Lens(1000.0, (639.5, 359.5), (-0.12, 0.03, 0.004))
    pixels = np.random.default_rng(1).uniform((0, 0), (1280, 720), (200, 2))
    seen = bent.bend(pixels)
    assert np.abs(seen - pixels).max() > 5.0
    np.testing.assert_allclose(bent.straighten(seen), pixels, atol=1e-6)
    np.testing.assert_allclose(bent.straighten(np.array(bent.centre)), bent.centre)
    # The fit's own.
    centre, k = np.array(bent.centre), bent.distortion
    np.testing.assert_allclose(undistort(seen, centre, np.array(1000.0), k), pixels, atol=1e-3)


def test_the_nearest_within_reach_is_taken() -> None:
    places = np.array([[10.0, 10.0], [np.nan, np.nan], [20.0, 10.0]])
    assert nearest((18.0, 11.0), places, 14.0) == 2
    assert nearest((60.0, 10.0), places, 14.0) is None
    assert nearest((0.0, 0.0), np.zeros((0, 2)), 14.0) is None


def square(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return np.array(((x0, y0), (x1, y0), (x1, y1), (x0, y1)))


def test_masks_are_filled_where_pixel_centres_lie_inside() -> None:
    filled = fill([square(1.5, 0.5, 4.5, 2.5)], (8, 5))
    expected = np.zeros((5, 8), bool)
    expected[1:3, 2:5] = True
    np.testing.assert_array_equal(filled, expected)
    # Partly outside of the picture.
    assert fill([square(-10, -10, 100, 100)], (8, 5)).all()
    assert not fill([square(-10, -10, -1, 100)], (8, 5)).any()
    ring = [square(-0.5, -0.5, 7.5, 4.5), square(1.5, 0.5, 4.5, 2.5)]
    np.testing.assert_array_equal(fill(ring, (8, 5)), ~expected)
    assert fill(ring, (8, 5), holes=False).all()


@pytest.mark.parametrize(
    ("size", "aspect"), [((200, 100), 1.0), ((100, 200), 1.0), ((200, 100), 2)]
)
def test_mask_space_is_square_and_its_middle_is_the_pictures(
    size: tuple[int, int], aspect: float
) -> None:
    width, height = size
    middle = mask_to_pixels((0.5, 0.5), size, aspect)
    np.testing.assert_allclose(middle, ((width - 1) / 2, (height - 1) / 2))
    step = mask_to_pixels((0.6, 0.6), size, aspect) - middle
    shown = np.abs(step) * (1.0, aspect)
    np.testing.assert_allclose(shown, 0.1 * max(width, height * aspect))
    assert step[0] > 0 > step[1], "a mask's y goes up"


def test_a_circle_of_four_points_has_a_circles_area() -> None:
    k = 4 / 3 * (np.sqrt(2) - 1)
    co = np.array(((1, 0), (0, 1), (-1, 0), (0, -1)), float)
    tangent = np.array(((0, 1), (-1, 0), (0, -1), (1, 0)), float) * k
    outline = flatten(co, co - tangent, co + tangent) * 0.2 + 0.5
    picture = draw([MaskLayer((outline,))], (400, 300))
    assert (picture == 255).sum() == pytest.approx(np.pi * 80**2, rel=0.005)


def test_layers_go_over_each_other() -> None:
    left, whole = square(-1, -1, 0.5, 2), square(-1, -1, 2, 2)
    minus = [MaskLayer((whole,)), MaskLayer((left,), blend="MERGE_SUBTRACT")]
    picture = draw(minus, (8, 8))
    assert (picture[:, :4] == 0).all() and (picture[:, 4:] == 255).all()
    inverted = draw([MaskLayer((left,), invert=True)], (8, 8))
    np.testing.assert_array_equal(picture, inverted)
    half = draw([MaskLayer((left,), alpha=0.5), MaskLayer((whole,), alpha=0.5)], (8, 8))
    assert set(half[:, :4].ravel()) == {191} and set(half[:, 4:].ravel()) == {128}
    assert not draw([], (8, 8)).any()
