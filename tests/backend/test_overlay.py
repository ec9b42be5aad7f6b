"""Overlays: the head lands where the camera puts it, and videos decode to what was drawn."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from backend.footage import Footage, Frame, open_footage
from backend.overlay import (
    OverlaySettings,
    draw_overlay,
    write_overlay_sheet,
    write_overlay_video,
)
from tests.backend.conftest import KnownShot

BLUE = (0, 0, 255)


class FlatFootage(Footage):
    """Three blue frames."""

    path = Path("flat")
    image_size = (320, 240)
    frame_rate = Fraction(24)
    n_frames = 3

    def __init__(self) -> None:
        self.warnings = []

    def __iter__(self) -> Iterator[Frame]:
        for index in range(3):
            yield Frame(index, index / 24, np.full((240, 320, 3), BLUE, np.uint8))


@pytest.mark.parametrize("style", ["shaded", "wire", "textured"])
def test_the_head_is_drawn_where_its_vertices_project(known_shot: KnownShot, style: str) -> None:
    track = known_shot.track
    image = np.full((240, 320, 3), BLUE, np.uint8)
    settings = OverlaySettings(style=style, landmarks=False)  # type: ignore[arg-type]
    drawn = draw_overlay(image, track, 0, settings)
    assert (image == BLUE).all(), "the footage itself must not change"
    changed = (drawn != image).any(2)
    points = track.vertices[0] @ track.K[0].T
    pixels = points[:, :2] / points[:, 2:]
    rows, columns = np.nonzero(changed)
    expected = (*pixels.min(0), *pixels.max(0))
    measured = (columns.min(), rows.min(), columns.max(), rows.max())
    height = 240 - 1
    expected = np.clip(expected, 0, (319, height, 319, height))
    # The wire shows visible triangles only, so it ends a little inside the outline.
    np.testing.assert_allclose(measured, expected, atol=2 if style != "wire" else 12)
    if style == "textured":
        red = drawn[changed]
        assert np.median(red[:, 0]) > 150 and np.median(red[:, 2]) < 120


def test_a_frame_without_a_face_is_fainter_and_has_no_dots(known_shot: KnownShot) -> None:
    image = np.full((240, 320, 3), BLUE, np.uint8)

    def change(frame: int) -> float:
        drawn = draw_overlay(image, known_shot.track, frame, OverlaySettings(landmarks=False))
        return float(np.abs(drawn.astype(int) - image).max())

    assert 0 < change(1) < 0.5 * change(0)
    plain = draw_overlay(image, known_shot.track, 1, OverlaySettings(landmarks=False))
    assert (draw_overlay(image, known_shot.track, 1) == plain).all()


def test_landmark_dots_sit_on_the_landmarks(known_shot: KnownShot) -> None:
    image = np.full((240, 320, 3), BLUE, np.uint8)
    plain = draw_overlay(image, known_shot.track, 0, OverlaySettings(landmarks=False))
    dotted = draw_overlay(image, known_shot.track, 0)
    changed = (plain != dotted).any(2)
    for x, y in known_shot.track.landmarks_2d[0]:
        assert changed[round(float(y)) - 1 : round(float(y)) + 2, round(float(x))].any()
    rows, columns = np.nonzero(changed)
    pixels = np.stack((columns, rows), 1)[:, None]
    nearest = np.linalg.norm(pixels - known_shot.track.landmarks_2d[0][None], axis=-1).min(1)
    assert nearest.max() < 3


def test_the_video_has_the_frames_of_the_track(known_shot: KnownShot, tmp_path: Path) -> None:
    path = tmp_path / "overlay.mp4"
    done: list[float] = []
    write_overlay_video(FlatFootage(), known_shot.track, path, progress=done.append)
    footage = open_footage(path)
    frames = list(footage)
    assert (footage.image_size, footage.frame_rate, len(frames)) == ((320, 240), 24, 3)
    assert done[-1] == 1.0
    expected = draw_overlay(np.full((240, 320, 3), BLUE, np.uint8), known_shot.track, 0)
    # Chroma is stored at half resolution, so compare brightness.
    error = np.abs(frames[0].image.mean(2) - expected.mean(2))
    assert error.mean() < 5


def test_the_sheet_shows_the_frames_asked_for(known_shot: KnownShot, tmp_path: Path) -> None:
    path = tmp_path / "sheet.png"
    write_overlay_sheet(FlatFootage(), known_shot.track, path, n_frames=3, width=160)
    assert cv2.imread(str(path)).shape == (240, 320, 3)


def test_an_interrupted_video_leaves_nothing(known_shot: KnownShot, tmp_path: Path) -> None:
    def interrupt(_fraction: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_overlay_video(
            FlatFootage(), known_shot.track, tmp_path / "overlay.mp4", progress=interrupt
        )
    assert list(tmp_path.iterdir()) == []
