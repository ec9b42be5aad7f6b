"""The metrics of the demo on errors that were put in by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from backend.evaluate.truth import Truth, align, read_truth, track_error
from tests.backend.conftest import KnownShot


def test_a_perfect_track_has_no_error(known_shot: KnownShot) -> None:
    track, face = known_shot.track, known_shot.head.regions["face"]
    truth = Truth(track.vertices, track.head_pose, track.expression, track.K[0])
    error = track_error(track, truth, face)
    assert error.mesh_mm < 1e-3 and error.shape_mm < 1e-3 and error.rotation_deg < 1e-3
    assert error.reprojection_px < 1e-3
    assert abs(error.depth_percent) < 1e-4 and abs(error.focal_percent) < 1e-9


def test_each_error_is_measured_in_its_own_unit(known_shot: KnownShot) -> None:
    track, face = known_shot.track, known_shot.head.regions["face"]
    turn = Rotation.from_rotvec([0, np.radians(2), 0]).as_matrix()
    true_pose = track.head_pose.astype(np.float64).copy()
    true_pose[:, :3, :3] = turn @ true_pose[:, :3, :3]
    true_vertices = track.vertices.astype(np.float64).copy()
    noise = np.random.default_rng(0).normal(size=true_vertices.shape)
    true_vertices += 0.001 * noise / np.linalg.norm(noise, axis=-1, keepdims=True)
    true_K = track.K[0].copy()
    true_K[0, 0] = true_K[1, 1] = 400 / 1.1
    error = track_error(track, Truth(true_vertices, true_pose, track.expression, true_K), face)
    assert abs(error.mesh_mm - 1) < 0.05
    assert abs(error.rotation_deg - 2) < 0.01
    assert abs(error.focal_percent - 10) < 1e-6
    moved = track_error(
        replace(track, vertices=track.vertices + np.float32([0, 0, 0.07])),
        Truth(track.vertices, track.head_pose, track.expression, track.K[0]),
        face,
    )
    depth = track.vertices[track.found][:, face].mean(1)[:, 2]
    np.testing.assert_allclose(moved.depth_percent, 100 * np.median(0.07 / depth), rtol=1e-4)


def test_alignment_removes_motion_and_scale_where_asked_but_not_mirroring() -> None:
    rng = np.random.default_rng(1)
    points = rng.normal(size=(50, 3))
    rotation = Rotation.from_rotvec([0.3, -1.0, 2.0]).as_matrix()
    target = points @ rotation.T + (1, 2, 3)
    np.testing.assert_allclose(align(points, target), target, atol=1e-12)
    np.testing.assert_allclose(align(1.3 * points, target, with_scale=True), target, atol=1e-12)
    assert np.linalg.norm(align(1.3 * points, target) - target, axis=1).mean() > 0.1
    mirrored = target * (-1, 1, 1)
    assert np.linalg.norm(align(points, mirrored) - mirrored, axis=1).mean() > 0.1


def test_truth_is_read_from_its_coefficients(known_shot: KnownShot, tmp_path: Path) -> None:
    track = known_shot.track
    np.savez(
        tmp_path / "truth.npz",
        identity=track.identity,
        expression=track.expression,
        rotations=track.joint_rotations,
        translation=track.translation,
        focal_px=400.0,
        image_size=track.image_size,
    )
    truth = read_truth(tmp_path / "truth.npz", known_shot.head)
    np.testing.assert_allclose(truth.vertices, track.vertices, atol=1e-6)
    np.testing.assert_allclose(truth.head_pose, track.head_pose, atol=1e-6)
    np.testing.assert_allclose(truth.K, track.K[0])
