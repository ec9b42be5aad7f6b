"""Following a face live: looks, accuracy against a known truth, absence, and the files of it."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from backend.cli import main
from backend.detect import graph
from backend.detect.windows import Window, crop, roi
from backend.errors import BadInputError
from backend.evaluate.performances import true_landmarks
from backend.footage import open_footage
from backend.head import Head
from backend.live.landmark_rows import landmark_rows
from backend.live.places import cut, region_of, start_of, to_image
from backend.live.settings import LiveSettings
from backend.live.tracker import LiveTracker
from backend.live.window_graph import WindowGraph
from backend.samples import PERFORMANCE, PERFORMANCE_TRUTH
from backend.track import Track

EXACT = LiveSettings(precision="exact")


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    return [frame.image for frame in open_footage(PERFORMANCE)]


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    return true_landmarks(PERFORMANCE_TRUTH).surface


@pytest.fixture(scope="module")
def window_graph() -> WindowGraph:
    return WindowGraph(EXACT)


def test_rows_begin_with_ibug_and_hold_the_eyes() -> None:
    rows = landmark_rows(128)
    assert len(set(rows.tolist())) == 128 and (rows[:68] == np.arange(68)).all()
    fewest = landmark_rows(86)
    assert set(fewest) <= set(rows)
    with pytest.raises(BadInputError):
        landmark_rows(70)


def test_places_are_those_of_windows(truth: np.ndarray) -> None:
    window = Window(301.5, 222.25, 180.0, 0.3)
    generator = np.random.default_rng(0)
    points = generator.uniform(-1, 1, (90, 2)).astype(np.float32)
    log_sigma = generator.normal(-3, 1, 90).astype(np.float32)
    pixels, sigma = to_image(points, log_sigma, window)
    np.testing.assert_allclose(pixels, window.to_image(points.astype(float)), atol=1e-4)
    np.testing.assert_allclose(sigma, 90 * np.exp(log_sigma.astype(float)), rtol=1e-5)
    start = start_of(points, points, pixels, window)
    np.testing.assert_allclose(start[0], points, atol=1e-5)
    picture = generator.integers(0, 255, (240, 320, 3), np.uint8)
    for side in (180.0, 300.0):
        window = Window(101.5, 152.25, side, 0.3)
        difference = cut(picture, window, 128).astype(int) - crop(picture, window, 128)
        assert np.abs(difference).max() <= 1
    ours, reference = region_of(truth[5]), roi(truth[5])
    for name in ("x", "y", "side", "roll"):
        assert getattr(ours, name) == pytest.approx(getattr(reference, name), abs=1e-9)


@pytest.mark.skipif(not graph.is_available(), reason="OpenVINO is not installed")
def test_the_graph_is_torch_s_network(
    window_graph: WindowGraph, images: list[np.ndarray], truth: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    assert window_graph.runtime == "OpenVINO f32"
    monkeypatch.setattr(graph, "is_available", lambda: False)
    torch_graph = WindowGraph(EXACT)
    assert torch_graph.runtime == "torch"
    window = roi(truth[0])
    ours, reference = window_graph.look(images[0], window), torch_graph.look(images[0], window)
    assert np.abs(ours.landmarks_2d - reference.landmarks_2d).max() < 0.05
    foreseen = reference.landmarks_2d + 1.0
    ours = window_graph.look(images[0], window, foreseen)
    light = torch_graph.look(images[0], window, foreseen)
    assert ours.is_light and light.is_light
    assert np.abs(ours.landmarks_2d - light.landmarks_2d).max() < 0.05


def test_a_light_look_at_the_same_picture_changes_nothing(
    window_graph: WindowGraph, images: list[np.ndarray], truth: np.ndarray
) -> None:
    window = roi(truth[0])
    full = window_graph.look(images[0], window)
    light = window_graph.look(images[0], window, full.landmarks_2d)
    assert light.is_light and not full.is_light
    assert np.abs(light.landmarks_2d - full.landmarks_2d).max() < 0.02
    np.testing.assert_allclose(light.landmark_sigma, full.landmark_sigma, rtol=1e-2)


def test_whole_looks_come_regularly(
    window_graph: WindowGraph, images: list[np.ndarray], truth: np.ndarray
) -> None:
    window = roi(truth[0])
    points = window_graph.look(images[0], window).landmarks_2d
    kinds = [
        window_graph.look(images[0], window, points).is_light for _ in range(2 * EXACT.full_every)
    ]
    whole = [number for number, light in enumerate(kinds) if not light]
    assert set(np.diff(whole)) == {EXACT.full_every} and whole[0] == EXACT.full_every - 1


def test_no_light_look_where_the_picture_or_the_face_is_another(
    window_graph: WindowGraph, images: list[np.ndarray], truth: np.ndarray
) -> None:
    window = roi(truth[0])
    points = window_graph.look(images[0], window).landmarks_2d
    brighter = np.clip(images[0].astype(float) * 1.1 + 5, 0, 255).astype(np.uint8)
    assert window_graph.look(brighter, window, points).is_light
    # A hand, or a head that has turned: the same window shows something else.
    covered = images[0].copy()
    x, y, half = int(window.x), int(window.y), int(0.25 * window.side)
    covered[y - half // 2 : y + half, x - half : x + half] = (190, 140, 120)
    assert not window_graph.look(covered, window, points).is_light
    # The same picture, but the face is not where it was foreseen.
    window_graph.look(images[0], window)
    off = points + 0.05 * window.side
    found = window_graph.look(images[0], window, off)
    assert not found.is_light
    assert np.abs(found.landmarks_2d - points).max() < 1e-6


def test_a_light_look_follows_a_small_motion(
    window_graph: WindowGraph, images: list[np.ndarray], truth: np.ndarray
) -> None:
    window = roi(truth[0])
    rigid = slice(27, 48)
    window_graph.look(images[0], window)
    before = window_graph.look(images[0], window).landmarks_2d
    for step in (np.array([1.5, 0.0]), np.array([0.0, -1.5])):
        moved = cv2.warpAffine(
            images[0], np.hstack([np.eye(2), step[:, None]]), images[0].shape[1::-1]
        )
        light = window_graph.look(moved, window, before)
        went = (light.landmarks_2d - before)[rigid].mean(0)
        assert light.is_light
        assert 0.7 < went @ step / (step @ step) < 1.6


@pytest.mark.parametrize("full_every", [1, 10])
def test_the_solved_head_is_where_the_true_one_is(
    images: list[np.ndarray], truth: np.ndarray, full_every: int
) -> None:
    head = Head.load()
    size = images[0].shape[1], images[0].shape[0]
    tracker = LiveTracker(head, size, replace(EXACT, full_every=full_every))
    solved = []
    for image in images:
        fit = tracker.step(image).fit
        solved.append(np.full((68, 2), np.nan) if fit is None else fit.pixels[:68])
    found = np.isfinite(np.array(solved)).all((1, 2))
    assert found[3:].all()
    inner = slice(17, 68)
    eyes = np.linalg.norm(truth[:, 45] - truth[:, 36], axis=-1).mean()
    error = np.linalg.norm(np.array(solved)[:, inner] - truth[: len(solved), inner], axis=-1)
    assert np.nanmean(error) / eyes < 0.016
    # A followed face is looked at once a frame; more only where it moves quickly.
    assert tracker.looks < 1.3 * len(images)


def test_a_face_that_was_away_is_found_again(images: list[np.ndarray]) -> None:
    size = images[0].shape[1], images[0].shape[0]
    tracker = LiveTracker(Head.load(), size, EXACT)
    while tracker.step(images[0]).fit is None:
        assert tracker.looks < 20
    blank = np.full_like(images[0], 127)
    assert all(tracker.step(blank).fit is None for _ in range(12))
    assert tracker.fitter.foreseen() is None
    back = [tracker.step(image).fit for image in images[:14]]
    assert back[-1] is not None and back[-1].error < 0.02


def test_the_command_prints_lines_and_records(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, table = tmp_path / "live.npz", tmp_path / "live.csv"
    arguments = ["live", str(PERFORMANCE), "--as-fast-as-possible", "--frames", "12"]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "-o", str(output), "--head-folder", str(tmp_path / "heads")])
    assert ended.value.code == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    kinds = [line["type"] for line in lines]
    assert kinds[0] == "start" and kinds[-1] == "end" and kinds.count("frame") == 12
    assert len(lines[0]["expression_names"]) == 52
    shown = [line for line in lines if line["type"] == "frame" and line["found"]]
    assert len(shown) == lines[-1]["found"] > 8
    assert len(shown[0]["expression"]) == 52 and np.shape(shown[0]["rotations"]) == (4, 3)
    heads = [Path(line["file"]) for line in lines if line["type"] == "head"]
    assert heads and all(file.is_file() for file in heads)
    track = Track.load(output)
    assert track.n_frames == 12 and int(track.found.sum()) == len(shown)
    assert np.isfinite(track.vertices).all() and track.focal_px.std() == 0
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "-o", str(table), "--quiet"])
    assert ended.value.code == 0 and capsys.readouterr().out == ""
    with table.open() as file:
        assert len(list(csv.reader(file))) == 13


def test_what_cannot_be_written_is_told_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["live", str(PERFORMANCE), "-o", str(tmp_path / "live.txt")])
    assert ended.value.code == 2
    assert ".npz" in capsys.readouterr().err
