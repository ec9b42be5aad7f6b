"""Confidence from the detector's deviations, and the strip's colours."""

from __future__ import annotations

import io
from collections.abc import Callable
from types import ModuleType

import numpy as np
from PIL import Image

Addon = Callable[[str], ModuleType]


def test_confidence_falls_with_the_deviation_and_not_with_the_size(addon: Addon) -> None:
    confidence = addon("confidence").frame_confidence
    points = np.random.default_rng(0).random((300, 2)).astype(np.float32) * 200
    values = [
        confidence(points, np.full(300, share * 200, np.float32), True)
        for share in (0.005, 0.03, 0.045, 0.2)
    ]
    assert values[0] == 1.0 and values[3] == 0.0
    assert values == sorted(values, reverse=True) and 0 < values[2] < values[1] < 1
    larger = confidence(5 * points, np.full(300, 0.03 * 1000, np.float32), True)
    assert abs(larger - values[1]) < 1e-5
    # A hand over a third of the face is seen, over a tenth it is not.
    sigma = np.full(300, 2.0, np.float32)
    sigma[:100] = 30.0
    assert confidence(points, sigma, True) == 0.0
    sigma[30:100] = 2.0
    assert confidence(points, sigma, True) > 0.9
    assert confidence(points, sigma, False) == 0.0
    assert confidence(None, None, True) == 1.0
    assert confidence(points, np.full(300, np.nan, np.float32), True) == 1.0


def test_colours_and_runs(addon: Addon) -> None:
    module = addon("confidence")
    found = np.array([True, True, True, False, True, True])
    colours = module.confidence_colours([1.0, 1.0, 0.0, 0.9, 1.0, np.nan], found)
    assert colours.shape == (6, 4) and colours.dtype == np.float32
    assert np.allclose(colours[3], module.LOST_COLOUR)
    # Poor is red and opaque, good is green and faint.
    assert colours[2, 0] > 0.8 > colours[2, 1] and colours[2, 3] > colours[0, 3]
    assert colours[0, 1] > colours[0, 0]
    assert np.array_equal(colours[5], colours[2])
    runs = module.strip_runs([1, 2, 3, 4, 9, 10], colours)
    assert [run[:2] for run in runs] == [(0.5, 2.5), (2.5, 3.5), (3.5, 4.5), (8.5, 9.5),
                                         (9.5, 10.5)]  # fmt: skip
    assert module.strip_runs([], colours[:0]) == []


def test_where_to_look(addon: Addon) -> None:
    worst = addon("confidence").worst_frames
    assert worst([3, 4, 5, 6, 7, 8], [1, 0.2, 0.4, 1, 0.1, 1]) == [(4, 5), (7, 7)]
    assert worst([3, 4], [1.0, 0.9]) == []


def test_png_is_read_by_others(addon: Addon) -> None:
    png = addon("png")
    rng = np.random.default_rng(0)
    for shape in ((5, 7), (5, 7, 3), (64, 33, 4)):
        pixels = rng.integers(0, 255, shape, dtype=np.uint8)
        picture = png.picture_later(lambda pixels=pixels: pixels)
        for data in (png.encode_png(pixels), picture.png.result(10)):
            assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), pixels)
        shown = picture.pixels.result(10)
        expected = np.asarray(Image.fromarray(pixels).convert("RGBA"))
        assert shown.size == (shape[1], shape[0])
        values = shown.values.reshape(shape[0], shape[1], 4)[::-1]
        assert np.array_equal(np.rint(values * 255), expected)
    for shape in ((4,), (4, 4, 2), (0, 4)):
        try:
            png.encode_png(np.zeros(shape, np.uint8))
        except ValueError:
            continue
        raise AssertionError(f"{shape} was taken")
