"""The whole way in a process of its own: accuracy on a known truth, real faces, refusals."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skimage.data

from backend.evaluate.truth import read_truth, track_error
from backend.footage import open_footage
from backend.head import Head
from backend.samples import PERFORMANCE, PERFORMANCE_TRUTH
from backend.track import Track
from tests.end_to_end.conftest import run_mien, start_mien


def project(track: Track) -> np.ndarray:
    """(F, N, 2) pixels of the vertices."""
    points = track.vertices.astype(np.float64) @ track.K.transpose(0, 2, 1)
    return points[..., :2] / points[..., 2:]


def landmarks_on_mesh(track: Track) -> np.ndarray:
    """(F, L, 2) pixels of the mesh's own landmarks."""
    from backend.head.landmarks import layout

    dense = layout("dense320")
    corners = track.vertices[:, dense.vertices].astype(np.float64)
    points = (corners * dense.barycentric[..., None]).sum(2) @ track.K.transpose(0, 2, 1)
    return points[..., :2] / points[..., 2:]


def test_the_result_describes_every_frame(performance_track: Track) -> None:
    track, footage = performance_track, open_footage(PERFORMANCE)
    assert track.frame_index.tolist() == [frame.index for frame in footage]
    assert tuple(track.image_size) == footage.image_size
    assert tuple(track.frame_rate) == footage.frame_rate.as_integer_ratio()
    assert track.found.all()
    for name in ("vertices", "head_pose", "expression", "landmarks_2d", "landmark_sigma"):
        assert np.isfinite(getattr(track, name)).all(), name
    assert len(track.expression_names) == 52 and track.expression.shape[1] == 52
    assert (track.focal_px == track.K[:, 0, 0]).all()
    assert 0.2 < track.visibility.mean() < 0.8
    assert track.texture.shape == (512, 512, 4) and (track.texture[..., 3] == 255).mean() > 0.1


def test_the_performance_is_recovered(performance_track: Track) -> None:
    head = Head.load()
    truth = read_truth(PERFORMANCE_TRUTH, head)
    error = track_error(performance_track, truth, head.regions["face"])
    assert error.shape_mm < 3
    assert error.mesh_mm < 10
    assert error.rotation_deg < 5
    assert abs(error.focal_percent) < 30
    assert error.reprojection_px < 0.02 * float(performance_track.image_size[1])


def test_expressions_follow_the_performance(performance_track: Track) -> None:
    expression = read_truth(PERFORMANCE_TRUTH, Head.load()).expression
    names = list(performance_track.expression_names)
    moving = [i for i in (names.index("jawOpen"),) if np.ptp(expression[:, i]) > 0.2]
    assert moving, "the sample must open its mouth"
    for i in moving:
        correlation = np.corrcoef(expression[:, i], performance_track.expression[:, i])[0, 1]
        assert correlation > 0.7, names[i]


def test_the_mesh_sits_on_the_landmarks(performance_track: Track) -> None:
    error = np.linalg.norm(
        landmarks_on_mesh(performance_track) - performance_track.landmarks_2d, axis=-1
    )
    assert np.median(error) < 2


def test_farm_lines_and_overlay(performance_result: Path) -> None:
    lines = performance_result.with_suffix(".log").read_text().splitlines()
    percent = [int(line.split()[1]) for line in lines if line.startswith("openjd_progress:")]
    assert percent == sorted(set(percent)) and percent[-1] == 100
    assert [line for line in lines if line.startswith("openjd_status:")]
    footage, overlay = (
        open_footage(PERFORMANCE),
        open_footage(performance_result.with_suffix(".mp4")),
    )
    assert overlay.n_frames == footage.n_frames and overlay.frame_rate == footage.frame_rate
    for before, after in zip(footage, overlay, strict=True):
        assert np.abs(before.image.astype(int) - after.image).mean() > 1


def test_a_real_face_is_tracked(portrait: Path, tmp_path: Path) -> None:
    path = tmp_path / "portrait.npz"
    done = run_mien("track", portrait, "-o", path, "--texture-size", "0")
    assert done.returncode == 0, done.stderr
    track = Track.load(path)
    assert track.found.tolist() == [True] and track.texture.size == 0
    eyes = track.vertices[0][
        np.concatenate([Head.load().regions[name] for name in ("eye.L", "eye.R")])
    ].mean(0)
    pixel = track.K[0] @ eyes
    # Between her eyes, measured by hand in the picture.
    assert np.linalg.norm(pixel[:2] / pixel[2] - (223.5, 102)) < 10


def test_frames_without_a_face_do_not_end_a_run(
    write_video: Callable[[str, list[np.ndarray]], Path], tmp_path: Path
) -> None:
    face = skimage.data.astronaut()
    nothing = np.repeat(skimage.data.gravel()[:512, :512, None], 3, axis=2)
    clip = write_video("leaves.mp4", [face, face, nothing, face])
    path = tmp_path / "leaves.npz"
    done = run_mien("track", clip, "-o", path, "--texture-size", "0")
    assert done.returncode == 0, done.stderr
    track = Track.load(path)
    assert track.found.tolist() == [True, True, False, True]
    assert np.isfinite(track.vertices).all()


def test_no_face_at_all_is_exit_code_3_and_no_file(landscape_clip: Path, tmp_path: Path) -> None:
    done = run_mien("track", landscape_clip, "-o", tmp_path / "out.npz", "--farm")
    assert done.returncode == 3, done.stderr
    assert "no face was found" in done.stderr and "landscape.mp4" in done.stderr
    assert "openjd_fail:" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_clip_is_exit_code_2(tmp_path: Path) -> None:
    clip = tmp_path / "cut.mp4"
    clip.write_bytes(PERFORMANCE.read_bytes()[:3000])
    done = run_mien("track", clip, "-o", tmp_path / "out.npz")
    assert done.returncode == 2, done.stderr
    assert "cut.mp4" in done.stderr and "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["cut.mp4"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption_stops_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    process = start_mien("track", PERFORMANCE, "-o", tmp_path / "out.npz", "--farm")
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("openjd_progress:") and int(line.split()[1]) >= 3:
            break
    process.send_signal(number)
    try:
        _, err = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert process.returncode == 4, err
    assert "cancelled" in err and "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_part_of_the_clip_as_an_image_sequence(tmp_path: Path) -> None:
    """The same frames as pictures give the same face: footage is footage."""
    import cv2

    for frame in open_footage(PERFORMANCE, start=4, end=7):
        name = tmp_path / f"frame.{1001 + frame.index:04d}.png"
        cv2.imwrite(str(name), frame.image[..., ::-1])
    options = ["--texture-size", "0", "--focal-px", "900"]
    part, pictures = tmp_path / "part.npz", tmp_path / "pictures.npz"
    for clip, range_, path in (
        (PERFORMANCE, ["--start", "4", "--end", "7"], part),
        (tmp_path / "frame.####.png", ["--frame-rate", "24"], pictures),
    ):
        done = run_mien("track", clip, "-o", path, *range_, *options)
        assert done.returncode == 0, done.stderr
    a, b = Track.load(part), Track.load(pictures)
    assert a.frame_index.tolist() == [4, 5, 6, 7] and b.frame_index.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(a.landmarks_2d, b.landmarks_2d, atol=0.05)
    np.testing.assert_allclose(project(a), project(b), atol=0.1)
    np.testing.assert_allclose(a.focal_px, 900, rtol=1e-6)
