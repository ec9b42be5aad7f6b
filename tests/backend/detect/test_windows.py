"""Windows keep points where they are, and the region of interest follows the face."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from backend.detect.windows import ROI_SCALE, Window, crop, roi
from backend.head.landmarks import layout


def _face(rng: np.random.Generator) -> np.ndarray:
    """68 points with a nose bridge above a chin."""
    points = rng.uniform(-30, 30, (68, 2))
    points[27], points[8] = [0, -10], [0, 34]
    return points


def _turn(points: np.ndarray, angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return points @ np.array([[c, -s], [s, c]]).T


def test_image_to_window_and_back() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-500, 2500, (50, 2))
    for _ in range(10):
        window = Window(*rng.uniform(0, 2000, 2), rng.uniform(10, 1500), rng.uniform(-3, 3))
        np.testing.assert_allclose(window.to_image(window.to_window(points)), points, atol=1e-6)


def test_matrix_puts_crop_pixels_where_window_coordinates_say() -> None:
    window, size = Window(300.0, 200.0, 90.0, 0.4), 128
    pixels = np.array([[0.0, 0.0], [127.0, 63.0], [-0.5, 127.5]])
    by_matrix = pixels @ window.matrix(size)[:, :2].T + window.matrix(size)[:, 2]
    np.testing.assert_allclose(by_matrix, window.to_image((2 * pixels + 1) / size - 1), atol=1e-9)
    np.testing.assert_allclose(window.to_window(by_matrix)[2], [-1, 1], atol=1e-9)


@pytest.mark.parametrize("side", [70.0, 210.0, 420.0, 700.0])
def test_crop_shows_a_blob_where_the_geometry_puts_it(side: float) -> None:
    """Through every reduction: the centroid of a blob, found in the crop, lands back on it."""
    place = np.array([601.3, 488.8])
    y, x = np.mgrid[0:1100, 0:1300]
    width = side / 25
    blob = np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / (2 * width**2))
    image = np.repeat((blob * 250).astype(np.uint8)[..., None], 3, 2)
    window = Window(place[0] + side * 0.1, place[1] - side * 0.07, side, 0.35)
    cut = crop(image, window, 128)[..., 0].astype(float)
    inside = np.hypot(*(np.mgrid[0:128, 0:128] - 63.5)) < 60  # the corners reach beyond
    moments = cv2.moments((cut * inside).astype(np.float32))
    centroid = np.array([moments["m10"], moments["m01"]]) / moments["m00"]
    found = window.to_image((2 * centroid + 1) / 128 - 1)
    np.testing.assert_allclose(found, place, atol=0.05 * side / 128 + 0.05)


def test_roi_follows_a_similarity() -> None:
    rng = np.random.default_rng(1)
    face = _face(rng)
    first = roi(face)
    assert first.roll == 0
    low, high = face.min(0), face.max(0)
    np.testing.assert_allclose([first.x, first.y], (low + high) / 2, atol=1e-9)
    np.testing.assert_allclose(first.side, ROI_SCALE * (high - low).max())
    moved = roi(_turn(face, 0.7) * 2.5 + [100, -40])
    np.testing.assert_allclose(moved.roll, 0.7, atol=1e-9)
    np.testing.assert_allclose(moved.side, 2.5 * first.side)
    centre = _turn(np.array([[first.x, first.y]]), 0.7)[0] * 2.5 + [100, -40]
    np.testing.assert_allclose([moved.x, moved.y], centre)


def test_roi_needs_no_more_than_68_points_and_ignores_the_rest() -> None:
    rng = np.random.default_rng(2)
    face = _face(rng)
    extra = np.concatenate([face, rng.uniform(-900, 900, (len(layout("dense320")) - 68, 2))])
    assert roi(face) == roi(extra)


def test_jitter_is_along_the_window() -> None:
    window = Window(10.0, 20.0, 40.0, np.pi / 2)
    moved = window.jittered((0.25, 0.0), 2.0, 0.1)
    np.testing.assert_allclose([moved.x, moved.y], [10.0, 30.0], atol=1e-9)
    assert moved.side == 80 and moved.roll == pytest.approx(np.pi / 2 + 0.1)
